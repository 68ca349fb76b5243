"""A transaction. All other forms of it (Arrow, Spark, table, JSON Schema) derive from this model.

`Transaction` defines a valid message; `fraudstream.decode` is a fast implementation of it.
"""

import re
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from fraudstream.micros import micros

if TYPE_CHECKING:
    import pyarrow as pa

ID_LENGTH = 128
"""Longest identifier, in characters."""
TEXT_LENGTH = 256
"""Longest other string, in characters: a megabyte in a name is an attack, not a name."""
NOTE_LENGTH = 2_000
"""Longest note on a label, in characters."""

FIRST_INSTANT = datetime(1, 1, 1, tzinfo=UTC)
LAST_INSTANT = datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)
SKEW = timedelta(minutes=5)
"""How far ahead of the clock a label may be, as clocks differ. It is stored with the current time."""
HUGE = 1e15
"""Numbers from here on are shown as 1.2e+300."""

CALENDAR_DATE = r"(?!0000)([0-9]{4})(-?)([0-9]{2})\2([0-9]{2})"
"""Groups: year, dash, month, day."""
WEEK_DATE = r"(?!0000)([0-9]{4})(-?)W([0-9]{2})(?:\2([1-7]))?"
"""Groups: year, dash, week, weekday."""
_HOUR, _SIXTY = "([01][0-9]|2[0-3])", "([0-5][0-9])"
TIME = (
    rf"(?:[Tt ]{_HOUR}(?:(:?){_SIXTY}(?:\6{_SIXTY}(?:[.,]([0-9]+))?)?)?"
    rf"(?:Z|([+-]){_HOUR}(?:(:?){_SIXTY}(?:\12{_SIXTY})?)?)?)?"
)
"""After either date, groups: hour, colon, minute, second, fraction; of the zone: sign, hour, colon, minute, second."""
_ISO_8601 = tuple(re.compile(date + TIME, re.ASCII) for date in (CALENDAR_DATE, WEEK_DATE))
"""The only grammar, which Java implements identically: `datetime` accepts more, depending on the version of Python."""


def parse_instant(value: object) -> datetime:
    """Parse an ISO 8601 string into a time in UTC; no zone means UTC.

    RFC 3339 goes through msgspec, as in the fast path, so that both round a ninth digit the same way;
    the other forms of ISO 8601 (dates alone, basic format, hours and minutes) through `datetime`.

    Raises ValueError if it is not such a string, or if UTC is outside the years 1 to 9999.
    """
    if isinstance(value, datetime):
        moment = value
    elif isinstance(value, str):
        try:
            moment = msgspec.convert(value, datetime)
        except msgspec.ValidationError:
            moment = _parse_iso_8601(value)
    else:
        raise ValueError("expected an ISO 8601 string")  # noqa: TRY004 - pydantic reports ValueError, not TypeError
    if moment.tzinfo is None:
        return moment.replace(tzinfo=UTC)
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("outside the years 1 to 9999 in UTC") from None


def _parse_iso_8601(text: str) -> datetime:
    try:
        if any(form.fullmatch(text) for form in _ISO_8601):
            return datetime.fromisoformat(text)
    except ValueError:
        pass  # a day that its month does not have
    raise ValueError("not an ISO 8601 date and time")


def in_years(instants: "pa.Array | pa.ChunkedArray") -> bool:
    """Whether all but nulls are in the years 1 to 9999 in UTC; Arrow and PostgreSQL have more, Python's datetime has not."""
    import pyarrow as pa
    import pyarrow.compute as pc

    bounds = pc.min_max(instants.cast(pa.int64())).as_py()
    return bounds["min"] is None or (
        micros(FIRST_INSTANT) <= bounds["min"] and bounds["max"] <= micros(LAST_INSTANT)
    )


def _without_nul(text: str) -> str:
    """Raise ValueError for a NUL, which PostgreSQL cannot store in a string."""
    if "\x00" in text:
        raise ValueError("contains a NUL character")
    return text


def _truth(value: object) -> object:
    """Accept 0, 1, false and true; a float or a string is not a truth."""
    if type(value) is int and value in (0, 1):
        return bool(value)
    return value


Identifier = Annotated[str, Field(min_length=1, max_length=ID_LENGTH), AfterValidator(_without_nul)]
Text = Annotated[str, Field(max_length=TEXT_LENGTH), AfterValidator(_without_nul)]
_INSTANT_SHAPE = (
    "^[0-9]{4}-?([0-9]{2}-?[0-9]{2}|W[0-9]{2}(-?[1-7])?)"
    "([Tt ][0-9]{2}(:?[0-9]{2}(:?[0-9]{2}([.,][0-9]+)?)?)?([Zz]|[+-][0-9]{2}(:?[0-9]{2}){0,2})?)?$"
)
"""A timestamp as far as JSON Schema can express it: never too narrow, and without a calendar. `date-time` requires a zone."""
_INSTANT_SCHEMA = {
    "type": "string",
    "pattern": _INSTANT_SHAPE,
    "description": "When it happened, in ISO 8601; no zone means UTC.",
    "examples": ["2025-03-01T12:30:00.250Z", "2025-03-01 12:30:00+05:45", "2025-03-01"],
}

Instant = Annotated[datetime, BeforeValidator(parse_instant), WithJsonSchema(_INSTANT_SCHEMA)]
Amount = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Truth = Annotated[bool, BeforeValidator(_truth), WithJsonSchema({"enum": [0, 1, False, True]})]


class Transaction(BaseModel):
    """A card or wallet transaction, as it is in the topic and in the tables.

    Unknown fields are ignored; `decode` counts them.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore", hide_input_in_errors=True)

    transaction_id: Identifier
    user_id: Identifier
    timestamp: Instant
    """When it happened; ISO 8601, no zone means UTC."""
    amount: Amount
    device: Text
    location: Text
    """The user's home."""
    transaction_location: Text
    """Where it happened."""
    first_name: Text | None = None
    last_name: Text | None = None
    full_name: Text | None = None
    email: Text | None = None
    merchant_id: Identifier | None = None
    currency: Text | None = None
    is_fraud: Truth | None = None
    """The truth, if the simulator or a replayed file has it. Never an input of a model."""
    fraud_scenario: Text | None = None
    """For study only. Never an input of a model."""


FIELDS: tuple[str, ...] = tuple(Transaction.model_fields)
REQUIRED: tuple[str, ...] = tuple(n for n, field in Transaction.model_fields.items() if field.is_required())
PERSONAL: frozenset[str] = frozenset({"first_name", "last_name", "full_name", "email"})
"""Never leaves `shop.transactions` and `shop.fraud_transactions`."""
TRUTH: frozenset[str] = frozenset({"is_fraud", "fraud_scenario"})
"""Never an input of a model."""
LABELLED_AT = "labelled_at"
"""Column of rows with labels: since when the labels agree with `is_fraud`. Null or missing if there are none."""
MESSAGE_AGREES = "message_agrees"
"""Another such column: whether the message itself and all labels say the same. Then the label is known after the delay
at the latest."""

Kind = Literal["text", "instant", "float", "truth"]
_KINDS: dict[Any, Kind] = {str: "text", datetime: "instant", float: "float", bool: "truth"}


def _kind(annotation: Any) -> Kind:
    """The kind of a field, from its annotation with `Annotated` and `| None` taken off."""
    arguments = [a for a in getattr(annotation, "__args__", ()) if a is not type(None)]
    return _kind(arguments[0]) if arguments else _KINDS[annotation]


KINDS: dict[str, Kind] = {name: _kind(field.annotation) for name, field in Transaction.model_fields.items()}
"""The kind of each field. Arrow, Spark and PostgreSQL types derive from this, so none is declared twice."""


@cache
def constraints(name: str) -> dict[str, Any]:
    """`min_length`, `max_length` and `gt` of a field, wherever they are in its annotation."""
    info: Any = Transaction.model_fields[name]
    found: dict[str, Any] = {}
    pending = [*info.metadata, *getattr(info.annotation, "__args__", ())]
    while pending:
        part = pending.pop()
        pending += [*getattr(part, "metadata", ()), *getattr(part, "__metadata__", ())]
        for limit in ("min_length", "max_length", "gt"):
            value = getattr(part, limit, None)
            if isinstance(value, (int, float)):
                found[limit] = value
    return found


@cache
def arrow_types() -> "dict[Kind, pa.DataType]":
    """The Arrow type of each kind; timestamps are in microseconds of UTC."""
    import pyarrow as pa

    return {
        "text": pa.string(),
        "instant": pa.timestamp("us", "UTC"),
        "float": pa.float64(),
        "truth": pa.bool_(),
    }


@cache
def arrow_schema() -> "pa.Schema":
    """The Arrow schema of decoded transactions."""
    import pyarrow as pa

    types = arrow_types()
    return pa.schema(
        [pa.field(name, types[kind], nullable=name not in REQUIRED) for name, kind in KINDS.items()]
    )


@cache
def arrow_schema_of(fields: tuple[str, ...]) -> "pa.Schema":
    """The same with these fields alone, in the order of all."""
    import pyarrow as pa

    return pa.schema([field for field in arrow_schema() if field.name in fields])


def json_schema() -> dict[str, Any]:
    """The JSON Schema of a message, for producers; docs/transaction.schema.json is a copy.

    It accepts whatever `decode` accepts. `decode` also refuses what it cannot express: NUL within a string, a day that
    does not exist, a number too large for a float.
    """
    from pydantic.json_schema import GenerateJsonSchema

    return {"$schema": GenerateJsonSchema.schema_dialect, **Transaction.model_json_schema()}
