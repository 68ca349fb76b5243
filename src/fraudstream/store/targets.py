"""What the messages of a topic are stored as. Offsets belong to targets, not to consumers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from fraudstream.errors import InputError
from fraudstream.settings import KafkaSettings

if TYPE_CHECKING:
    from fraudstream.rules import Rule
    from fraudstream.store.connection import Cursor
    from fraudstream.store.intake import Intake

TopicSetting = Literal["transactions_topic", "scored_topic"]


@dataclass(frozen=True, slots=True)
class Target:
    """A name with its own offsets, and the setting that names its topic."""

    name: str
    topic: TopicSetting


TARGETS: dict[str, Target] = {
    target.name: target
    for target in (
        Target("fraud", "transactions_topic"),
        Target("transactions", "transactions_topic"),
        Target("profiles", "transactions_topic"),
        Target("scores", "scored_topic"),
    )
}
"""In the order in which they write: the tables first, as they show which transactions the profiles already include."""


def select(names: Sequence[str]) -> list[Target]:
    """The targets with these names, without duplicates, in the order of TARGETS. Raises InputError for an unknown name."""
    unknown = [name for name in names if name not in TARGETS]
    if unknown:
        raise InputError(
            f"There is no target {', '.join(unknown)}.", hint=f"The targets are {', '.join(TARGETS)}, or all."
        )
    return [target for name, target in TARGETS.items() if name in names]


def companions(name: str) -> list[str]:
    """The targets that read the same topic, this one included. The scorer, which is no target, has none but itself."""
    topic = TARGETS[name].topic if name in TARGETS else None
    return [other.name for other in TARGETS.values() if other.topic == topic] or [name]


def by_topic(kafka: KafkaSettings, names: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """The names of these targets by topic. Raises InputError for an unknown name."""
    found: dict[str, tuple[str, ...]] = {}
    for target in select(names):
        topic: str = getattr(kafka, target.topic)
        found[topic] = (*found.get(topic, ()), target.name)
    return found


def open_intake(targets: Sequence[Target], cursor: "Cursor", rules: Mapping[str, "Rule"]) -> "Intake":
    """The intake of these targets' topic. Raises InputError if they read several.

    `rules` are the operator's by name, for the reasons of alerts.
    """
    from fraudstream.store.intake import Transactions
    from fraudstream.store.scores import Decisions

    topics = {target.topic for target in targets}
    if len(topics) > 1:
        raise InputError(
            f"The targets {', '.join(target.name for target in targets)} read different topics.",
            hint="Give each topic a consumer of its own.",
        )
    return Decisions(cursor, rules) if topics == {"scored_topic"} else Transactions(cursor)
