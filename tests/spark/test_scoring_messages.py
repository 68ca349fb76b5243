"""Messages as the live scorer reads them, beside `decode`, which is the law for everybody else."""

import itertools
import json
import random
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from pyspark.sql import Row, SparkSession

from fraudstream.decode import Decoder
from fraudstream.schema import parse_instant
from fraudstream.spark.messages import FIELDS, REJECTED, Messages
from samples import BAD, message

pytestmark = pytest.mark.usefixtures("far_from_utc")

TRUTHS = {"truth of two", "truth as float", "truth as text"}
"""Bad in a field that the scorer never reads, be it to refuse the message."""

FORMS = [
    "2025-03-01T12:30:00.1234565Z", "2025-03-01T12:30:00.1234564999Z", "2025-03-01T12:30:00.9999999Z",
    "2025-03-01 12:30:00", "2025-03-01t12:30:00z", "2025-03-01T12:30:00+0200", "2025-03-01T12:30:00+02",
    "2025-03-01T12:30:00+02:00:30", "2025-03-01T12:30", "2025-03-01T12", "2025-03-01", "20250301",
    "20250301T123000", "20250301T123000,5Z", "2025-W09-6", "2025-W09", "2025W096T10", "2025-W01-1",
    "2025-03-01T12:30:60Z", "2025-03-01T24:00:00", "2025-03-01T12:30:00,123456789", "2025-03-01x12:30:00.1234567",
    "2025-03-01T12:30:00-00:00", "2025-03-01T12:30:00+15:00", "2025-03-01T12:30:00+23:59",
    "2025-03-01T12:30:00+18:01", "2025-03-01T12:30:00+24:00", " 2025-03-01T12:30:00", "2025-03-01T12:30:00 ",
    "2025-3-1T12:30:00", "2025-03-01T1230", "2025-03-01T12:3000", "2025-0301", "202503-01", "٢٠٢٥-03-01",
    "2025-03-01T12:30:00.", "2025-03-01T12:30:00Z+", "2025-03-01T12:30:00 Z", "2025-03-01T12:30:00UTC", "2025",
    "2025-03", "T12:30:00", "12:30:00", "2025-03-01T", "2025-W53-1", "2020-W53-5", "2025-W01-0", "2025-060",
    "0000-01-01", "0001-01-01T00:00:00", "0001-01-01T00:00:00+00:01", "9999-12-31T23:59:59.999999",
    "2024-02-29T235959+0560", "2025W09610", "2025-03-01T00.00000049t9", "2025-03-01T12.5", "2025-03-01_12:30:00",
    "2025-03-01T12:30:00Z\n", "2025-03-01\n", "2025-03-01T12:30:00.1234567Z\n", "20250301T24", "2025-03-01T12:30:00z",
    "20250301T123000z", "2025-03-01T12:30:00+02:00:60", "2025-03-01T12:30:00+0200:30.5", "2025-03-01T12:30:00\t+02",
    "9999-12-31T23:59:59.9999994z", "0000-12-31T23:30:00-01:00", "0000-W52-7T23:30-01:00", "00001231T2330-0100",
    "2024-02-29", "2023-02-29", "1969-12-31T23:59:59.999999Z", "", "now", "tomorrow",
]  # fmt: skip


@pytest.fixture(scope="module")
def messages(spark: SparkSession) -> Messages:
    assert spark
    return Messages()


def read(spark: SparkSession, messages: Messages, values: Sequence[bytes | None]) -> list[Row]:
    frame = spark.createDataFrame([(i, v) for i, v in enumerate(values)], "i int, value binary")
    read = messages.read(frame).selectExpr("*", "unix_micros(timestamp) as micros")
    rows = read.drop("timestamp").collect()  # Python's local time has no year 0
    return sorted(rows, key=lambda row: row["i"])


def micros(instant: datetime) -> int:
    return (instant - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def test_what_is_no_transaction_is_refused_with_a_reason(spark: SparkSession, messages: Messages) -> None:
    """Every bad message that the consumer keeps for `rejected list`; the truth is not looked at."""
    rows = read(spark, messages, [value for value, _ in BAD.values()])
    accepted = {name for name, row in zip(BAD, rows, strict=True) if row[REJECTED] is None}
    assert accepted == TRUTHS
    for (name, (_, reason)), row in zip(BAD.items(), rows, strict=True):
        if name not in TRUTHS and not reason.startswith(("not JSON", "nested", "a number")):
            assert (
                row[REJECTED].split(":")[0] == reason.split(":")[0]
                or reason.startswith(row[REJECTED])
                or (name == "empty value")
            ), (name, row[REJECTED])


def test_a_refused_message_leaves_values_that_later_steps_can_work_with(
    spark: SparkSession, messages: Messages
) -> None:
    """No null amount or instant reaches a feature."""
    (row,) = read(spark, messages, [message(amount=-3)])
    assert (row["amount"], row["micros"], row["user_id"]) == (1.0, 0, None)


def test_good_messages_are_read_as_the_consumer_reads_them(spark: SparkSession, messages: Messages) -> None:
    """Escapes, emoji, odd numbers, unknown and repeated keys, null and missing optional fields: the same values."""
    values = [
        message(),
        message(merchant_id="m", currency="EUR"),
        message(merchant_id=None, currency=""),
        message(user_id='ü"\\/😀?\u2028', device="", extra={"deep": [1, {"a": None}]}),
        json.dumps({"user_id": "first"})[:-1].encode() + b"," + message(user_id="last")[1:],
        message(amount="N").replace(b'"N"', b"1e-5"),
        message(amount="N").replace(b'"N"', b"12345678901234567890.125"),
        message(amount="N").replace(b'"N"', b"0.1000000000000000055511151231257827"),
        message(amount=17),
        b" \n\t" + message() + b"\r\n ",
        message(first_name="x" * 256, email=None, fraud_scenario="burst", is_fraud=True),
        message(device="x" * 256, transaction_id="😀" * 128),
    ]
    decoded = Decoder().decode(values)
    assert not decoded.rejects
    for row, known in zip(read(spark, messages, values), decoded.rows.to_pylist(), strict=True):
        assert row[REJECTED] is None
        assert {name: row[name] for name in FIELDS if name != "timestamp"} == {
            name: known[name] for name in FIELDS if name != "timestamp"
        }
        assert row["micros"] == micros(known["timestamp"])


TOKENS = (
    "5", "-0.5", "true", "null", "[1]", "{}", '{"user_id": 5}', '"5"', '"true"', '"null"', '"{}"', '"[1"', '""', '"x"',
    r'"\u0000"', r'"\ud800"', r'"\ud83d\ude00"', r'"\u00e9\u005f"', r'"\"user_id\": 5"', "NaN", "'x'", "\t7", "\n\t null",
    '"2025-03-01"', "1e400", "01", "nul", '{"a": 1, "a": 2}', '{"x": {"a": 1, "a": 1}, "user_id": "evil"}',
)  # fmt: skip


READ_OVER = re.compile(rb"\\ud800|1e400")
"""Spark stops at half a character and keeps what stood before it, and where a key stands twice a number too large may be
the first. Such a message may be decided though the consumer refuses it, which loses nothing."""


def spelled(chance: random.Random, name: str) -> str:
    """A key, sometimes with one of its letters written by its number."""
    place = chance.randrange(len(name))
    by_number = f"{name[:place]}\\u{ord(name[place]):04x}{name[place + 1 :]}"
    return chance.choice([name] * 5 + [by_number])


def test_a_text_is_a_text_for_the_scorer_where_it_is_one_for_the_consumer(
    spark: SparkSession, messages: Messages
) -> None:
    """Numbers, truths, objects and halves of characters in place of texts, under keys in any spelling, some twice."""
    chance, values = random.Random(11), []
    for _ in range(5_000):
        fields = [
            (name, json.dumps(value)) for name, value in json.loads(message()).items() if name in FIELDS
        ]
        changed = chance.choices(FIELDS, k=chance.randint(1, 2))
        fields = [pair for pair in fields if pair[0] not in changed or chance.random() < 0.5]
        fields += [(spelled(chance, name), chance.choice(TOKENS)) for name in changed]
        blank = chance.choice(["", " ", "\t\n"])
        values.append(("{" + ", ".join(f'"{k}"{blank}:{blank}{v}' for k, v in fields) + "}").encode())
    decoded = Decoder().decode(values)
    known = dict(zip(decoded.positions, decoded.rows.to_pylist(), strict=True))
    assert len(values) / 10 < len(known) < len(values) / 2
    for position, row in enumerate(read(spark, messages, values)):
        if position in known or not READ_OVER.search(values[position]):
            assert (row[REJECTED] is None) == (position in known), values[position]
        if found := known.get(position):
            assert micros(found.pop("timestamp")) == row["micros"]
            assert {n: row[n] for n in FIELDS if n in found} == {n: found[n] for n in FIELDS if n in found}


def drawn(chance: random.Random, count: int) -> list[str]:
    """ISO 8601 in every combination of its parts, some of them out of range."""
    days = ["2025-03-01", "20250301", "2025-W09-6", "2025W09", "2025-02-29", "2024-02-29", "1912-12-31"]
    clocks = ["T00:00:00", " 23:59:59", "t12:30:61", "_01:02:03", "T235959"]
    digits = ["", ".5", ".123456", ".1234567", ",999999999", ".000000499"]
    zones = ["", "Z", "+00:00", "-23:59", "+0530", "-08", "+17:59", "+18:00", "+24:00", "+1:00"]
    every = ["".join(parts) for parts in itertools.product(days, clocks, digits, zones)]
    every += ["".join(parts) for parts in itertools.product(days, ["", "T12", "T1230", " 12:30"], ["", "Z"])]
    return chance.sample(every, count)


def mutated(chance: random.Random, count: int) -> list[str]:
    """Good instants with a few characters changed, added or left out."""
    texts = []
    for text in chance.choices(FORMS + drawn(chance, 300), k=count):
        found = list(text)
        for _ in range(chance.randint(1, 3)):
            place = chance.randint(0, len(found))
            found[place : place + chance.randint(0, 2)] = chance.choices(
                "0123456789-:.,+TtZzW \n\u0661", k=chance.randint(0, 2)
            )
        texts.append("".join(found))
    return texts


def test_instants_are_those_of_the_schema_to_the_microsecond(spark: SparkSession, messages: Messages) -> None:
    """Every form of ISO 8601 that the consumer takes, and none that it refuses."""
    chance = random.Random(7)
    texts = FORMS + drawn(chance, 1500) + mutated(chance, 20_000)
    rows = read(spark, messages, [message(timestamp=text) for text in texts])
    for text, row in zip(texts, rows, strict=True):
        try:
            expected: int | None = micros(parse_instant(text))
        except ValueError:
            expected = None
        found = None if row[REJECTED] else row["micros"]
        assert found == expected, (text, row)
