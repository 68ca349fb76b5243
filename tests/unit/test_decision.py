"""Decisions as `consume scores` reads them: each message on its own, none lost."""

import json

import pytest

from fraudstream.decision import CONTEXT, FIELDS, DecisionDecoder
from fraudstream.schema import in_years
from samples import REFUSAL, decision


def test_a_decision_becomes_a_row_and_keeps_its_features_only_where_it_is_flagged() -> None:
    features = {"amount": 12.5, "hour": 3.0}
    decoded = DecisionDecoder().decode(
        [decision(), decision(flagged=True, features=features, rules=["a", "b"])]
    )
    quiet, flagged = decoded.rows.to_pylist()
    assert (quiet["features"], json.loads(flagged["features"])) == (None, features)
    assert (quiet["rules"], flagged["rules"]) == ([], ["a", "b"])
    assert [flagged[name] for name in CONTEXT] == ["ios", "Paris", "Lyon", None, None]
    assert decoded.positions == [0, 1]


def test_a_refusal_is_counted_and_its_neighbours_are_decisions() -> None:
    decoded = DecisionDecoder().decode([decision(transaction_id="a"), REFUSAL, decision(transaction_id="b")])
    assert decoded.rows["transaction_id"].to_pylist() == ["a", "b"]
    assert (decoded.positions, decoded.refused, decoded.rejects) == ([0, 2], 1, [])


def test_positions_are_those_in_the_whole_run_of_messages() -> None:
    """More messages than are decoded at a time, with a bad one in the second portion; and none at all."""
    values: list[bytes | None] = [decision(transaction_id=f"t{n}") for n in range(2500)]
    values[1200] = b"poison"
    decoded = DecisionDecoder().decode(values)
    assert decoded.positions == [n for n in range(2500) if n != 1200]
    assert [reject.position for reject in decoded.rejects] == [1200]
    assert decoded.rows["transaction_id"].to_pylist() == [f"t{n}" for n in decoded.positions]
    assert DecisionDecoder().decode([]).rows.schema.names == list(FIELDS)


def test_instants_without_a_zone_are_utc_and_others_are_turned() -> None:
    rows = (
        DecisionDecoder()
        .decode(
            [decision(timestamp="2025-03-01T10:00:00", scored_at="2025-03-01T12:00:00+02:00", sent_at=None)]
        )
        .rows.to_pylist()
    )
    assert rows[0]["timestamp"] == rows[0]["scored_at"]
    assert rows[0]["timestamp"].utcoffset().total_seconds() == 0


def test_decisions_of_which_none_has_a_time_of_sending_are_read_in_bulk() -> None:
    """A writer other than `score` may leave it out of all: looked at one by one, they took three times as long."""
    rows = DecisionDecoder().decode([decision(sent_at=None)] * 2).rows
    assert in_years(rows["sent_at"])


def test_what_other_writers_add_is_ignored_and_what_they_may_leave_out_is_null() -> None:
    value = decision(device=..., sent_at=..., rules=..., shade="mauve")
    (row,) = DecisionDecoder().decode([value]).rows.to_pylist()
    assert (row["device"], row["sent_at"], row["rules"]) == (None, None, [])


BAD = {
    "tombstone": (None, "tombstone"),
    "empty value": (b"", "not a decision"),
    "not JSON": (b"hello", "not a decision"),
    "two decisions": (decision() + decision(), "not a decision"),
    "invalid UTF-8": (decision(device="DEVICE").replace(b"DEVICE", b"i\xffs"), "not a decision"),
    "a transaction": (decision(risk=...), "missing required field `risk`"),
    "a risk above one": (decision(risk=1.5), "<= 1.0"),
    "a risk that is none": (decision(risk=float("nan")), "not a decision"),
    "an infinite amount": (decision(amount="X").replace(b'"X"', b"1e999"), "not a decision"),
    "an empty id": (decision(transaction_id=""), "length >= 1"),
    "a long id": (decision(user_id="x" * 129), "length <= 128"),
    "a text as a feature": (decision(flagged=True, features={"amount": "12"}), "features"),
    "a NUL in a text": (decision(device="a\0b"), "NUL"),
    "a NUL in the name of a feature": (decision(flagged=True, features={"a\0": 1}), "NUL"),
    "a NUL in the name of a rule": (decision(rules=["a\0"]), "NUL"),
    "before year 1 in UTC": (decision(scored_at="0001-01-01T00:00:00+14:00"), "outside the years"),
    "deeply nested": (b"[" * 100_000, "not a decision"),
}


@pytest.mark.parametrize(("value", "reason"), BAD.values(), ids=BAD)
def test_a_message_that_is_no_decision_is_rejected_with_its_reason(value: bytes | None, reason: str) -> None:
    """And its neighbours are none the worse."""
    decoded = DecisionDecoder().decode([decision(transaction_id="a"), value, decision(transaction_id="b")])
    assert decoded.rows["transaction_id"].to_pylist() == ["a", "b"]
    (reject,) = decoded.rejects
    assert reject.position == 1
    assert reason in reject.reason
    assert len(reject.reason) <= 500


def test_a_backslash_before_u0000_is_no_nul() -> None:
    """The bytes look alike; the text is a backslash and five characters."""
    (row,) = DecisionDecoder().decode([decision(device="\\u0000")]).rows.to_pylist()
    assert row["device"] == "\\u0000"
