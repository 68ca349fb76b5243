"""Kafka values to columns: each message on its own, none lost.

Two lanes, one law. msgspec decodes a well-formed message in about a microsecond; whatever it refuses
goes to the pydantic model `Transaction`, which either accepts it (other ISO 8601 forms) or
gives the reason for `shop.rejected`. Messages are never joined before parsing: one crafted
message would shift its neighbours.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
from pydantic import ValidationError

from fraudstream.schema import FIELDS, KINDS, REQUIRED, Transaction, arrow_schema

if TYPE_CHECKING:
    import pyarrow as pa

REASON_LENGTH = 500
"""Characters kept of a reason: enough to read, too few to fill a disk with."""
NUL_ESCAPE = b"\\u0000"
"""The only way to write a NUL in JSON. PostgreSQL cannot store it, so such messages take the slow lane."""


def _fast_type(name: str) -> Any:
    """Msgspec's type for a field, from the constraints that the pydantic model states."""
    info = Transaction.model_fields[name]
    kind = KINDS[name]
    if kind == "truth":
        required: Any = bool | Literal[0, 1]
    elif kind == "instant":
        required = datetime
    else:
        plain = str if kind == "text" else float
        required = Annotated[plain, msgspec.Meta(**_constraints(info))]
    return required if name in REQUIRED else required | None


def _constraints(info: Any) -> dict[str, Any]:
    """`min_length`, `max_length` and `gt` of a field, wherever its annotation carries them."""
    found: dict[str, Any] = {}
    pending = [*info.metadata, *getattr(info.annotation, "__args__", ())]
    while pending:
        part = pending.pop()
        pending += [*getattr(part, "metadata", ()), *getattr(part, "__metadata__", ())]
        for name in ("min_length", "max_length", "gt"):
            value = getattr(part, name, None)
            if isinstance(value, (int, float)):
                found[name] = value
    return found


_Fast = msgspec.defstruct(
    "_Fast",
    [
        (name, _fast_type(name)) if name in REQUIRED else (name, _fast_type(name), None)
        for name in sorted(FIELDS, key=lambda n: n not in REQUIRED)
    ],
    forbid_unknown_fields=True,
)
_ORDER: tuple[str, ...] = tuple(f.name for f in msgspec.structs.fields(_Fast))
_KNOWN = frozenset(FIELDS)


@dataclass(frozen=True, slots=True)
class Reject:
    """A message that is no transaction: its position in the input and why, in a sentence."""

    position: int
    reason: str


@dataclass(slots=True)
class Decoded:
    """What a run of messages became.

    `rows` has `arrow_schema()`; `positions[i]` is the place in the input that row i came from.
    """

    rows: "pa.Table"
    positions: list[int]
    rejects: list[Reject] = field(default_factory=list)
    unknown_fields: int = 0


class Decoder:
    """Decodes messages one by one; keeps its buffers between calls."""

    def __init__(self) -> None:
        self._strict = msgspec.json.Decoder(_Fast)
        self._loose = msgspec.json.Decoder()

    def decode(self, values: Sequence[bytes | None]) -> Decoded:
        """Rows and rejects of `values`, in their order. Never raises because of a message."""
        rows: list[tuple[Any, ...]] = []
        positions: list[int] = []
        rejects: list[Reject] = []
        unknown = 0
        strict, astuple, naive = self._strict.decode, msgspec.structs.astuple, _ORDER.index("timestamp")
        for position, value in enumerate(values):
            try:
                if value is None or NUL_ESCAPE in value:
                    raise ValueError  # noqa: TRY301 - the slow lane below is the handler
                row = astuple(strict(value))
                if row[naive].tzinfo is not None:
                    row[naive].astimezone(UTC)  # raises where UTC leaves the years 1 to 9999
            except (ValueError, OverflowError, RecursionError, msgspec.MsgspecError):
                try:
                    row, extra = self._slowly(value)
                except ValueError as error:
                    rejects.append(Reject(position, str(error)[:REASON_LENGTH]))
                    continue
                unknown += extra
            rows.append(row)
            positions.append(position)
        return Decoded(_table(rows), positions, rejects, unknown)

    def _slowly(self, value: bytes | None) -> tuple[tuple[Any, ...], int]:
        """The row and how many unknown fields it had. Raises ValueError with the reason."""
        if value is None:
            raise ValueError("tombstone: the message has no value")
        if not value:
            raise ValueError("the message is empty")
        try:
            document = self._loose.decode(value)
        except msgspec.ValidationError:  # the only one without a type: a number no double holds
            raise ValueError("a number is out of range") from None
        except (UnicodeDecodeError, msgspec.DecodeError) as error:
            raise ValueError(f"not JSON: {error}") from None
        except RecursionError:
            raise ValueError("not JSON: nested too deeply") from None
        if not isinstance(document, dict):
            raise ValueError(f"expected a JSON object, got {_json_name(document)}")  # noqa: TRY004
        known = {name: document[name] for name in FIELDS if name in document}
        try:
            transaction = Transaction.model_validate(known)
        except ValidationError as error:
            raise ValueError(reasons(error)) from None
        return tuple(getattr(transaction, name) for name in _ORDER), len(document.keys() - _KNOWN)


def reasons(error: ValidationError) -> str:
    """Every mistake of a transaction as `field: what is wrong`, without the values."""
    return "; ".join(
        f"{'.'.join(str(part) for part in mistake['loc']) or 'message'}: {mistake['msg'].removeprefix('Value error, ')}"
        for mistake in error.errors(include_input=False, include_url=False, include_context=False)
    )


def _json_name(document: object) -> str:
    names = {list: "an array", str: "a text", bool: "a truth", type(None): "null"}
    return names.get(type(document), "a number")


def _table(rows: Iterable[tuple[Any, ...]]) -> "pa.Table":
    """Columns of decoded rows. Naive instants are UTC, which is how Arrow reads them, too."""
    import pyarrow as pa

    columns = dict(zip(_ORDER, zip(*rows, strict=True), strict=False))
    schema = arrow_schema()
    return pa.table(
        [
            pa.array([None if v is None else bool(v) for v in columns.get(f.name, ())], f.type)
            if KINDS[f.name] == "truth"
            else pa.array(columns.get(f.name, ()), f.type)
            for f in schema
        ],
        schema=schema,
    )
