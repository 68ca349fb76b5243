"""What becomes of a message: a row, or a reject with a reason. Never both, never neither."""

import json
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from fraudstream.decision import TRANSACTION_FIELDS
from fraudstream.decode import Decoder
from fraudstream.micros import DAY
from fraudstream.schema import FIELDS, REQUIRED, Transaction, arrow_schema, json_schema
from fraudstream.simulate import Encoder, Stream, World
from samples import BAD, GOOD, message


def one(value: bytes | None) -> tuple[dict[str, Any] | None, str]:
    """The row of one message, or the reason for which it is none."""
    decoded = Decoder().decode([value])
    assert len(decoded.positions) + len(decoded.rejects) == 1
    assert decoded.rows.schema == arrow_schema()
    if decoded.rejects:
        return None, decoded.rejects[0].reason
    return decoded.rows.to_pylist()[0], ""


def test_a_good_message_becomes_a_row_in_utc() -> None:
    row, _ = one(message())
    assert row is not None
    assert row["timestamp"] == datetime(2025, 3, 1, 10, 30, 0, 250_000, tzinfo=UTC)
    assert (row["transaction_id"], row["amount"], row["is_fraud"], row["email"]) == ("t-1", 12.5, False, None)


@pytest.mark.parametrize("name", BAD)
def test_a_bad_message_is_rejected_with_its_reason(name: str) -> None:
    value, reason = BAD[name]
    row, said = one(value)
    assert row is None
    assert reason in said


INSTANTS = pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("2025-03-01", datetime(2025, 3, 1, tzinfo=UTC)),
        ("2025-03-01 12:30:00", datetime(2025, 3, 1, 12, 30, tzinfo=UTC)),
        ("20250301T1230", datetime(2025, 3, 1, 12, 30, tzinfo=UTC)),
        ("2025-03-01T12:30Z", datetime(2025, 3, 1, 12, 30, tzinfo=UTC)),
        ("2025-03-01T12:30:00+05:45", datetime(2025, 3, 1, 6, 45, tzinfo=UTC)),
        ("2025-03-01T12:30:00-1200", datetime(2025, 3, 2, 0, 30, tzinfo=UTC)),
        ("0001-01-01T00:00:00", datetime(1, 1, 1, tzinfo=UTC)),
        ("9999-12-31T23:59:59.999999Z", datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)),
        ("2025-W09-6t12:30:00,5Z", datetime(2025, 3, 1, 12, 30, 0, 500_000, tzinfo=UTC)),
        ("2025-03-01t12:30:00z", datetime(2025, 3, 1, 12, 30, tzinfo=UTC)),
    ],
)


@INSTANTS
def test_iso_8601_is_read_and_no_zone_means_utc(text: str, instant: datetime) -> None:
    row, reason = one(message(timestamp=text))
    assert row is not None, reason
    assert row["timestamp"] == instant


TRUTHS = pytest.mark.parametrize(
    ("truth", "stored"), [(0, False), (1, True), (True, True), (False, False), (None, None), (..., None)]
)


@TRUTHS
def test_truth_comes_as_number_truth_or_nothing(truth: Any, stored: bool | None) -> None:
    row, _ = one(message(is_fraud=truth))
    assert row is not None
    assert row["is_fraud"] is stored


def test_of_two_fields_of_one_name_the_last_counts() -> None:
    row, _ = one(message()[:-1] + b', "amount": 7}')
    assert row is not None
    assert row["amount"] == 7.0


def test_unknown_fields_are_ignored_and_counted() -> None:
    decoded = Decoder().decode([message(colour="red", size=3), message(), message(colour="blue")])
    assert decoded.rows.num_rows == 3
    assert decoded.unknown_fields == 3


@pytest.mark.parametrize(
    "others",
    [
        b'"is_fraud": "perhaps"',
        b'"email": 5',
        b'"labelled_at": "soon"',
        b'"full_name": "\\u0000"',
        b'"size": 1e999',
    ],
)
def test_who_reads_some_fields_never_looks_at_the_others(others: bytes) -> None:
    """Neither the truth nor a name, not even to refuse the message."""
    odd = message(is_fraud=...)[:-1] + b", " + others + b"}"
    decoded = Decoder(TRANSACTION_FIELDS).decode([odd, message(), odd])
    assert decoded.rows.column_names == list(TRANSACTION_FIELDS)
    assert decoded.rows["transaction_id"].to_pylist() == [GOOD["transaction_id"]] * 3


@pytest.mark.parametrize(
    "others", [b'"email": "\xff"', b'"email": "\\q"', b'"size": 01', b'"size": [1,]', b'"size": "\x01"']
)
def test_what_is_no_json_is_none_wherever_it_stands(others: bytes) -> None:
    """Half a character at the end of a message, and the other half at the head of the next one, make no whole one."""
    odd = message(is_fraud=...)[:-1] + b", " + others + b"}"
    halves = message()[:-1] + b', "x": "\xc3', b'\xa9"}'
    decoded = Decoder(TRANSACTION_FIELDS).decode([message(), odd, *halves])
    assert decoded.positions == [0]
    assert [reject.position for reject in decoded.rejects] == [1, 2, 3]


def test_a_bad_message_leaves_its_neighbours_alone() -> None:
    values = [value for value, _ in BAD.values()]
    mixed = [
        v for bad in values for v in (message(transaction_id="left"), bad, message(transaction_id="right"))
    ]
    decoded = Decoder().decode(mixed)
    assert decoded.positions == [i for i in range(len(mixed)) if i % 3 != 1]
    assert [reject.position for reject in decoded.rejects] == [i for i in range(len(mixed)) if i % 3 == 1]
    assert decoded.rows["transaction_id"].to_pylist() == ["left", "right"] * len(values)


def test_no_messages_make_no_rows() -> None:
    decoded = Decoder().decode([])
    assert (decoded.rows.num_rows, decoded.rejects) == (0, [])


@given(st.lists(st.binary(max_size=60) | st.none(), max_size=5))
def test_any_bytes_are_a_row_or_a_reject(values: list[bytes | None]) -> None:
    decoded = Decoder().decode(values)
    assert sorted([*decoded.positions, *(r.position for r in decoded.rejects)]) == list(range(len(values)))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)
offsets = st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes)))
field_values = (
    json_values
    | st.datetimes(timezones=st.none() | st.just(UTC) | offsets).map(datetime.isoformat)
    | st.text(min_size=120, max_size=300)
    | st.floats(min_value=0, allow_infinity=False)
    | st.sampled_from([0, 1, True, False, "2025-01-01", "a\x00b", "\ud800"])
)


def _law(value: bytes) -> Transaction | None:
    """What the model alone says of a message."""
    try:
        document = json.loads(value)
        return Transaction.model_validate({name: document[name] for name in FIELDS if name in document})
    except ValidationError:
        return None


@given(st.dictionaries(st.sampled_from([*FIELDS, "other"]), field_values, max_size=4))
def test_both_lanes_say_what_the_model_says(changes: dict[str, Any]) -> None:
    """Whatever the fast lane accepts, `Transaction` reads to the same row, and what it refuses, the model refuses."""
    value = message(**changes)
    law = _law(value)
    row, reason = one(value)
    if row is not None:
        assert law is not None, f"the model refuses {row}"
        assert row == law.model_dump()
    elif law is not None:
        # Python's json reads NaN, lone surrogates and numbers without bound, which JSON has not.
        assert reason.startswith(("not JSON", "a number")), (
            f"the model accepts {law}, the decoder said {reason}"
        )


def test_every_field_has_its_place_in_arrow() -> None:
    schema = arrow_schema()
    assert tuple(schema.names) == FIELDS
    assert {name for name in FIELDS if not schema.field(name).nullable} == set(REQUIRED)


VALIDATOR = jsonschema.Draft202012Validator(json_schema())
BEYOND = {
    "deep unknown field", "1e999", "huge integer", "lone surrogate", "NUL in a text", "NUL in an id", "truth as float",
    "no such day", "no such zone", "before year 1 in UTC", "after year 9999 in UTC",
}  # fmt: skip
"""Of the bad messages those that no schema can tell: how a number is spelled, what a calendar and a float hold."""


def test_producers_find_the_schema_of_this_version_in_the_docs() -> None:
    """After a change: `python -c 'import json; from fraudstream.schema import json_schema as s; print(json.dumps(s(), indent=2))'`."""
    page = Path(__file__).parents[2] / "docs" / "transaction.schema.json"
    assert page.read_text(encoding="utf-8") == json.dumps(json_schema(), indent=2) + "\n"


@INSTANTS
def test_the_schema_takes_every_instant_that_is_stored(text: str, instant: datetime) -> None:  # noqa: ARG001
    VALIDATOR.validate(GOOD | {"timestamp": text})


@TRUTHS
def test_the_schema_takes_every_truth_that_is_stored(truth: Any, stored: bool | None) -> None:  # noqa: ARG001
    VALIDATOR.validate(json.loads(message(is_fraud=truth)))


def test_the_schema_takes_what_produce_writes() -> None:
    world, start = World(7, 200), 20_000 * DAY
    (events,) = Stream(world, start).history(1)
    for value in Encoder(world, start).encode(events, 0)[1]:
        VALIDATOR.validate(json.loads(value))


@given(st.dictionaries(st.sampled_from([*FIELDS, "other"]), field_values, max_size=4))
def test_whatever_is_stored_fits_the_schema(changes: dict[str, Any]) -> None:
    value = message(**changes)
    row, _ = one(value)
    assert row is None or VALIDATOR.is_valid(json.loads(value))


@pytest.mark.parametrize("name", BAD)
def test_the_schema_refuses_what_is_not_stored(name: str) -> None:
    """But for what no schema can tell."""
    value, _ = BAD[name]
    try:
        document = json.loads((value or b"").decode(), parse_constant=lambda _: None)
    except (ValueError, RecursionError):
        return
    assert VALIDATOR.is_valid(document) is (name in BEYOND)
