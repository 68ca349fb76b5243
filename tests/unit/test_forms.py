"""Messages in a company's own format, as transactions."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraudstream.decode import Decoder
from fraudstream.errors import UsageError
from fraudstream.micros import Epoch
from fraudstream.producer.forms import Form, Original, at, form, paths

THEIRS = {
    "type": "payment",
    "payload": {"id": 77, "card": {"number": 4711}, "when": 1_700_000_000_123, "total": "12.50"},
    "city": "Turin, IT",
}
MAPS = (
    *("payload.id=transaction_id", "payload.card.number=user_id", "payload.when=timestamp"),
    *("payload.total=amount", "city=transaction_location"),
)
FORM = form(MAPS, ("device=unknown", "location=unknown"), ("type=payment",), Epoch.MILLISECONDS)


def originals(*messages: Any) -> list[Original]:
    return [Original(b"k", m if isinstance(m, bytes) else json.dumps(m).encode()) for m in messages]


def test_nested_fields_numbers_as_text_and_text_as_numbers_become_a_transaction() -> None:
    found = FORM.converted(originals(THEIRS))
    assert (found.converted, found.unreadable, found.skipped) == (1, {}, 0)
    assert found.batch.keys == [b"4711"]
    assert json.loads(found.batch.values[0]) == {
        "transaction_id": "77",
        "user_id": "4711",
        "timestamp": "2023-11-14T22:13:20.123000Z",
        "amount": 12.5,
        "device": "unknown",
        "location": "unknown",
        "transaction_location": "Turin, IT",
    }


def test_what_cannot_be_converted_is_passed_on_byte_for_byte_with_its_reason() -> None:
    """So that the consumer keeps it in `shop.rejected`."""
    bad: list[bytes] = [
        b"not json",
        b"[1]",
        b"",
        b'{"type": "payment"}',
        json.dumps(THEIRS | {"payload": THEIRS["payload"] | {"total": -1}}).encode(),  # type: ignore[operator]
        json.dumps(THEIRS | {"payload": THEIRS["payload"] | {"when": "yesterday"}}).encode(),  # type: ignore[operator]
        json.dumps(THEIRS | {"payload": THEIRS["payload"] | {"when": 10**400}}).encode(),  # type: ignore[operator]
    ]
    found = FORM.converted(originals(*bad[:3], THEIRS, *bad[3:]))
    assert found.converted == 1
    assert [value for n, value in enumerate(found.batch.values) if n != 3] == bad
    assert found.batch.keys[0] == b"k"
    assert set(found.unreadable) == {0, 1, 2, 4, 5, 6, 7}
    assert "amount" in found.unreadable[5]
    assert found.unreadable[6] == "timestamp: not a number of milliseconds since 1970"


def test_other_kinds_of_messages_and_tombstones_are_skipped() -> None:
    found = FORM.converted([Original(b"k", None), *originals({"type": "login"}, {}, THEIRS)])
    assert (found.converted, found.unreadable, found.skipped) == (1, {}, 3)


@pytest.mark.parametrize(
    ("value", "unit", "instant"),
    [
        (0, Epoch.SECONDS, "1970-01-01T00:00:00Z"),
        (1_700_000_000.5, Epoch.SECONDS, "2023-11-14T22:13:20.500000Z"),
        ("1700000000", Epoch.SECONDS, "2023-11-14T22:13:20Z"),
        (1_700_000_000_123, Epoch.MILLISECONDS, "2023-11-14T22:13:20.123000Z"),
        (1_700_000_000_123_456, Epoch.MICROSECONDS, "2023-11-14T22:13:20.123456Z"),
        (-1, Epoch.SECONDS, "1969-12-31T23:59:59Z"),
    ],
)
def test_timestamps_that_are_numbers_are_exact(value: Any, unit: Epoch, instant: str) -> None:
    found = Form(epoch=unit).converted(originals(ours(value)))
    assert json.loads(found.batch.values[0])["timestamp"] == instant


@pytest.mark.parametrize("value", [1e300, "1e999999999", 10**17, -(10**17)])
def test_a_number_that_is_no_time_of_ours_costs_nothing(value: Any) -> None:
    found = Form(epoch=Epoch.SECONDS).converted(originals(ours(value)))
    assert found.unreadable == {0: "timestamp: outside the years 1 to 9999 in UTC"}


@pytest.mark.parametrize("value", [True, "noon", "1_000", "NaN", [], {}, "2025-01-01"])
def test_what_is_no_number_is_no_time_of_an_epoch(value: Any) -> None:
    found = Form(epoch=Epoch.SECONDS).converted(originals(ours(value)))
    assert found.unreadable == {0: "timestamp: not a number of seconds since 1970"}


def ours(timestamp: Any) -> dict[str, Any]:
    texts = dict.fromkeys(("transaction_id", "user_id", "device", "location", "transaction_location"), "x")
    return {**texts, "timestamp": timestamp, "amount": 1}


@pytest.mark.parametrize(
    ("values", "wanted", "others"),
    [
        ([True, "true"], ["true"], [1, False]),
        ([1, 1.0, "1"], ["1"], [2, "1.0", "01"]),
        ([1, 1.1, "1.10"], ["1.10", "1.0"], ["1", "1.1"]),
        ([1000], ["1e3"], ["1000"]),
        ([12345678901234567890], ["12345678901234567890"], [12345678901234567891]),
        ([None, "null"], ["null"], [0, False, ""]),
        (["007"], ["007"], [7, "7"]),
        (["payment", "refund"], ["payment", "refund"], ["login", {"payment": 1}, ["payment"]]),
    ],
)
def test_a_condition_means_a_text_or_what_json_reads_in_it(
    values: list[Any], wanted: list[str], others: list[Any]
) -> None:
    """Repeated, any of them will do: the last one alone counted, and the others were skipped for good."""
    found = form((), (), [f"x={value}" for value in wanted])
    assert found.converted(originals(*({"x": value} for value in values))).skipped == 0
    skipped = found.converted(originals(*({"x": value} for value in others)))
    assert skipped.skipped == len(others)
    assert sum(skipped.others.values()) == len(others)
    assert all(one.startswith("x=") for one in skipped.others)


def test_a_key_that_is_missing_is_null() -> None:
    assert form((), (), ["deleted=null"]).converted(originals({})).skipped == 0


def test_a_field_cannot_be_filled_twice() -> None:
    with pytest.raises(UsageError, match="device twice"):
        form((), ("device=a", "device=b"), ())


def test_every_path_that_an_error_names_can_be_mapped() -> None:
    """Keys may contain dots, inside of others, too."""
    for theirs in (
        {"a": {"b.c": "7"}},
        {"a.b": {"c": "7"}},
        {"a.b.c": "7"},
        {"a.b": None, "a": {"b": {"c": "7"}}},
    ):
        (path,) = {path for path in paths(json.dumps(theirs).encode()) if path.endswith("c")}
        assert at(theirs, path) == "7"


@pytest.mark.parametrize("text", ["type", "=payment"])
def test_a_malformed_condition_is_named(text: str) -> None:
    with pytest.raises(UsageError, match="--only"):
        form((), (), (text,))


def test_the_paths_of_a_message_say_what_there_is_to_map() -> None:
    assert paths(json.dumps(THEIRS).encode()) == [
        *("type", "payload.id", "payload.card.number", "payload.when", "payload.total", "city")
    ]
    assert paths(b"nothing") == paths(None) == paths(b"[]") == []


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
FIELD = st.sampled_from(
    [
        "transaction_id",
        "user_id",
        "timestamp",
        "amount",
        "device",
        "location",
        "transaction_location",
        "is_fraud",
    ]
)


@given(
    st.lists(
        st.binary(max_size=40)
        | st.none()
        | st.dictionaries(FIELD, JSON | st.just("2025-01-01"), max_size=8).map(msgspec.json.encode),
        max_size=5,
    ),
    st.sampled_from([None, *Epoch]),
)
def test_every_message_is_converted_passed_on_or_skipped(
    values: list[bytes | None], unit: Epoch | None
) -> None:
    found = Form(epoch=unit).converted([Original(None, value) for value in values])
    assert len(found.batch.values) + found.skipped == len(values)
    passed = {values[place] for place in found.unreadable}
    readable = [value for value in found.batch.values if value not in passed]
    assert not Decoder().decode(readable).rejects
