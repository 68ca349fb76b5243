"""Messages of the transactions topic as Spark columns: the law of `schema.Transaction`, with no Python in the stream.

Only the fields that a decision needs are read: the truth and personal fields of a message are never looked at, not even
to refuse it. What is refused here is refused by `decode` as well; what `decode` accepts is accepted here
with the same values.
"""

import secrets
from typing import Any, Final

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F  # noqa: N812 - Spark's own custom

from fraudstream import decision, schema
from fraudstream.spark import instants

FIELDS: Final = tuple(name for name in schema.FIELDS if name in decision.FIELDS)
"""What is read of a message."""
REJECTED: Final = "rejected"
"""The column that says why a message is no transaction; null where it is one."""

_OPTIONS: Final = {"allowSingleQuotes": "false", "allowNonNumericNumbers": "false"}
"""Spark takes 'x' and NaN for JSON; JSON does not."""
_PROBLEMS: Final = "__problems"
_NO_AMOUNT, _NO_INSTANT = 1.0, 0


class Messages:
    """Reads transactions from messages. Its columns are built once: a hand-over plans the same query again."""

    def __init__(self) -> None:
        ddl = ", ".join(f"{name} {_json_type(name)}" for name in FIELDS)
        # Spark stops reading behind the first object. In an envelope, whatever follows it (bytes, a second
        # object, a closing brace) keeps the end from being found; nobody can write the end himself, as its name is drawn.
        end = f"end_{secrets.token_hex(8)}"
        text = F.expr("try_validate_utf8(cast(value as string))")
        envelope = F.concat(F.lit('{"message":'), text, F.lit(f',"{end}":0}}'))
        json = F.from_json(envelope, f"message struct<{ddl}>, {end} int", _OPTIONS)
        message = "__json.message"
        found = {name: F.col(f"{message}.{name}") for name in FIELDS}
        texts = {_name(n): found[n] if schema.KINDS[n] == "float" else _text(found[n]) for n in FIELDS}
        problems = F.concat_ws("; ", *(_problem(name, found[name]) for name in FIELDS))
        reason = (
            F.when(F.col("value").isNull(), "tombstone: the message has no value")
            .when(F.col(f"__json.{end}").isNull(), "not JSON")
            .when(F.col(message).isNull(), "expected a JSON object")
            .when(F.col(_PROBLEMS) != "", F.col(_PROBLEMS))
        )
        fallback = {"amount": F.lit(_NO_AMOUNT), "timestamp": F.timestamp_micros(F.lit(_NO_INSTANT))}
        accepted = F.col(REJECTED).isNull()
        self._stages: list[dict[str, Column]] = [
            {"__json": json},
            texts,
            *instants.stages("timestamp"),
            {_PROBLEMS: problems},
            {REJECTED: reason},
            {n: F.when(accepted, F.col(n)).otherwise(fallback.get(n, F.lit(None))) for n in FIELDS},
        ]

    def read(self, raw: DataFrame) -> DataFrame:
        """`raw` (binary `value`) with FIELDS and REJECTED in its place.

        A refused message has null texts, amount 1 and the instant 1970: values that every later step can
        work with and that no reader sees.
        """
        rows = raw
        for stage in self._stages:
            rows = rows.withColumns(stage)
        return rows.select(*(name for name in raw.columns if name != "value"), *FIELDS, REJECTED)


def _json_type(name: str) -> str:
    # A number where a text belongs would become its digits: only a variant still knows what stood there.
    return "double" if schema.KINDS[name] == "float" else "variant"


def _name(field: str) -> str:
    """The column that holds a field as it stood in the message."""
    return instants.TEXT if schema.KINDS[field] == "instant" else field


def _text(found: Column) -> Column:
    return F.when(F.schema_of_variant(found) == "STRING", F.try_variant_get(found, "$", "string"))


def _problem(name: str, found: Column) -> Column:
    """What is wrong with the field, null where nothing is."""
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
                sound = sound | found.isNull() | F.is_variant_null(found)
            return _unless(sound, f"{name}: expected a text of {shortest} to {longest} characters")


def _unless(sound: Column, problem: str) -> Column:
    return F.when(~F.coalesce(sound, F.lit(False)), problem)


_PROPERTIES: Final[dict[str, Any]] = schema.json_schema()["properties"]


def _lengths(name: str) -> tuple[int, int]:
    """Fewest and most characters of a text, from the one schema."""
    stated = _PROPERTIES[name]
    text = next(kind for kind in stated.get("anyOf", [stated]) if kind["type"] == "string")
    return text.get("minLength", 0), text["maxLength"]
