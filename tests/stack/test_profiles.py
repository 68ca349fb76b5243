"""Profiles are folded exactly once: after any history they are those of the transactions that were stored."""

import threading
from datetime import UTC, datetime, timedelta
from random import Random

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from fraudstream.features.catalogue import COUNTERS
from fraudstream.features.profiles import fold
from fraudstream.settings import PostgresSettings
from fraudstream.store import offsets
from fraudstream.store.connection import connect
from fraudstream.store.offsets import Source
from fraudstream.store.slices import store_slice
from fraudstream.store.targets import open_intake, select
from fraudstream.store.training_rows import transactions
from profile_world import ALL, messages, store, stored_profiles, transaction
from same_profiles import assert_same
from slice_world import SOURCE, TOPIC, Step, dying, steps

OF_PAYMENTS = [name for name, counter in COUNTERS.items() if not counter.of_labels]


def test_profiles_are_those_of_the_stored_transactions(postgres: PostgresSettings) -> None:
    chance = Random(1)
    values = [transaction(f"t{i}", chance) for i in range(500)]
    outcome = store(postgres, [messages(values[:200]), messages([*values[200:], b"poison"], first=200)])
    assert (outcome.stored["profiles"], outcome.duplicates["profiles"]) == (500, 0)
    assert_same(stored_profiles(postgres), fold(transactions(postgres)), OF_PAYMENTS)


def test_an_id_that_comes_twice_counts_once(postgres: PostgresSettings) -> None:
    """Within a batch, in the next batch of a slice, in a later slice, and from another partition."""
    chance = Random(2)
    first, again, later = (
        [transaction(name, chance, is_fraud=0) for name in names] for names in ("aab", "bc", "cd")
    )
    outcome = store(postgres, [messages(first), messages(again, first=3)])
    assert (outcome.stored["profiles"], outcome.duplicates["profiles"]) == (3, 2)
    outcome = store(postgres, [messages(later[:1], first=5)])
    assert (outcome.stored["profiles"], outcome.duplicates["profiles"]) == (0, 1)
    outcome = store(postgres, [messages(later)], source=Source("topic", "topic-uuid", 1))
    assert (outcome.stored["profiles"], outcome.duplicates["profiles"]) == (1, 1)
    assert_same(stored_profiles(postgres), fold(transactions(postgres)), OF_PAYMENTS)


@pytest.mark.parametrize("truths", [(None, 1), (0, 1), (1, 0)])
def test_an_id_that_comes_back_with_another_truth_is_a_row_in_each_table_and_counts_twice(
    postgres: PostgresSettings, truths: tuple[int | None, int]
) -> None:
    """The exception that the documentation states; with the same truth once more it is a duplicate as ever."""
    first, then = (transaction("a", Random(5), is_fraud=truth) for truth in truths)
    for offset, value in enumerate((first, then, then)):
        outcome = store(postgres, [messages([value], first=offset)])
        assert outcome.stored["profiles"] == (0 if offset == 2 else 1)
    with connect(postgres) as connection:
        for table in ("transactions", "fraud_transactions"):
            assert connection.execute(
                f"select count(*) from shop.{table} where transaction_id = 'a'".encode()
            ).fetchone() == (1,)
        assert connection.execute("select sum(count)::int from shop.hourly").fetchone() == (2,)
    profiles = stored_profiles(postgres).to_pylist()
    assert [row["count_10m"] for row in profiles if row["entity"] == "user"] == [2.0]


def test_profiles_alone_count_an_id_once_for_each_slice(postgres: PostgresSettings) -> None:
    """The limit that the documentation states: without the tables beside it nobody remembers an id."""
    chance = Random(3)
    values = [transaction("a", chance), transaction("a", chance)]
    assert store(postgres, [messages(values)], ("profiles",)).stored == {"profiles": 1}
    assert store(postgres, [messages(values[:1], first=2)], ("profiles",)).stored == {"profiles": 1}
    with connect(postgres) as connection:
        assert connection.execute("select count(*) from shop.transactions").fetchone() == (0,)


def test_a_transaction_of_the_far_future_is_stored_but_not_folded(postgres: PostgresSettings) -> None:
    """It would fade everybody's counters to nothing; a clock that is hours ahead is no such thing."""
    chance = Random(4)
    ahead = (datetime.now(UTC) + timedelta(hours=14)).isoformat()
    values = [
        transaction("normal", chance),
        transaction("ahead", chance, timestamp=ahead),
        transaction("mad", chance, timestamp="9999-12-31T23:59:59Z"),
        transaction("far", chance, timestamp=(datetime.now(UTC) + timedelta(days=2)).isoformat()),
    ]
    outcome = store(postgres, [messages(values)])
    assert (outcome.stored["profiles"], outcome.from_future) == (2, 2)
    assert outcome.stored["transactions"] + outcome.stored["fraud"] == 4
    assert_same(
        stored_profiles(postgres),
        fold(transactions(postgres, until=datetime.now(UTC) + timedelta(days=1))),
        OF_PAYMENTS,
    )


def replay(postgres: PostgresSettings, values: list[bytes], history: list[Step]) -> None:
    """Empty tables, then the tasks of `history`, then one task that stores the rest."""
    with connect(postgres) as connection:
        connection.execute(
            "truncate shop.transactions, shop.fraud_transactions, shop.stream_offsets, shop.profiles"
        )
    for step in [*history, Step(ALL, 0, len(values), 3, dies=False)]:
        at = offsets.begin(postgres, step.targets, TOPIC, {0: 0})
        begin = min(step.begin, *at.values())
        batches = [
            messages(values[first : min(first + step.batch, begin + step.length)], first)
            for first in range(begin, min(begin + step.length, len(values)), step.batch)
        ]
        if step.dies:
            with pytest.raises(ConnectionResetError):
                store_slice(postgres, SOURCE, select([*step.targets]), {}, dying(batches))
        else:
            store(postgres, batches, step.targets)


ANY_HISTORY = hypothesis_settings(max_examples=40)


@ANY_HISTORY
@given(
    st.integers(0, 99),
    st.lists(steps(("profiles",), ("transactions",), ("fraud", "profiles"), ALL), max_size=8),
)
def test_any_history_of_tasks_ends_with_the_profiles_of_the_transactions(
    postgres: PostgresSettings, seed: int, history: list[Step]
) -> None:
    """Replays with other boundaries, tasks that die, targets one by one or together."""
    chance = Random(seed)
    replay(postgres, [transaction(f"t{i}", chance) for i in range(12)], history)
    assert_same(stored_profiles(postgres), fold(transactions(postgres)), OF_PAYMENTS)


@ANY_HISTORY
@given(st.integers(0, 99), st.lists(steps(ALL), max_size=8))
def test_any_history_of_whole_tasks_counts_repeated_ids_once(
    postgres: PostgresSettings, seed: int, history: list[Step]
) -> None:
    """As `consume all` runs them: the tables know every id, however far apart its messages are."""
    chance = Random(seed)
    values = [transaction(chance.choice("abcdefgh"), chance, is_fraud=0) for _ in range(12)]
    replay(postgres, values, history)
    assert_same(stored_profiles(postgres), fold(transactions(postgres)), OF_PAYMENTS)


def test_partitions_that_fold_the_same_merchants_at_once_do_not_block_each_other(
    postgres: PostgresSettings,
) -> None:
    """Four partitions, the same users, devices and merchants in each, twenty slices each: no deadlock, nothing lost."""
    from fraudstream.store import connection as connections
    from fraudstream.store import slices

    failures: list[BaseException] = []

    def work(partition: int) -> None:
        chance = Random(partition)
        source, targets = Source("topic", "topic-uuid", partition), select([*ALL])
        try:
            # `store_slice` keeps one connection for its process, as Spark's workers do; these are threads.
            with connections.connect(postgres, autocommit=True) as own:
                for part in range(20):
                    values = [transaction(f"{partition}-{part}-{i}", chance) for i in range(50)]
                    with own.transaction(), own.cursor() as cursor:
                        found = slices._lock(cursor, source, targets, {})
                        intake = open_intake(targets, cursor, {})
                        slices._store(intake, source, targets, found, [messages(values, part * 50)])
        except BaseException as error:
            failures.append(error)
            raise

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert_same(stored_profiles(postgres), fold(transactions(postgres)), OF_PAYMENTS)
