"""The offset protocol against a real PostgreSQL, without Spark: whatever is retried, the tables are the same."""

import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from fraudstream import kafka
from fraudstream.kafka import Messages
from fraudstream.settings import PostgresSettings
from fraudstream.store import held, offsets
from fraudstream.store.connection import connect
from fraudstream.store.offsets import Source
from fraudstream.store.slices import OffsetHole, Outcome, store_slice
from fraudstream.store.targets import select
from hours import counted_hours, hourly
from rows import query
from samples import message
from slice_world import SOURCE, TOPIC, Step, Topic, moment, run_history, steps, topics
from waiting import wait_until

BOTH = ("fraud", "transactions")
"""The tables; `test_profiles` has the third target."""


def stored_ids(postgres: PostgresSettings, table: str) -> list[str]:
    return [row[0] for row in query(postgres, f"select transaction_id from shop.{table} order by 1")]


def store(
    postgres: PostgresSettings,
    batches: Iterable[Messages],
    targets: tuple[str, ...] = BOTH,
    expected: dict[str, int] | None = None,
) -> Outcome:
    return store_slice(postgres, SOURCE, select([*targets]), expected or {}, batches)


def messages(*values: bytes | None, first: int = 0) -> Messages:
    return Messages(range(first, first + len(values)), [b"key"] * len(values), values)


def test_a_slice_is_stored_with_its_offset_and_its_rejects(postgres: PostgresSettings) -> None:
    outcome = store(
        postgres,
        [messages(message(transaction_id="a"), b"poison", message(transaction_id="b", is_fraud=1), first=7)],
    )
    assert (outcome.stored, outcome.rejected) == ({"transactions": 1, "fraud": 1}, 1)
    assert stored_ids(postgres, "transactions") == ["a"]
    assert stored_ids(postgres, "fraud_transactions") == ["b"]
    assert query(postgres, 'select topic, topic_id, partition, "offset", key, value from shop.rejected') == [
        ("topic", "topic-uuid", 0, 8, b"key", b"poison")
    ]
    assert offsets.begin(postgres, BOTH, TOPIC, {}) == {
        ("transactions", 0): 10,
        ("fraud", 0): 10,
    }


def test_a_slice_that_fails_half_way_leaves_nothing(postgres: PostgresSettings) -> None:
    def broken() -> Iterator[Messages]:
        yield messages(message(transaction_id="a"), b"poison")
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        store_slice(postgres, SOURCE, select([*BOTH]), {}, broken())
    for table in ("transactions", "rejected", "stream_offsets"):
        assert query(postgres, f"select count(*) from shop.{table}") == [(0,)]


def test_of_two_messages_with_one_id_the_first_is_kept_and_the_second_counted(
    postgres: PostgresSettings,
) -> None:
    values = [message(transaction_id="a", amount=amount) for amount in (1, 2)]
    outcome = store(postgres, [messages(*values, message(transaction_id="b"))])
    assert (outcome.stored["transactions"], outcome.duplicates["transactions"]) == (2, 1)
    outcome = store(
        postgres, [messages(message(transaction_id="a", amount=3), message(transaction_id="c"), first=3)]
    )
    assert (outcome.stored["transactions"], outcome.duplicates["transactions"]) == (1, 1)
    assert query(postgres, "select transaction_id, amount from shop.transactions order by 1") == [
        ("a", 1.0), ("b", 12.5), ("c", 12.5),
    ]  # fmt: skip


def test_a_target_that_went_back_in_time_stops_the_slice(postgres: PostgresSettings) -> None:
    """As after a restore from a backup: storing on would leave a hole that nobody sees."""
    store(postgres, [messages(message(transaction_id="a"))])
    with pytest.raises(OffsetHole, match="is at offset 1 of topic/0, but was seen at 5"):
        store(postgres, [messages(message(transaction_id="b"), first=5)], expected={"transactions": 5})
    assert stored_ids(postgres, "transactions") == ["a"]


def test_gaps_between_offsets_are_no_holes(postgres: PostgresSettings) -> None:
    """A transactional producer's markers take offsets that no reader sees."""
    store(postgres, [messages(message(transaction_id="a"))], expected={"transactions": 0})
    outcome = store(postgres, [messages(message(transaction_id="b"), first=4)], expected={"transactions": 1})
    assert outcome.next_offsets == {"transactions": 5, "fraud": 5}


def test_a_topic_made_anew_starts_at_its_own_zero(postgres: PostgresSettings) -> None:
    store(postgres, [messages(*[message(transaction_id=str(i)) for i in range(5)])])
    outcome = store_slice(
        postgres,
        Source("topic", "another-uuid", 0),
        select(["transactions"]),
        {},
        [messages(message(transaction_id="new"))],
    )
    assert outcome.next_offsets == {"transactions": 1}
    assert "new" in stored_ids(postgres, "transactions")


def rejected(postgres: PostgresSettings) -> list[int]:
    """The offsets of the rejected messages that are stored."""
    return [row[0] for row in query(postgres, 'select "offset" from shop.rejected order by 1')]


def test_a_target_that_is_started_later_stores_no_reject_that_was_deleted(postgres: PostgresSettings) -> None:
    """The first `consume all` after a `forget` brought the rejected messages of the forgotten back."""
    for target in BOTH:
        store(postgres, [messages(b"bad 0", message(transaction_id="a"), b"bad 2")], (target,))
    assert rejected(postgres) == [0, 2]
    with connect(postgres) as connection:
        connection.execute('delete from shop.rejected where "offset" = 0')
    late = [messages(b"bad 0", message(transaction_id="a")), messages(b"bad 2", b"bad 3", first=2)]
    for targets, number in (("profiles",), 1), ((*BOTH, "profiles"), 0):
        outcome = store(postgres, late, targets)
        assert (outcome.rejected, outcome.next_offsets["profiles"]) == (number, 4)
        assert rejected(postgres) == [2, 3]


def test_targets_of_another_topic_or_partition_and_the_scorer_pass_nobodys_rejects(
    postgres: PostgresSettings,
) -> None:
    """The scorer keeps no rejects, and elsewhere the offsets are of other messages."""
    offsets.begin(postgres, ["score", "scores"], TOPIC, {0: 100})
    offsets.begin(postgres, ["fraud"], TOPIC, {1: 100})
    offsets.begin(postgres, ["fraud"], kafka.Topic("topic", "another-uuid", (0,)), {0: 100})
    assert store(postgres, [messages(b"bad 0")], ("transactions",)).rejected == 1
    assert rejected(postgres) == [0]


@pytest.mark.parametrize("other_lives", [True, False])
def test_two_consumers_in_the_middle_of_each_others_slice_lose_no_reject(
    postgres: PostgresSettings, other_lives: bool
) -> None:
    """Only what another has committed counts as stored: it may still fail."""
    other = postgres.model_copy(update={"connect_timeout_seconds": 9})  # a connection of its own
    begun, end = threading.Event(), threading.Event()

    def slowly() -> Iterator[Messages]:
        yield messages(b"bad 0", message(transaction_id="a"), b"bad 2")
        begun.set()
        assert end.wait(30)
        if not other_lives:
            raise ConnectionResetError
        yield messages(b"bad 3", first=3)

    def meanwhile() -> Iterator[Messages]:
        yield messages(message(transaction_id="b", is_fraud=1), b"bad 5", first=4)

    def end_once_somebody_waits() -> None:
        waiting = (
            "select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
        )
        wait_until(
            lambda: bool(query(postgres, waiting)), "wait for the reject that the other has not committed"
        )
        end.set()

    def quickly() -> Iterator[Messages]:
        assert begun.wait(30)
        ends.append(pool.submit(end_once_somebody_waits))
        yield messages(b"bad 0", message(transaction_id="a"), b"bad 2")
        yield messages(b"bad 3", first=3)
        yield from meanwhile()

    ends: list[Future[None]] = []
    with ThreadPoolExecutor(2) as pool:
        slow = pool.submit(store_slice, other, SOURCE, select(["fraud"]), {}, slowly())
        outcomes = [store(postgres, quickly(), ("transactions",))]
        if other_lives:
            outcomes.append(slow.result(30))
        else:
            with pytest.raises(ConnectionResetError):
                slow.result(30)
        ends[0].result()
    held.close(other)
    assert rejected(postgres) == [0, 2, 3, 5]
    assert sum(outcome.rejected for outcome in outcomes) == 4, "each counted once"
    assert store(postgres, [*meanwhile()], ("fraud",)).rejected == 0


MESSAGES = {
    "good": lambda name: message(transaction_id=name, is_fraud=0, **moment(name)),
    "fraud": lambda name: message(transaction_id=name, is_fraud=1, **moment(name)),
    "bad": lambda name: f"bad {name}".encode(),
}


@hypothesis_settings(max_examples=60)
@given(
    topics("good", "good", "fraud", "bad"),
    st.lists(steps(("transactions",), ("fraud",), ("fraud", "transactions"), ("profiles",)), max_size=8),
)
def test_any_history_of_tasks_ends_with_the_same_tables(
    postgres: PostgresSettings, topic: Topic, history: list[Step]
) -> None:
    """Replays with other boundaries, tasks that die, targets one by one or together: nothing lost, nothing twice."""
    with connect(postgres) as connection:
        connection.execute(
            "truncate shop.transactions, shop.fraud_transactions, shop.rejected, shop.stream_offsets, shop.hourly,"
            " shop.profiles"
        )
    outcomes = run_history(postgres, topic, [*history, Step(BOTH, 0, topic.end, 3, dies=False)], MESSAGES)
    processed = sum((outcome.stored + outcome.duplicates for outcome in outcomes), Counter[str]())
    kinds = Counter(kind for _, kind, _ in topic.entries)
    # Counted once each, not merely stored once: the primary key would hide a message that came twice.
    assert (processed["transactions"], processed["fraud"]) == (kinds["good"], kinds["fraud"])
    assert sum(outcome.rejected for outcome in outcomes) == kinds["bad"]
    for table, kind in (("transactions", "good"), ("fraud_transactions", "fraud")):
        assert stored_ids(postgres, table) == sorted({name for _, k, name in topic.entries if k == kind})
    rejects = query(postgres, 'select "offset", value from shop.rejected order by 1')
    assert rejects == [(offset, f"bad {name}".encode()) for offset, k, name in topic.entries if k == "bad"]
    assert hourly(postgres, "transactions", "fraud") == counted_hours(
        postgres, transactions="transactions", fraud="fraud_transactions"
    )
