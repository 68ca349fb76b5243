"""A decision: the scorer's result for a transaction, as a message in the topic `transactions-scored`.

The scorer writes these fields, `consume scores` reads them, `score --data` prints them; all take names and
order from here. A decision has no name or e-mail address, and never the truth.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, cast

import msgspec

from fraudstream import schema
from fraudstream.decode import NUL_ESCAPE, REFUSED, Decoded, in_chunks, one_by_one
from fraudstream.schema import ID_LENGTH, TEXT_LENGTH, in_years, parse_instant

if TYPE_CHECKING:
    import pyarrow as pa

_Id = Annotated[str, msgspec.Meta(min_length=1, max_length=ID_LENGTH)]
_Text = Annotated[str, msgspec.Meta(max_length=TEXT_LENGTH)]
_Risk = Annotated[float, msgspec.Meta(ge=0, le=1)]


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """The decision on a transaction. Timestamps are ISO 8601 in UTC."""

    transaction_id: _Id
    user_id: _Id
    timestamp: datetime
    amount: float
    device: _Text | None = None
    location: _Text | None = None
    transaction_location: _Text | None = None
    merchant_id: _Text | None = None
    currency: _Text | None = None
    risk: _Risk
    """The model's risk; higher is worse."""
    flagged: bool
    """Whether `risk` reached the model's threshold, or a rule matched."""
    rules: tuple[_Text, ...] = ()
    """Names of the operator's rules that matched."""
    model_version: _Id
    scored_at: datetime
    sent_at: datetime | None = None
    """When the transaction's message entered Kafka, according to the broker; null for a file."""
    features: dict[_Id, float]
    """The model's features, by name, as used for the decision; then those that reasons and rules
    read."""


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """The scorer's answer to a message that is not a transaction. It has no `risk`."""

    rejected: str
    """Why it was refused, in a sentence."""
    topic: str
    partition: int
    offset: int
    scored_at: datetime
    sent_at: datetime | None = None


FIELDS: tuple[str, ...] = tuple(field.name for field in msgspec.structs.fields(Decision))
"""Fields of a decision, in the order in which they are written."""
REFUSAL_FIELDS: tuple[str, ...] = tuple(field.name for field in msgspec.structs.fields(Refusal))
"""Fields of a refusal, in the order in which they are written."""
TRANSACTION_FIELDS: tuple[str, ...] = tuple(name for name in schema.FIELDS if name in FIELDS)
"""Fields that a scorer reads from a message: neither the truth nor names, not even to refuse it."""
REJECTED = "rejected"
"""The field of a refusal with the reason; null if a message is a transaction."""
CONTEXT: tuple[str, ...] = ("device", "location", "transaction_location", "merchant_id", "currency")
"""Fields that a decision repeats from its transaction, so that an alert is self-contained."""
INSTANTS = ("timestamp", "scored_at", "sent_at")
JSON_COLUMN = {"postgres": "jsonb"}
"""Metadata of an Arrow string field that contains JSON."""


def arrow_schema() -> "pa.Schema":
    """The Arrow schema of decoded decisions. `features` is JSON, and kept only for flagged ones."""
    import pyarrow as pa

    types: dict[str, Any] = dict.fromkeys(FIELDS, pa.string())
    types |= dict.fromkeys(INSTANTS, schema.arrow_types()["instant"])
    types |= dict.fromkeys(("amount", "risk"), pa.float64())
    types |= {"flagged": pa.bool_(), "rules": pa.list_(pa.string())}
    return pa.schema(
        [pa.field(name, types[name], metadata=JSON_COLUMN if name == "features" else None) for name in FIELDS]
    )


class DecisionDecoder:
    """Decodes decisions one by one, like `decode.Decoder` for transactions."""

    def __init__(self) -> None:
        self._decision = msgspec.json.Decoder(Decision)
        self._refusal = msgspec.json.Decoder(Refusal)

    def decode(self, values: Sequence[bytes | None]) -> Decoded:
        """Rows of `arrow_schema()`, refusals (counted) and rejects of `values`. Never raises because of a message."""
        return in_chunks(values, self._chunk)

    def _chunk(self, values: Sequence[bytes | None], first: int) -> Decoded:
        try:
            messages = cast("Sequence[bytes]", values)  # a tombstone among them raises TypeError
            if NUL_ESCAPE not in b"".join(messages):
                rows = _table(list(map(self._decision.decode, messages)))
                if all(in_years(rows[name]) for name in INSTANTS):
                    return Decoded(rows, list(range(first, first + len(values))))
        except (TypeError, *REFUSED):
            pass
        return one_by_one(values, first, lambda value: (self._one(value), 0), _table)

    def _one(self, value: bytes | None) -> Decision | None:
        """The decision, or None for a refusal. Raises ValueError with the reason if it is neither."""
        if value is None:
            raise ValueError("tombstone: the message has no value")
        try:
            decision = self._decision.decode(value)
        except REFUSED as error:
            reason = f"not a decision: {error}"
        else:
            for instant in (decision.timestamp, decision.scored_at, decision.sent_at):
                if instant is not None:
                    parse_instant(instant)
            if any("\0" in text for text in _texts(decision)):
                raise ValueError("contains a NUL character")
            return decision
        try:
            self._refusal.decode(value)
        except REFUSED:
            raise ValueError(reason) from None
        return None


def _texts(decision: Decision) -> list[str]:
    """Every string of a decision, including the names of its features."""
    values = msgspec.structs.astuple(decision)
    return [*(v for v in values if isinstance(v, str)), *decision.rules, *decision.features]


def _table(decisions: Sequence[Decision]) -> "pa.Table":
    """Columns of decisions. Naive timestamps are UTC, as in Arrow."""
    import pyarrow as pa

    encode = msgspec.json.Encoder().encode
    columns: dict[str, Any] = dict(
        zip(FIELDS, zip(*map(msgspec.structs.astuple, decisions), strict=True), strict=False)
    )
    columns["features"] = [encode(d.features).decode() if d.flagged else None for d in decisions]
    schema = arrow_schema()
    return pa.table([pa.array(columns.get(f.name, ()), f.type) for f in schema], schema=schema)
