"""Where a stream resumes: at its stored offsets, if Kafka still has what follows them."""

from collections.abc import Sequence
from typing import Literal

from fraudstream import kafka as kafka_clients
from fraudstream.errors import MessagesLost
from fraudstream.kafka import Topic
from fraudstream.logs import get_logger
from fraudstream.settings import KafkaSettings, PostgresSettings
from fraudstream.store import offsets
from fraudstream.store.targets import companions

log = get_logger("store.resumption")


def begin(  # noqa: PLR0913 - what a start depends on
    kafka: KafkaSettings,
    postgres: PostgresSettings,
    topic: Topic,
    targets: Sequence[str],
    *,
    accepting: str,
    accept_loss: bool,
    new: Literal["first", "end"] = "first",
) -> dict[tuple[str, int], int]:
    """The start offset of each target and partition: the stored one, checked against what the broker still has.

    A target without any offset in a topic of this name starts at the first message, or with `new="end"` at
    the next one; partitions and topics that were added later are read completely. Raises MessagesLost (or, if the loss is
    accepted, moves the stored offsets instead), BrokerUnreachable, DatabaseError. `accepting` says how to accept it.

    Other targets of the topic count if Kafka lost messages that they have stored: new messages get those offsets, and rejects
    below the offset of any target count as stored (`store.slices`).
    """
    # Before Kafka's end is asked for: what other consumers, also of these targets, store of what arrives meanwhile is not
    # beyond it.
    before = offsets.stored(postgres, companions(targets[0]), topic)
    bounds = kafka_clients.bounds(kafka, topic)
    first = {partition: bound.first for partition, bound in bounds.items()}
    if new == "end":
        ends = {partition: bound.end for partition, bound in bounds.items()}
        strangers = [t for t in targets if not offsets.known(postgres, t, topic)]
        offsets.begin(postgres, strangers, topic, ends)
    stored = offsets.begin(postgres, targets, topic, first)
    beyond = {
        (target, partition): offset
        for (target, partition), offset in before.items()
        if partition in bounds and offset > bounds[partition].end
    }
    places = beyond | stored
    outside = {
        (target, partition): bounds[partition]
        for (target, partition), offset in places.items()
        if partition in bounds and ((target, partition) in beyond or offset < bounds[partition].first)
    }
    if outside and not accept_loss:
        where = "; ".join(
            f"target {target} is at offset {places[target, partition]} of {topic.name}/{partition}, but"
            f" Kafka has {bound.first} to {bound.end}"
            for (target, partition), bound in outside.items()
        )
        raise _lost(
            where, accepting, beyond=any(places[place] > bound.end for place, bound in outside.items())
        )
    moved = {}
    for (target, partition), bound in outside.items():
        offset = places[target, partition]
        moved[target, partition] = begins = min(max(offset, bound.first), bound.end)
        log.warning(
            "%s: offsets %s to %s of partition %s are lost", target, *sorted((offset, begins)), partition
        )
        offsets.move(postgres, target, topic, partition, begins)
    return {place: moved.get(place, offset) for place, offset in stored.items()}


def _lost(where: str, accepting: str, *, beyond: bool) -> MessagesLost:
    """The error for missing messages: retention deleted old ones, or, `beyond` Kafka's end, Kafka lost new ones."""
    if beyond:
        return MessagesLost(
            f"{where}: Kafka lost messages that are already stored.",
            hint="A replica without them became leader, or a broker was restored from a backup; new messages reuse their"
            f" offsets. To continue at Kafka's end: {accepting}.",
        )
    return MessagesLost(
        f"{where}: messages were deleted before they were read.",
        hint=f"Raise the topic's retention. To continue without them: {accepting}.",
    )
