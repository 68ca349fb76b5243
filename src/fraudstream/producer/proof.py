"""Whether a form fits a topic: until it has converted one message, nothing is sent and no position is recorded.

With a wrong `--map` a whole topic would be rejected, and with a wrong `--only` all of it skipped for good.
"""

import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final, NamedTuple

from fraudstream.errors import InputError
from fraudstream.logs import get_logger, on_one_line
from fraudstream.producer.arrival import LARGE, after, size
from fraudstream.producer.delivery import Batch
from fraudstream.producer.forms import Form, Original, Portion, paths

if TYPE_CHECKING:
    from confluent_kafka import Message

log = get_logger("convert")

TOLD: Final = 5
"""Messages that cannot be converted which are reported one by one."""
ENOUGH: Final = 100
"""Messages of which none can be converted, after which a new form is considered wrong: one may be a test of somebody's."""
MOST_HELD: Final = 10_000
"""The same for a form that is not new: it may start again while somebody sends messages that nobody can read."""
MOST_BYTES: Final = 200_000_000
"""Of messages that are held back in memory; any topic with so much that nobody can read is looked at by somebody."""
MANY_SKIPPED: Final = 1_000
"""Messages that are all skipped, after which a warning says so."""
VALUES: Final = 5
"""Values that stand where `--only` looks which an error names."""
MOST_VALUES: Final = 100
"""Values of which each is counted by itself: an identifier stands there with millions."""


class Unfit(NamedTuple):
    """A message that cannot be converted."""

    where: str
    reason: str
    value: bytes | None


def _nothing(skipped: int = 0) -> Portion:
    return Portion(Batch([], []), {}, frozenset(), {}, skipped)


@dataclass(frozen=True, slots=True)
class Read:
    """Messages that were read: what became of them, and where their partitions stand now."""

    portion: Portion = field(default_factory=_nothing)
    where: str = ""
    """The place of the first one."""
    is_large: bool = False
    """Whether it is a large one, which comes alone."""
    reached: Mapping[int, int] = field(default_factory=dict)
    """By partition: everything below this offset is done once the portion is sent."""
    seen: Mapping[int, int] = field(default_factory=dict)
    """The same for monitoring: messages that were skipped wait for nothing, though a next run may read them again."""
    unfit: Sequence[Unfit] = ()
    held: int = 0
    """Messages that are held back now."""


def read(form: Form, arrived: "Iterable[list[Message]]") -> Iterator[Read]:
    """Convert messages as they arrive, and log the first ones that cannot be converted."""
    told = 0
    for messages in arrived:
        there = [message for message in messages if not message.error()]
        originals = [Original(message.key(), message.value()) for message in there]
        portion = form.converted(originals)
        unfit = [
            Unfit(_place(there[n]), reason, originals[n].value)
            for n, reason in sorted(portion.unreadable.items())
        ]
        for where, reason, _ in unfit[: max(TOLD - told, 0)]:
            log.warning("%s cannot be converted: %s", where, reason)
        told += len(unfit)
        places = after(messages)
        where = _place(there[0]) if there else ""
        sizes = map(size, portion.batch.keys, portion.batch.values)
        yield Read(portion, where, any(n >= LARGE for n in sizes), places, places, unfit)


def _place(message: "Message") -> str:
    return f"{message.topic()}/{message.partition()}, offset {message.offset()}"


def proven(reads: Iterator[Read], stop: threading.Event, *, is_new: bool) -> Iterator[Read]:
    """These, held back until the first message could be converted; meanwhile empty ones, for monitoring.

    Ends with InputError if ENOUGH messages of a new form (MOST_HELD of one that ran before) cannot be converted, or all that
    there are; for a new form also if all were skipped.
    """
    held: list[Read] = []
    unfit: list[Unfit] = []
    reached: dict[int, int] = {}
    others: Counter[str] = Counter()
    kept = 0
    for one in reads:
        reached |= one.reached
        if one.portion.converted:
            yield from held
            yield replace(one, reached=reached, seen=reached)
            yield from reads
            return
        unfit += one.unfit
        if one.portion.batch.values:
            held.append(replace(one, portion=replace(one.portion, skipped=0)))
            kept += sum(map(size, one.portion.batch.keys, one.portion.batch.values))
        if len(unfit) >= (ENOUGH if is_new else MOST_HELD) or kept > MOST_BYTES:
            raise _none_fits(unfit)
        if _are_many(others, one.portion.others):
            log.warning("%s", _all_skipped(others))
        yield Read(_nothing(one.portion.skipped), seen={} if unfit else reached, held=len(unfit))
    if stop.is_set():
        return
    if unfit:
        raise _none_fits(unfit)
    if others and is_new:
        raise InputError(_all_skipped(others), hint="Correct --only; --preview 1 shows what fits.")
    if others:
        log.warning("%s The next run reads them again.", _all_skipped(others))


def _are_many(others: "Counter[str]", more: Mapping[str, int]) -> bool:
    """Add what stands where `--only` looks; whether MANY_SKIPPED messages are reached with it."""
    before = others.total()
    for value, count in more.items():
        others[value if value in others or len(others) < MOST_VALUES else "other values"] += count
    return before < MANY_SKIPPED <= others.total()


def _all_skipped(others: "Counter[str]") -> str:
    there = ", ".join(f"{on_one_line(value)} ({count:,})" for value, count in others.most_common(VALUES))
    return f"None of the first {others.total():,} messages is what --only asks for; there are {there}."


def _none_fits(unfit: Sequence[Unfit]) -> InputError:
    known = [on_one_line(", ".join(paths(one.value))) for one in unfit[:ENOUGH]]
    # An object says more about the form than what is none.
    place = next((n for n, fields in enumerate(known) if fields), 0)
    where, reason, _ = unfit[place]
    return InputError(
        f"None of the first {len(unfit):,} messages can be converted; {where}: {reason}.",
        hint="Name its fields with --map THEIRS=OURS, and give what it lacks with --fill OURS=VALUE; timestamps that are"
        f" numbers need --epoch.{f' This one has {known[place]}.' if known[place] else ''} If they are to be kept in"
        " shop.rejected all the same: --pass-on.",
    )
