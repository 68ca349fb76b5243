"""The counters, and the entities that have them.

The columns of `shop.profiles`, its merge statement, the fold, the training view and the serving
expressions all derive from here. Nothing heavy is imported: tables and commands may read it.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal

from fraudstream.schema import LAST_INSTANT

HOUR: Final = 3_600.0
DAY: Final = 86_400.0
NEVER_SECONDS: Final = 365 * DAY
"""The longest time since the last transaction, also used for an entity that has none."""

Source = Literal["one", "amount", "amount_squared", "labelled", "fraud"]
"""What an event adds: 1, its amount, its amount²; and, once its label is known, 1, and 1 if it was fraud."""


@dataclass(frozen=True, slots=True)
class Counter:
    """A number in a profile: a decayed sum, or, without a half-life, the largest value so far."""

    name: str
    source: Source
    half_life: float | None
    """Seconds; None for the maximum instead of a sum."""

    @property
    def of_labels(self) -> bool:
        """Whether it is folded when a label becomes known instead of when the transaction arrives."""
        return self.source in ("labelled", "fraud")


HALF_LIVES: Final[dict[str, float]] = {
    "10m": 600.0,
    "1h": HOUR,
    "1d": DAY,
    "7d": 7 * DAY,
    "30d": 30 * DAY,
}
SPANS: Final[dict[str, str]] = {
    "10m": "10 minutes",
    "1h": "hour",
    "1d": "day",
    "7d": "7 days",
    "30d": "30 days",
}
"""The half-lives in words, after "the last"."""


def _sums(prefix: str, source: Source, *half_lives: str) -> tuple[Counter, ...]:
    return tuple(Counter(f"{prefix}_{name}", source, HALF_LIVES[name]) for name in half_lives)


COUNTERS: Final[dict[str, Counter]] = {
    counter.name: counter
    for counter in (
        *_sums("count", "one", "10m", "1h", "1d", "7d", "30d"),
        *_sums("amount", "amount", "1d", "7d", "30d"),
        *_sums("amount2", "amount_squared", "1d", "7d", "30d"),
        Counter("amount_max", "amount", None),
        *_sums("labelled", "labelled", "7d", "30d"),
        *_sums("fraud", "fraud", "7d", "30d"),
    )
}
"""Every counter by name, in the order of the table's columns."""


SMALLEST_AMOUNT: Final = 1e-9
LARGEST_AMOUNT: Final = 1e12
"""Amounts are clipped to these limits. No payment is outside in any currency; the square of
an unlimited one (1e200 is a valid float) would make a profile infinite forever, and a ratio to
an arbitrarily small one would be infinite, too."""
LARGEST_OF_EVERYBODY: Final = 1e6
"""What one transaction adds at most to the sum of all amounts, whose mean everybody is compared with: a single 1e12, typed or
sent on purpose, made every fraud a small payment for a year. More than almost every payment, in currencies of small
units, too."""


@dataclass(frozen=True, slots=True)
class Entity:
    """Something with a profile: the fields of a transaction that identify it, and its counters."""

    name: str
    meaning: str
    fields: tuple[str, ...]
    counters: tuple[str, ...]
    """Only counters that features read: an unused one costs every fold, every merge and every broadcast."""
    largest: float = LARGEST_AMOUNT
    """The most that one transaction adds to a sum of amounts."""


_LABELS = ("labelled_7d", "labelled_30d", "fraud_7d", "fraud_30d")
_HABIT = ("count_30d",)

ENTITIES: Final[dict[str, Entity]] = {
    entity.name: entity
    for entity in (
        Entity(
            "total",
            "all transactions together",
            (),
            ("count_30d", "amount_30d", *_LABELS),
            largest=LARGEST_OF_EVERYBODY,
        ),
        Entity("user", "one customer", ("user_id",), tuple(COUNTERS)),
        Entity("user_device", "one customer with one device", ("user_id", "device"), _HABIT),
        Entity("user_location", "one customer at one place", ("user_id", "transaction_location"), _HABIT),
        Entity("user_merchant", "one customer at one merchant", ("user_id", "merchant_id"), _HABIT),
        Entity("device", "one device, whoever uses it", ("device",), ("count_30d", *_LABELS)),
        Entity(
            "merchant",
            "one merchant or terminal, whoever pays there",
            ("merchant_id",),
            ("count_1h", "count_1d", "count_7d", "count_30d", "amount_30d", "amount2_30d", *_LABELS),
        ),
    )
}
"""Every entity by name. `total` has no fields: its one row has the empty key."""

NEGLIGIBLE: Final = 1e-100
"""Smaller counters are stored as zero: PostgreSQL raises an error if a product underflows."""

LONGEST_DECAY: Final = 300.0
"""Half-lives after which the merge statement treats a counter as zero: 2^-300 · NEGLIGIBLE is still a normal double."""

FUTURE: Final = timedelta(days=1)
"""How far ahead of the clock a transaction may be to be folded. A local time without its zone is interpreted as
UTC and may be 14 hours ahead; more than a day is an error or an attack, and would decay
every counter of its device or merchant (a year ahead: the 30-day ones to a thousandth)."""


def horizon(now: datetime) -> datetime:
    """The latest time that is folded."""
    return now + FUTURE if now < LAST_INSTANT - FUTURE else LAST_INSTANT


KEY_COLUMNS: Final = ("entity", "key")
LAST_AT: Final = "last_at"
LAST_GAP: Final = "last_gap"
SECOND_LARGEST: Final = "amount_second"
RUNNERS_UP: Final = {LAST_AT: LAST_GAP, "amount_max": SECOND_LARGEST}
"""For a column, the one with its value without the transaction that set it. A transaction can be subtracted from a sum,
but not from a latest time or a largest amount (`operations.JoinedRow`)."""
COLUMNS: Final[dict[str, Literal["text", "instant", "float"]]] = {
    "entity": "text",
    "key": "text",
    LAST_AT: "instant",
    **dict.fromkeys((*COUNTERS, *RUNNERS_UP.values()), "float"),
}
"""Columns of `shop.profiles` and their kinds, as `schema.KINDS` calls them; the key is (entity, key).

`last_at` is the time of the entity's latest transaction; every counter is the value at that time. `last_gap` is the
seconds between the latest two transactions, at most NEVER_SECONDS, and `amount_second` the second largest amount, or 0."""


MERGE_ORDER: Final = tuple(
    sorted(ENTITIES, key=lambda name: ("user_id" not in ENTITIES[name].fields, -len(ENTITIES[name].fields)))
)
"""Entities in the order in which a transaction locks their rows: first a customer's own, which belong to one Kafka
partition, last those that everybody shares, so that they are locked for the shortest time."""


def merge_sql() -> str:
    """PostgreSQL's statement that merges the rows of `pg_temp.new_profiles` into `shop.profiles`; both have COLUMNS.

    Rows are merged in the order of MERGE_ORDER and their key, so that two transactions that merge the
    same entities lock them in the same order and cannot deadlock. Each (entity, key)
    may occur only once among the new rows, as `profiles.fold` guarantees. Label counters of the new rows
    may be negative: a correction subtracts what was wrong (`profiles.correct_labels`).

    The factors are computed once per half-life (`offset 0` keeps the planner from
    copying them into every column), exponents are never positive, and what would underflow is zero.
    """
    elapsed = {
        # Seconds by which each side is older than the later one.
        "old": "greatest(extract(epoch from excluded.last_at - p.last_at)::float8, 0)",
        "new": "greatest(extract(epoch from p.last_at - excluded.last_at)::float8, 0)",
    }
    factors = ",\n        ".join(
        f"case when e.{side} > {LONGEST_DECAY * seconds!r} then 0 else power(2::float8, -e.{side} / {seconds!r}) end"
        f" as {side}_{name}"
        for side in elapsed
        for name, seconds in HALF_LIVES.items()
    )
    names = ", ".join(COLUMNS)
    order = ", ".join(f"'{name}'" for name in MERGE_ORDER)
    changed = ", ".join(name for name in COLUMNS if name not in KEY_COLUMNS)
    merged = ",\n    ".join([*map(_merged, COUNTERS.values()), _MERGED_GAP, _MERGED_SECOND])
    # Every part is a constant of this module.
    return f"""insert into shop.profiles as p ({names})
select {names} from pg_temp.new_profiles order by array_position(array[{order}], entity), key collate "C"
on conflict (entity, key) do update set ({changed}) = (
  select
    greatest(p.last_at, excluded.last_at),
    {merged}
  from (
    select e.old, e.new,
        {factors}
    from (select {", ".join(f"{text} as {side}" for side, text in elapsed.items())} offset 0) as e
    offset 0) as f)"""  # noqa: S608


# Among the ages of both sides' latest two transactions, the smallest is 0 and the next one is the gap. A side without
# transactions only adds labels: its `last_at` is the time of one that was counted before.
_MERGED_GAP: Final = (
    f"least({NEVER_SECONDS!r}, f.old + p.{LAST_GAP}, f.new + excluded.{LAST_GAP},"
    " case when p.count_30d > 0 and excluded.count_30d > 0 then greatest(f.old, f.new) end)"
)
_MERGED_SECOND: Final = (
    f"greatest(least(p.amount_max, excluded.amount_max), p.{SECOND_LARGEST}, excluded.{SECOND_LARGEST})"
)


def _merged(counter: Counter) -> str:
    """SQL of one merged counter, from the sides `p` and `excluded` and the factors `f`."""
    if counter.half_life is None:
        return f"greatest(p.{counter.name}, excluded.{counter.name})"
    label = next(name for name, seconds in HALF_LIVES.items() if seconds == counter.half_life)
    value = "abs({})" if counter.of_labels else "{}"
    merged = " + ".join(
        f"case when {value.format(f'{row}.{counter.name}')} > {NEGLIGIBLE!r}"
        f" then {row}.{counter.name} * f.{side}_{label} else 0 end"
        for row, side in (("p", "old"), ("excluded", "new"))
    )
    # Removing a label may leave a rounding error below zero.
    return f"greatest({merged}, 0)" if counter.of_labels else merged
