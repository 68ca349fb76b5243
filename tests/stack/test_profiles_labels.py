"""Labels fold when they become known, once each, and a correction replaces what was folded before."""

from datetime import datetime, timedelta
from random import Random

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from fraudstream.features.catalogue import COUNTERS
from fraudstream.features.profiles import combine, fold, fold_labels
from fraudstream.settings import PostgresSettings
from fraudstream.store import label_folding
from fraudstream.store.connection import connect
from fraudstream.store.label_folding import Known, _fold_labels, fold_known
from fraudstream.store.profiles import LOCK_WATERMARK
from fraudstream.store.training_rows import transactions
from profile_world import START, messages, store, stored_profiles, transaction
from same_profiles import assert_same
from samples import message

DELAY = timedelta(days=7)


def say(postgres: PostgresSettings, name: str, is_fraud: bool, at: datetime) -> None:
    with connect(postgres) as connection:
        connection.execute(
            "insert into shop.labels (transaction_id, is_fraud, labelled_at) values (%s, %s, %s)",
            (name, is_fraud, at),
        )


def expected(postgres: PostgresSettings, now: datetime) -> pa.Table:
    """Everything folded at once: transactions, and what the latest known word about each is at `now`."""
    rows = transactions(postgres)
    with connect(postgres) as connection:
        truth: dict[str, bool] = dict(
            connection.execute(
                "select transaction_id, is_fraud from shop.transactions union all"
                " select transaction_id, is_fraud from shop.fraud_transactions"
            ).fetchall()
        )
        said: dict[str, bool] = dict(
            connection.execute(
                "select transaction_id, is_fraud from shop.labels where labelled_at <= %s order by labelled_at, label_id",
                (now,),
            ).fetchall()
        )
    names, times = rows["transaction_id"].to_pylist(), rows["timestamp"].to_pylist()
    known = [
        said.get(name, truth[name] if at + DELAY <= now else None)
        for name, at in zip(names, times, strict=True)
    ]
    judged = rows.set_column(rows.schema.get_field_index("is_fraud"), "is_fraud", pa.array(known, pa.bool_()))
    return combine([fold(rows), fold_labels(judged)])


def fraud_of(postgres: PostgresSettings, entity: str = "total") -> tuple[float, float]:
    """How many labels and frauds the 30-day counters hold; exact where all are of one instant."""
    rows = {row["entity"]: row for row in stored_profiles(postgres).to_pylist()}
    return rows[entity]["labelled_30d"], rows[entity]["fraud_30d"]


def test_truth_counts_from_the_day_it_is_known(postgres: PostgresSettings) -> None:
    at = START.isoformat()
    store(
        postgres,
        [messages([message(transaction_id=n, timestamp=at, is_fraud=f) for n, f in (("a", 1), ("b", 0))])],
    )
    assert fold_known(postgres, START + DELAY - timedelta(seconds=1), DELAY) == Known()
    assert fraud_of(postgres) == (0, 0)
    assert fold_known(postgres, START + DELAY, DELAY) == Known(truths=2)
    assert fraud_of(postgres) == (2, 1)
    assert fold_known(postgres, START + DELAY * 2, DELAY) == Known()
    assert fraud_of(postgres) == (2, 1)


def test_a_transaction_that_comes_after_its_truth_is_known_counts_at_once(postgres: PostgresSettings) -> None:
    """History that is written later than the watermark passed it; a shorter delay afterwards changes nothing twice."""
    fold_known(postgres, START + DELAY * 2, DELAY)
    store(postgres, [messages([message(transaction_id="late", timestamp=START.isoformat(), is_fraud=1)])])
    assert fraud_of(postgres) == (1, 1)
    assert fold_known(postgres, START + DELAY * 3, timedelta(days=1)) == Known()
    # A message that comes again, and one whose truth nobody knows, add nothing.
    store(
        postgres,
        [messages([message(transaction_id="late", timestamp=START.isoformat(), is_fraud=1)], first=1)],
    )
    store(
        postgres,
        [messages([message(transaction_id="x", timestamp=START.isoformat(), is_fraud=None)], first=2)],
    )
    assert fraud_of(postgres) == (1, 1)


def test_a_corrected_label_counts_once(postgres: PostgresSettings) -> None:
    """Truth, then three people, then one who dated a label back: the latest word stands."""
    now = START + DELAY
    store(postgres, [messages([message(transaction_id="a", timestamp=START.isoformat(), is_fraud=0)])])
    fold_known(postgres, now, DELAY)
    assert fraud_of(postgres) == (1, 0)
    for day, is_fraud, count in ((1, True, 1), (2, False, 0), (3, True, 1)):
        say(postgres, "a", is_fraud, now + timedelta(days=day))
        assert fold_known(postgres, now + timedelta(days=day), DELAY) == Known(labels=1)
        assert fraud_of(postgres) == pytest.approx((1, count), abs=1e-12)
    say(postgres, "a", False, now + timedelta(days=2))
    assert fold_known(postgres, now + timedelta(days=9), DELAY) == Known(labels=1)
    assert fraud_of(postgres) == pytest.approx((1, 1), abs=1e-12)


def test_people_have_the_later_word_even_before_the_delay_ends(postgres: PostgresSettings) -> None:
    store(postgres, [messages([message(transaction_id="a", timestamp=START.isoformat(), is_fraud=0)])])
    say(postgres, "a", True, START + timedelta(days=1))
    assert fold_known(postgres, START + timedelta(days=2), DELAY) == Known(labels=1)
    assert fold_known(postgres, START + DELAY, DELAY) == Known()
    assert fraud_of(postgres) == (1, 1)


def test_a_label_waits_for_its_transaction_and_for_its_day(postgres: PostgresSettings) -> None:
    """And a label for a transaction of the year 9999 waits for ever: folding it would fade all others."""
    say(postgres, "a", True, START)
    say(postgres, "mad", True, START)
    store(postgres, [messages([message(transaction_id="mad", timestamp="9999-12-31T00:00:00Z", is_fraud=0)])])
    assert fold_known(postgres, START + timedelta(days=1), DELAY) == Known()
    store(
        postgres, [messages([message(transaction_id="a", timestamp=START.isoformat(), is_fraud=0)], first=1)]
    )
    say(postgres, "a", False, START + timedelta(days=3))
    assert fold_known(postgres, START + timedelta(days=1), DELAY) == Known(labels=1)
    assert fraud_of(postgres) == (1, 1)


def test_labels_of_unknown_transactions_hold_up_no_slice(postgres: PostgresSettings) -> None:
    """Those of another system's payments wait for ever: every minute slices stood behind a search among them."""
    say(postgres, "elsewhere", True, START)
    with connect(postgres) as slices, connect(postgres) as folding, folding.cursor() as cursor:
        slices.execute(LOCK_WATERMARK.format("share").encode())
        cursor.execute("set local lock_timeout = '100ms'")
        assert _fold_labels(cursor, START + DELAY) == 0
    store(postgres, [messages([message(transaction_id="elsewhere", timestamp=START.isoformat())])])
    assert fold_known(postgres, START + DELAY, DELAY).labels == 1


@hypothesis_settings(max_examples=30)
@given(
    st.integers(0, 999),
    st.lists(
        st.one_of(
            st.tuples(st.just("store"), st.integers(1, 4)),
            st.tuples(st.just("say"), st.integers(0, 14)),
            st.tuples(st.just("fold"), st.integers(0, 20)),
            st.tuples(st.just("die"), st.integers(0, 20)),
        ),
        max_size=12,
    ),
)
def test_any_order_of_transactions_labels_and_folds_ends_the_same(
    postgres: PostgresSettings, seed: int, history: list[tuple[str, int]]
) -> None:
    """Transactions in any order of time, labels before and after them, corrections, folds that die, small chunks."""
    with connect(postgres) as connection:
        connection.execute(
            "truncate shop.transactions, shop.fraud_transactions, shop.stream_offsets, shop.profiles,"
            " shop.labels, shop.watermarks"
        )
    chance, now, stored = Random(seed), START, 0
    values = [transaction(f"t{i}", chance) for i in range(15)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(label_folding, "CHUNK", 3)
        for action, number in [*history, ("store", 15), ("fold", 200)]:
            if action == "store":
                store(postgres, [messages(values[stored : stored + number], stored)])
                stored = min(stored + number, 15)
            elif action == "say":
                at = now + timedelta(days=chance.uniform(-5, 10))
                say(postgres, f"t{number}", chance.random() < 0.5, at)
            elif action == "fold":
                now += timedelta(days=number)
                fold_known(postgres, now, DELAY)
            else:
                with patch.context() as broken:
                    broken.setattr(label_folding, "merge", _dies)
                    with pytest.raises(ConnectionResetError):
                        fold_known(postgres, now + timedelta(days=number), DELAY)
        assert fold_known(postgres, now, DELAY) == Known()
    # What was added and taken away again leaves a rounding error of the size of what it was.
    assert_same(stored_profiles(postgres), expected(postgres, now), COUNTERS, least=1e-12)


def _dies(*_: object) -> None:
    raise ConnectionResetError
