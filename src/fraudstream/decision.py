"""One decision: what the scorer says of a transaction, as it travels through the topic `transactions-scored`.

The scorer writes these fields, `consume scores` reads them, `score --data` prints them; each takes names and
order from here. A decision carries no name and no e-mail, and never the truth.
"""

from datetime import datetime
from typing import Annotated

import msgspec

from fraudstream.schema import ID_LENGTH, TEXT_LENGTH

_Id = Annotated[str, msgspec.Meta(min_length=1, max_length=ID_LENGTH)]
_Text = Annotated[str, msgspec.Meta(max_length=TEXT_LENGTH)]
_Risk = Annotated[float, msgspec.Meta(ge=0, le=1)]


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """A transaction that was judged. Instants are ISO 8601 in UTC."""

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
    """Of the model; higher is worse."""
    flagged: bool
    """Whether `risk` reached the model's threshold, or a rule matched."""
    rules: tuple[_Text, ...] = ()
    """Names of the operator's rules that matched."""
    model_version: _Id
    scored_at: datetime
    sent_at: datetime | None = None
    """When the transaction's message entered Kafka, as the broker has it; null for a file."""
    features: dict[_Id, float]
    """The model's features, by name, as the decision saw them."""


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """What the scorer says of a message that is no transaction: an answer, not silence. It has no `risk`."""

    rejected: str
    """Why, in a sentence."""
    topic: str
    partition: int
    offset: int
    scored_at: datetime
    sent_at: datetime | None = None


FIELDS: tuple[str, ...] = tuple(field.name for field in msgspec.structs.fields(Decision))
"""Of a decision, in the order in which they are written."""
CONTEXT: tuple[str, ...] = ("device", "location", "transaction_location", "merchant_id", "currency")
"""Fields that a decision repeats from its transaction, so that an alert can be read alone."""
