"""ISO 8601 as Spark columns: the timestamps that `schema.parse_instant` accepts, to the microsecond.

Almost every message has RFC 3339 with at most six digits, which Spark's own cast reads. The other forms
(basic format, week dates, fewer or more digits, odd zones) are parsed in parts; only they pay for it.
"""

from typing import Final

from pyspark.sql import Column
from pyspark.sql import functions as F

from fraudstream.micros import SECOND, micros
from fraudstream.schema import CALENDAR_DATE, FIRST_INSTANT, LAST_INSTANT, TIME, WEEK_DATE

_ZONE: Final = r"(?:Z|[+-](?:0\d|1[0-7]):[0-5]\d)\z"
"""Zones that Spark's cast accepts, which are up to 18 hours."""
_PLAIN: Final = rf"^(?!0000)\d{{4}}-\d{{2}}-\d{{2}}[T ]\d{{2}}:\d{{2}}:\d{{2}}(?:\.\d{{1,6}})?(?:{_ZONE}|\z)"
_CALENDAR: Final = rf"^{CALENDAR_DATE}{TIME}\z"
_WEEK: Final = rf"^{WEEK_DATE}(?![\d-])"
_ROUNDED: Final = (
    r"^(?!9999-12-31.23:59:59\.999999[5-9])"
    r"\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}:\d{2}\.\d+(?:Z|[+-]\d{2}:?\d{2})?\z"
)
"""Forms in which a seventh digit is rounded, as by msgspec; in the others it is truncated, as by `datetime`. The latter also
accepts the last representable microsecond, which msgspec would round up to an invalid time."""
_FIRST, _LAST = map(micros, (FIRST_INSTANT, LAST_INSTANT))

TEXT: Final = "__instant"
"""The string column that `stages` reads; it adds others that begin with this name."""
_CAPITAL, _ODD, _PARTS, _DAY, _CLOCK, _OFFSET, _MICROS = (
    f"{TEXT}_{part}" for part in ("capital", "odd", "parts", "day", "clock", "offset", "micros")
)


def stages(name: str) -> list[dict[str, Column]]:
    """Columns to add stage by stage; the last one adds the timestamp `name`.

    It is null if TEXT is not ISO 8601, or is outside the years 1 to 9999. No zone
    means UTC. In stages, as a single expression would repeat its parts a thousandfold in the plan.
    """
    text, capital, odd, parts = F.col(TEXT), F.col(_CAPITAL), F.col(_ODD), F.col(_PARTS)
    zoned = F.when(capital.rlike(_ZONE), capital).otherwise(F.concat(capital, F.lit("Z")))
    is_plain = capital.rlike(_PLAIN)
    plain = F.when(is_plain, F.unix_micros(zoned.try_cast("timestamp")))
    # One match finds every part: year, month, day, hour, minute, second, fraction, sign and offset.
    split = F.split(F.regexp_replace(odd, _CALENDAR, "$1;$3;$4;$5;$7;$8;$9;$10;$11;$13;$14"), ";")
    digits = F.rpad(F.get(parts, F.lit(6)), 7, "0")
    rounded_up = F.when(capital.rlike(_ROUNDED) & (F.substring(digits, 7, 1) >= "5"), 1).otherwise(0)
    fraction = F.substring(digits, 1, 6).try_cast("long") + rounded_up
    east = F.when(F.get(parts, F.lit(7)) == "-", -F.col(_OFFSET)).otherwise(F.col(_OFFSET))
    taken_apart = (F.col(_DAY) * 86_400 + F.col(_CLOCK) - east) * SECOND + fraction
    micros = F.col(_MICROS)
    return [
        # The only letters of a plain timestamp. `upper` handles Unicode: it took a third of the time of a decision.
        {_CAPITAL: F.translate(TEXT, "tz", "TZ")},
        {
            _MICROS: plain,
            # Null for a plain one: each part of an empty string would cost a failing cast, with an exception inside.
            _ODD: F.when(
                ~is_plain,
                F.when(text.rlike(_WEEK), _week_as_calendar(text))
                .when(capital.rlike(_ROUNDED), capital)
                .otherwise(text),
            ),
        },
        {_PARTS: F.when(odd.rlike(_CALENDAR), split)},
        {
            _DAY: F.unix_date(F.array_join(F.slice(parts, 1, 3), "-").try_cast("date")).cast("long"),
            _CLOCK: _seconds(parts, 3, 4, 5),
            _OFFSET: _seconds(parts, 8, 9, 10),
        },
        {_MICROS: F.coalesce(micros, taken_apart)},
        {name: F.when(micros.between(_FIRST, _LAST), F.timestamp_micros(micros))},
    ]


def _seconds(parts: Column, *places: int) -> Column:
    """Hours, minutes and seconds as seconds, with 0 for missing ones."""
    hour, minute, second = (
        F.coalesce(F.get(parts, F.lit(place)).try_cast("long"), F.lit(0)) for place in places
    )
    return (hour * 60 + minute) * 60 + second


def _week_as_calendar(text: Column) -> Column:
    """`2025-W09-6T10` as `2025-03-01T10`; null for a week that its year does not have."""
    year, week, weekday = (F.regexp_extract(text, _WEEK, group) for group in (1, 3, 4))
    fourth = F.concat(year, F.lit("-01-04")).try_cast("date")  # always in week 1
    monday = F.date_sub(fourth, F.weekday(fourth))
    day = F.date_add(monday, week.try_cast("int") * 7 - 7 + F.coalesce(weekday.try_cast("int"), F.lit(1)) - 1)
    exists = F.weekofyear(day) == week.try_cast("int")
    return F.concat(F.when(exists, day).cast("string"), F.regexp_replace(text, _WEEK, ""))
