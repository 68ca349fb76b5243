"""Messages of the transactions topic as Spark columns: the rules of `schema.Transaction`, with no Python in the stream.

Only the fields that a decision needs are read: the truth and personal fields of a message are never read, not even
to refuse it. What is refused here is refused by `decode` as well; what `decode` accepts is accepted here
with the same values.
"""

import secrets
from typing import Any, Final

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from fraudstream import decision, schema
from fraudstream.spark import instants
from fraudstream.spark.columns import Columns

FIELDS: Final = decision.TRANSACTION_FIELDS
REJECTED: Final = decision.REJECTED

_OPTIONS: Final = {"allowSingleQuotes": "false", "allowNonNumericNumbers": "false"}
"""Spark accepts 'x' and NaN as JSON by default."""
_NUMBERS: Final = tuple(name for name in FIELDS if schema.KINDS[name] == "float")
_TEXTS: Final = tuple(name for name in FIELDS if name not in _NUMBERS)
_INITIALS: Final = "".join(sorted({name[0] for name in FIELDS}))
_SUSPECT: Final = (
    rf'"(?=[{_INITIALS}])(?:'
    rf'(?:{"|".join(_TEXTS)})"\s*+:\s*+[^"n\s]'  # not a string, but read as one
    rf'|(?:{"|".join(_NUMBERS)})"\s*+:\s*+[^-\dn\s])'  # not a number, after which Spark keeps an earlier value of the same key
)
_ESCAPE: Final = "\\u"
_SUSPECT_ESCAPE: Final = r"\\u(?:00[5-7]|[dD])"
"""An escaped letter in a key, or half of a surrogate pair."""
_TEXT, _ODD, _PROBLEMS = "__text", "__odd", "__problems"
_NO_AMOUNT, _NO_INSTANT = 1.0, 0


class Messages:
    """Parses transactions from messages. Its columns are built once: a hand-over plans the same query again."""

    def __init__(self) -> None:
        # Spark stops reading after the first object. In an envelope, anything after it (bytes, a second object, a closing
        # brace) hides the envelope's end, which no message can forge, as its name is random.
        # Bytes that continue as members of the envelope (`,"x":1`) are skipped: decided, although the consumer refuses them.
        # So are brackets some 995 to 999 deep: Jackson's limit is 1,000, the consumer's a little lower.
        end = f"end_{secrets.token_hex(8)}"
        envelope = F.concat(F.lit('{"message":'), F.col(_TEXT), F.lit(f',"{end}":0}}'))

        def json(types: dict[str, str]) -> Column:
            fields = ", ".join(f"{name} {kind}" for name, kind in types.items())
            return F.from_json(envelope, f"message struct<{fields}>, {end} int", _OPTIONS)

        message, closely = F.col("__json.message"), F.col("__closely.message")
        odd = F.col(_ODD)
        numbers = {n: F.when(~odd | _is_number(closely[n]), message[n]) for n in _NUMBERS}
        texts = {_name(n): F.when(odd, _text(message[n], closely[n])).otherwise(message[n]) for n in _TEXTS}
        problems = F.concat_ws("; ", *map(_problem, FIELDS))
        reason = (
            F.when(F.col("value").isNull(), "tombstone: the message has no value")
            .when(F.col(f"__json.{end}").isNull(), "not JSON")
            .when(message.isNull(), "expected a JSON object")
            .when(F.col(_PROBLEMS) != "", F.col(_PROBLEMS))
        )
        fallback = {"amount": F.lit(_NO_AMOUNT), "timestamp": F.timestamp_micros(F.lit(_NO_INSTANT))}
        accepted = F.col(REJECTED).isNull()
        stages: list[dict[str, Column]] = [
            {_TEXT: F.expr("try_validate_utf8(cast(value as string))")},
            {
                "__json": json(dict.fromkeys(_TEXTS, "string") | dict.fromkeys(_NUMBERS, "double")),
                _ODD: _is_suspect(F.col(_TEXT)),
            },
            # A third slower, so only if needed: a variant preserves the original types.
            {"__closely": F.when(odd, json(dict.fromkeys(FIELDS, "variant")))},
            numbers | texts,
            *instants.stages("timestamp"),
            {_PROBLEMS: problems},
            {REJECTED: reason},
            {n: F.when(accepted, F.col(n)).otherwise(fallback.get(n, F.lit(None))) for n in FIELDS},
        ]
        self._stages = tuple(map(Columns, stages))

    def read(self, raw: DataFrame) -> DataFrame:
        """Replace `value` (binary) of `raw` with FIELDS and REJECTED.

        A refused message has null strings, amount 1 and the year 1970: values that every later step can
        handle and that no reader sees.
        """
        rows = raw
        for stage in self._stages:
            rows = stage.add(rows)
        return rows.select(*(name for name in raw.columns if name != "value"), *FIELDS, REJECTED)


def _is_suspect(text: Column) -> Column:
    """Whether Spark may misread a value in it; otherwise every value has its type, or is null.

    Two searches, each after a faster one (a first letter, a plain string), take 4 microseconds per message: a single
    pattern with four alternatives took 14, more than parsing the JSON.
    """
    return text.rlike(_SUSPECT) | (F.contains(text, F.lit(_ESCAPE)) & text.rlike(_SUSPECT_ESCAPE))


def _name(field: str) -> str:
    """The column with a field as it is in the message."""
    return instants.TEXT if schema.KINDS[field] == "instant" else field


def _text(read: Column, found: Column) -> Column:
    """The field's string if it is one, null if it is null, and otherwise a string that no field accepts.

    It must equal the string read as a variant: if Spark cannot read a nested value, it continues with the next key at
    any level, and takes that for one of ours.
    """
    is_text = (_first_character(found) == '"') & (F.try_variant_get(found, "$", "string") == read)
    return F.when(F.coalesce(is_text, F.lit(False)), read).when(read.isNotNull(), F.lit("\0"))


def _is_number(found: Column) -> Column:
    return F.coalesce(_first_character(found).rlike("[-0-9]"), F.lit(False))


def _first_character(found: Column) -> Column:
    """The first character of a variant, which shows its type: `schema_of_variant` would merge those of all its elements."""
    return F.substring(F.to_json(found), 1, 1)


def _problem(name: str) -> Column:
    """What is wrong with the field, or null."""
    value = F.col(name)
    match schema.KINDS[name]:
        case "float":
            return _unless(
                (value > 0) & (value < float("inf")), f"{name}: expected a finite number above zero"
            )
        case "instant":
            return _unless(value.isNotNull(), f"{name}: expected an ISO 8601 date and time")
        case _:
            shortest, longest = _lengths(name)
            sound = F.length(value).between(shortest, longest) & ~F.contains(value, F.lit("\0"))
            if name not in schema.REQUIRED:
                sound = sound | value.isNull()
            return _unless(sound, f"{name}: expected a string of {shortest} to {longest} characters")


def _unless(sound: Column, problem: str) -> Column:
    return F.when(~F.coalesce(sound, F.lit(False)), problem)


_PROPERTIES: Final[dict[str, Any]] = schema.json_schema()["properties"]


def _lengths(name: str) -> tuple[int, int]:
    """Minimum and maximum length of a string, from the schema."""
    stated = _PROPERTIES[name]
    text = next(kind for kind in stated.get("anyOf", [stated]) if kind["type"] == "string")
    return text.get("minLength", 0), text["maxLength"]
