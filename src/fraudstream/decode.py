"""Decodes Kafka values into columns: each message separately, without losing any.

There are three paths and one definition. Of many messages, those that look alike are decoded by columns (`alike`). msgspec
decodes any other well-formed message in about a microsecond; whatever it refuses goes to the pydantic model `Transaction`,
which either accepts it (other ISO 8601 forms) or gives the reason for `shop.rejected`. Messages are never joined and parsed as
one text: one crafted message would shift the others.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, cast

import msgspec
from pydantic import ValidationError

from fraudstream.alike import Alike, Layouts
from fraudstream.schema import (
    FIELDS,
    KINDS,
    REQUIRED,
    Transaction,
    arrow_schema_of,
    constraints,
    in_years,
    parse_instant,
)

if TYPE_CHECKING:
    import pyarrow as pa

T = TypeVar("T")

REASON_LENGTH = 500
"""Maximum length of a reason: enough to read, too little to fill a disk."""
NUL_ESCAPE = b"\\u0000"
"""The only way to write a NUL in JSON. PostgreSQL cannot store it, so such messages take the slow path."""

CHUNK = 1000
"""Messages decoded at a time. Measured: the objects of 10,000 messages exceed the cache, which doubles the time
per message (4.6 instead of 1.9 microseconds)."""
ALIKE = 5000
"""Messages at a time if they look alike. Measured: 1.7 microseconds for each, 2.7 with 1,000 and 1.7 with 10,000."""
FEWEST = 100
"""Fewer messages are decoded one by one: comparing them with layouts has a fixed cost of half a millisecond."""
REFUSED = (ValueError, OverflowError, RecursionError, msgspec.MsgspecError)
"""What the fast path raises for a message that it does not accept."""


def _fast_type(name: str) -> Any:
    """Msgspec's type for a field, from the constraints of the pydantic model."""
    kind = KINDS[name]
    if kind == "truth":
        required: Any = bool | Literal[0, 1]
    elif kind == "instant":
        required = datetime
    else:
        plain = str if kind == "text" else float
        required = Annotated[plain, msgspec.Meta(**constraints(name))]
    return required if name in REQUIRED else required | None


@cache
def _fast(fields: tuple[str, ...]) -> type[msgspec.Struct]:
    """The type for the fast path: a message with these fields, and with no others if they are all that exist.

    Cached: building it takes as long as decoding a hundred messages, and every task has its own decoder.
    """
    return msgspec.defstruct(
        "_Fast",
        [
            (name, _fast_type(name)) if name in REQUIRED else (name, _fast_type(name), None)
            for name in sorted(fields, key=lambda n: n not in REQUIRED)
        ],
        forbid_unknown_fields=set(fields) == set(FIELDS),
    )


@dataclass(frozen=True, slots=True)
class Reject:
    """A message that is not a transaction: its position in the input and why, in a sentence."""

    position: int
    reason: str


@dataclass(slots=True)
class Decoded:
    """The result of decoding some messages.

    `rows` has `arrow_schema()`; `positions[i]` is the index of row i in the input.
    """

    rows: "pa.Table"
    positions: list[int]
    rejects: list[Reject] = field(default_factory=list)
    unknown_fields: int = 0
    refused: int = 0
    """Number of refusals, which have no row: see `decision.Refusal`."""


def in_chunks(values: Any, decode: Callable[[Any, int], Decoded], size: int = CHUNK) -> Decoded:
    """Call `decode` for `size` messages at a time, with the position of the first, and combine the results."""
    import pyarrow as pa

    # No messages become one empty chunk, which has the columns.
    parts = [decode(values[i : i + size], i) for i in range(0, max(len(values), 1), size)]
    return (
        parts[0]
        if len(parts) == 1
        else Decoded(
            pa.concat_tables([part.rows for part in parts]),
            [position for part in parts for position in part.positions],
            [reject for part in parts for reject in part.rejects],
            sum(part.unknown_fields for part in parts),
            sum(part.refused for part in parts),
        )
    )


def one_by_one(
    values: Sequence[bytes | None],
    first: int,
    one: Callable[[bytes | None], tuple[T | None, int]],
    table: Callable[[list[T]], "pa.Table"],
) -> Decoded:
    """The rows and rejects of a chunk whose first message has the position `first`.

    `one` gives a message's row, or None for a refusal, and how many unknown fields it had; it raises ValueError with the
    reason for a reject.
    """
    rows: list[T] = []
    positions: list[int] = []
    rejects: list[Reject] = []
    unknown = 0
    for position, value in enumerate(values, first):
        try:
            row, extra = one(value)
        except ValueError as error:
            rejects.append(Reject(position, str(error)[:REASON_LENGTH]))
            continue
        unknown += extra
        if row is not None:
            rows.append(row)
            positions.append(position)
    return Decoded(table(rows), positions, rejects, unknown, len(values) - len(rows) - len(rejects))


class Decoder:
    """Decodes messages one by one; reuses its buffers between calls."""

    def __init__(self, fields: Sequence[str] = FIELDS) -> None:
        """`fields` are those to read, including the required ones. Other fields of a message are ignored."""
        self._fields = tuple(fields)
        self._some = set(fields) != set(FIELDS)
        self._fast = _fast(self._fields)
        self._order = tuple(field.name for field in msgspec.structs.fields(self._fast))
        self._layouts = Layouts(self._fields)
        self._strict = msgspec.json.Decoder(self._fast)
        self._loose = msgspec.json.Decoder()

    def decode(self, values: "Sequence[bytes | None] | pa.BinaryArray") -> Decoded:
        """Rows of `schema.arrow_schema()` (its `fields`) and rejects of `values`, in their order.

        Never raises because of a message.
        """
        return in_chunks(values, self._chunk, ALIKE)

    def _chunk(self, values: "Sequence[bytes | None] | pa.BinaryArray", first: int) -> Decoded:
        """Decode those that look alike by columns, and the rest in other ways."""
        import pyarrow as pa

        if len(values) >= FEWEST:
            values = values if isinstance(values, pa.Array) else pa.array(values, pa.binary())
            # Arrow cuts what is longer than 2 GiB into several arrays.
            alike = self._layouts.decode(values) if isinstance(values, pa.BinaryArray) else None
            if alike is not None:
                return self._beside(alike, values, first)
        values = values.to_pylist() if isinstance(values, (pa.Array, pa.ChunkedArray)) else values
        return in_chunks(values, lambda some, at: self.separately(some, first + at))

    def _beside(self, alike: Alike, values: "pa.BinaryArray", first: int) -> Decoded:
        """What was decoded by columns, and the other messages among it."""
        import numpy as np
        import pyarrow as pa

        mine, rest = np.flatnonzero(alike.decoded), np.flatnonzero(~alike.decoded)
        if not len(rest):
            return Decoded(alike.rows, (mine + first).tolist(), [], alike.unknown_fields)
        others = in_chunks(values.take(pa.array(rest)).to_pylist(), self.separately)
        places = np.concatenate([mine, rest[others.positions]])
        order = np.argsort(places)
        return Decoded(
            pa.concat_tables([alike.rows, others.rows]).take(pa.array(order)),
            (places[order] + first).tolist(),
            [Reject(int(rest[reject.position]) + first, reject.reason) for reject in others.rejects],
            alike.unknown_fields + others.unknown_fields,
        )

    def separately(self, values: Sequence[bytes | None], first: int) -> Decoded:
        """Decode without a Python statement per message if all are well-formed; else one by one."""
        try:
            # A tombstone among them raises TypeError, and is handled below.
            messages = cast("Sequence[bytes]", values)
            if self._some:
                # msgspec skips fields that it does not read without validating their UTF-8. The line breaks keep partial
                # characters of two messages apart.
                b"\n".join(messages).decode()
            rows = self._table(map(msgspec.structs.astuple, map(self._strict.decode, messages)))
        except (TypeError, *REFUSED):
            return one_by_one(values, first, self._one, self._table)
        if not (in_years(rows["timestamp"]) and _without_nul(rows)):
            return one_by_one(values, first, self._one, self._table)
        return Decoded(rows, list(range(first, first + len(values))))

    def _one(self, value: bytes | None) -> tuple[tuple[Any, ...], int]:
        """The row and how many unknown fields it had. Raises ValueError with the reason."""
        try:
            if value is not None and NUL_ESCAPE not in value:
                if self._some:
                    value.decode()
                row: tuple[Any, ...] = msgspec.structs.astuple(self._strict.decode(value))
                parse_instant(row[self._order.index("timestamp")])
                return row, 0
        except REFUSED:
            pass
        return self._slowly(value)

    def _slowly(self, value: bytes | None) -> tuple[tuple[Any, ...], int]:
        """The row and how many unknown fields it had. Raises ValueError with the reason."""
        document = self._document(value)
        known = {name: document[name] for name in self._fields if name in document}
        unknown = len(document) - len(known)
        if unknown and value is not None and NUL_ESCAPE not in value:
            # All of a company's messages may have fields of its own: without those, the fast path accepts most.
            try:
                row: tuple[Any, ...] = msgspec.structs.astuple(msgspec.convert(known, self._fast))
                parse_instant(row[self._order.index("timestamp")])
            except REFUSED:
                pass
            else:
                return row, unknown
        try:
            transaction = Transaction.model_validate(known)
        except ValidationError as error:
            raise ValueError(reasons(error)) from None
        return tuple(getattr(transaction, name) for name in self._order), unknown

    def _document(self, value: bytes | None) -> dict[str, Any]:
        """The JSON object of a message. Raises ValueError with the reason if it is not one."""
        if value is None:
            raise ValueError("tombstone: the message has no value")
        if not value:
            raise ValueError("the message is empty")
        try:
            document = self._loose.decode(value)
        except msgspec.ValidationError:  # the only one without a type: a number too large for a double
            raise ValueError("a number is out of range") from None
        except (UnicodeDecodeError, msgspec.DecodeError) as error:
            raise ValueError(f"not JSON: {error}") from None
        except RecursionError:
            raise ValueError("not JSON: nested too deeply") from None
        if not isinstance(document, dict):
            raise ValueError(f"expected a JSON object, got {_json_name(document)}")  # noqa: TRY004
        return document

    def _table(self, rows: Iterable[tuple[Any, ...]]) -> "pa.Table":
        """Columns of decoded rows. Naive timestamps are UTC, as in Arrow."""
        import pyarrow as pa

        columns = dict(zip(self._order, zip(*rows, strict=True), strict=False))
        schema = arrow_schema_of(self._fields)
        return pa.table(
            [
                pa.array([None if v is None else bool(v) for v in columns.get(f.name, ())], f.type)
                if KINDS[f.name] == "truth"
                else pa.array(columns.get(f.name, ()), f.type)
                for f in schema
            ],
            schema=schema,
        )


def reasons(error: ValidationError) -> str:
    """Every error in a transaction as `field: what is wrong`, without the values."""
    return "; ".join(
        f"{'.'.join(str(part) for part in mistake['loc']) or 'message'}: {mistake['msg'].removeprefix('Value error, ')}"
        for mistake in error.errors(include_input=False, include_url=False, include_context=False)
    )


def _json_name(document: object) -> str:
    names = {list: "an array", str: "a string", bool: "a boolean", type(None): "null"}
    return names.get(type(document), "a number")


def _without_nul(rows: "pa.Table") -> bool:
    """Whether no string contains a NUL, from the columns' bytes: searching the messages took a tenth of the decoding."""
    import numpy as np
    import pyarrow as pa

    texts = [column for column in rows.itercolumns() if pa.types.is_string(column.type)]
    buffers = [chunk.buffers()[2] for column in texts for chunk in column.chunks]
    return all(np.frombuffer(buffer, np.uint8).all() for buffer in buffers if buffer is not None)
