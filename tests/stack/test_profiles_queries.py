"""What training reads back is what was stored, text for text and digit for digit."""

from datetime import UTC, datetime, timedelta
from random import Random

import pyarrow as pa
import pytest

from fraudstream.features.training import view
from fraudstream.model.dataset import dataset
from fraudstream.schema import PERSONAL, arrow_schema
from fraudstream.settings import PostgresSettings
from fraudstream.store.connection import connect
from fraudstream.store.training_rows import transactions, transactions_schema
from profile_world import START, messages, store, transaction
from samples import message


def test_an_empty_database_gives_an_empty_table(postgres: PostgresSettings) -> None:
    assert transactions(postgres) == transactions_schema().empty_table()


def test_every_public_column_comes_back_as_it_was(postgres: PostgresSettings) -> None:
    """Quotes, commas, line breaks, empty texts and nulls; the smallest and largest amounts; years 1 and 9999."""
    hostile = [
        'a"b',
        "a,b",
        "a\nb\r\nc",
        "",
        "\\N",
        "\\.",
        " x ",
        "null",
        "t",
        "😀",
        "'; drop table shop.labels; --",
    ]
    rows = [
        {
            "transaction_id": f"t{place}",
            "device": text,
            "merchant_id": text or None,
            "currency": None if place % 2 else "",
            "fraud_scenario": text,
            "first_name": "Ada",
            "email": "ada@example.org",
            "amount": [5e-324, 1.7976931348623157e308, 0.1 + 0.2, 1e22][place % 4],
            "timestamp": [
                "0001-01-01T00:00:00Z",
                "9999-12-31T23:59:59.999999Z",
                "2025-01-01T00:00:00.000001Z",
            ][place % 3],
            "is_fraud": [0, 1, None][place % 3],
        }
        for place, text in enumerate(hostile)
    ]
    store(postgres, [messages([message(**row) for row in rows])])
    found = transactions(postgres)
    assert found.schema == transactions_schema()
    assert found["timestamp"].to_pylist() == sorted(found["timestamp"].to_pylist())
    assert not PERSONAL & set(found.column_names)
    by_id = {row["transaction_id"]: row for row in found.to_pylist()}
    for row in rows:
        for name in ("device", "merchant_id", "currency", "fraud_scenario", "amount"):
            assert by_id[str(row["transaction_id"])][name] == row[name]
        truth = None if row["is_fraud"] is None else bool(row["is_fraud"])
        assert by_id[str(row["transaction_id"])]["is_fraud"] is truth
        assert by_id[str(row["transaction_id"])]["timestamp"] == datetime.fromisoformat(str(row["timestamp"]))


def test_since_and_until_bound_the_time(postgres: PostgresSettings) -> None:
    times = [START + timedelta(days=day) for day in range(5)]
    store(
        postgres,
        [messages([message(transaction_id=f"t{i}", timestamp=t.isoformat()) for i, t in enumerate(times)])],
    )
    found = transactions(postgres, since=times[1], until=times[3])
    assert found["transaction_id"].to_pylist() == ["t1", "t2"]


@pytest.mark.parametrize("turned", [False, True])
def test_the_order_within_one_instant_does_not_tell_what_is_fraud(
    postgres: PostgresSettings, *, turned: bool
) -> None:
    """Fraud has a table of its own: read first, it would stand first, and every counter of the instant would know."""
    names = [f"t{i:02}" for i in Random(1).sample(range(100), 100)]
    frauds = set(names[::3])
    store(
        postgres,
        [messages([message(transaction_id=n, is_fraud=int((n in frauds) is not turned)) for n in names])],
    )
    assert transactions(postgres)["transaction_id"].to_pylist() == sorted(names)


def test_the_latest_word_of_people_replaces_the_truth(postgres: PostgresSettings) -> None:
    """And an id that came both as legitimate and as fraud stands once, as fraud."""
    values = [message(transaction_id="a", is_fraud=0), message(transaction_id="b", is_fraud=1)]
    store(postgres, [messages([*values, message(transaction_id="b", is_fraud=0)])])
    later = datetime(2025, 5, 1, tzinfo=UTC)
    with connect(postgres) as connection:
        for is_fraud, at in ((True, later), (False, later - timedelta(days=1))):
            connection.execute(
                "insert into shop.labels (transaction_id, is_fraud, labelled_at) values ('a', %s, %s)",
                (is_fraud, at),
            )
    found = {row["transaction_id"]: row for row in transactions(postgres).to_pylist()}
    assert (len(found), transactions(postgres).num_rows) == (2, 2)
    assert (found["a"]["is_fraud"], found["a"]["labelled_at"]) == (True, later)
    assert (found["b"]["is_fraud"], found["b"]["labelled_at"]) == (True, None)


@pytest.mark.parametrize(
    ("truth", "said", "known"),
    [
        (None, [(1, True), (40, True)], 1),  # a chargeback confirms what a reviewer saw
        (None, [(1, False), (20, True), (40, True)], 20),
        (True, [(40, True)], 7),  # the message told it after the delay
        (True, [(1, True), (40, True)], 1),
        (False, [(40, True)], 40),
        (True, [(10, False), (40, True)], 40),  # until then people said the opposite
    ],
)
def test_a_label_that_agrees_with_what_was_known_makes_it_known_no_later(
    postgres: PostgresSettings, truth: bool | None, said: list[tuple[int, bool]], known: int
) -> None:
    """To the training view, as to the live profiles, it is news of that day and of no later one."""
    days = (0, known - 0.01, known + 0.01, 41)
    values = [
        message(transaction_id=f"t{day}", timestamp=(START + timedelta(days=day)).isoformat(), merchant_id="m",
                user_id=f"u{day}", amount=10.0 + day, is_fraud=None if day or truth is None else int(truth))
        for day in days
    ]  # fmt: skip
    store(postgres, [messages(values)])
    with connect(postgres) as connection:
        for day, is_fraud in said:
            connection.execute(
                "insert into shop.labels (transaction_id, is_fraud, labelled_at) values ('t0', %s, %s)",
                (is_fraud, START + timedelta(days=day)),
            )
    rows = transactions(postgres)
    frauds = view(rows, 7, ("merchant_fraud_30d",)).values[:, 0]
    assert (frauds > 0).tolist() == [False, False, True, True]
    assert dataset(rows, 7).known_at[0] == round((START + timedelta(days=known)).timestamp() * 1e6)


def test_the_training_view_takes_it_as_it_is(postgres: PostgresSettings) -> None:
    chance = Random(5)
    store(postgres, [messages([transaction(f"t{i}", chance) for i in range(200)])])
    assert view(transactions(postgres)).values.shape[0] == 200


def test_the_columns_follow_the_schema_of_transactions() -> None:
    public = [field for field in arrow_schema() if field.name not in PERSONAL]
    assert list(transactions_schema())[:-2] == public
    assert transactions_schema().types[-2:] == [pa.timestamp("us", "UTC"), pa.bool_()]
