"""Labels as files have them: what counts as one, and what is said of the others."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from fraudstream.errors import InputError, UsageError
from fraudstream.schema import NOTE_LENGTH, SKEW
from fraudstream.settings import PostgresSettings
from fraudstream.store.label_files import labels_from_file, parse, renamed

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("fields", "label"),
    [
        ({"transaction_id": "t", "is_fraud": "1"}, ("t", True, None, "ann", None)),
        ({"transaction_id": "t", "is_fraud": "No"}, ("t", False, None, "ann", None)),
        ({"transaction_id": "t", "is_fraud": True}, ("t", True, None, "ann", None)),
        ({"transaction_id": "t", "is_fraud": 0.0}, ("t", False, None, "ann", None)),
        # Tables of data libraries make floats of whole numbers where one is missing.
        ({"transaction_id": 17.0, "is_fraud": 1}, ("17", True, None, "ann", None)),
        ({"transaction_id": "t", "is_fraud": "1.0"}, ("t", True, None, "ann", None)),
        (
            {"transaction_id": "t", "is_fraud": 1, "labelled_by": "bob", "note": "card stolen"},
            ("t", True, None, "bob", "card stolen"),
        ),
        (
            {"transaction_id": "t", "is_fraud": 1, "labelled_by": "", "note": ""},
            ("t", True, None, "ann", None),
        ),
        (
            {"transaction_id": "t", "is_fraud": 1, "labelled_at": "2026-02-01T10:00:00+02:00"},
            ("t", True, datetime(2026, 2, 1, 8, tzinfo=UTC), "ann", None),
        ),
        # Clocks differ: what is said a moment ahead is said now.
        ({"transaction_id": "t", "is_fraud": 1, "labelled_at": NOW + SKEW}, ("t", True, NOW, "ann", None)),
    ],
)
def test_a_label_needs_an_id_and_a_verdict(fields: dict[str, Any], label: tuple[Any, ...]) -> None:
    assert parse(fields, "ann", NOW) == label


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"transaction_id": None}, "transaction_id: missing"),
        ({"transaction_id": ""}, "transaction_id: missing"),
        ({"transaction_id": "x" * 129}, "transaction_id: longer than 128 characters"),
        ({"transaction_id": "a\0b"}, "transaction_id: contains a NUL character"),
        ({"transaction_id": "a\udcffb"}, "transaction_id: not UTF-8"),
        ({"transaction_id": {"id": 1}}, "transaction_id: not a string"),
        ({"transaction_id": True}, "transaction_id: not a string"),
        ({"transaction_id": float("nan")}, "transaction_id: not a string"),
        ({"transaction_id": float("inf")}, "transaction_id: not a string"),
        ({"transaction_id": 2.0**53}, r"transaction_id: .* lost digits: store identifiers as strings$"),
        ({"is_fraud": None}, "is_fraud: missing"),
        ({"is_fraud": "perhaps"}, "is_fraud: not 0 or 1"),
        ({"is_fraud": 2}, "is_fraud: not 0 or 1"),
        ({"is_fraud": float("nan")}, "is_fraud: not 0 or 1"),
        ({"labelled_at": "yesterday"}, "labelled_at: not an ISO 8601 date and time"),
        ({"labelled_at": 1_700_000_000}, "labelled_at: expected an ISO 8601 string"),
        ({"labelled_at": NOW + SKEW + timedelta(seconds=1)}, "labelled_at: is in the future"),
        ({"labelled_by": "x" * 257}, "labelled_by: longer than 256 characters"),
        ({"note": "x" * (NOTE_LENGTH + 1)}, "note: longer than 2,000 characters"),
        ({"note": ["list"]}, "note: not a string"),
    ],
)
def test_what_is_no_label_says_why(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match="^" + reason):
        parse({"transaction_id": "t", "is_fraud": 1} | changes, "ann", NOW)


def test_an_author_who_cannot_be_stored_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    """PostgreSQL refused the whole file, with the name of a constraint and the contents of a row."""
    with pytest.raises(InputError, match="labelled_by: longer than 256 characters"):
        labels_from_file(PostgresSettings(host="nowhere.example"), tmp_path / "none.csv", {}, "x" * 300)


def test_their_columns_get_our_names() -> None:
    assert renamed(["trans=num=transaction_id", "FRAUD=is_fraud"]) == {
        "transaction_id": "trans=num",
        "is_fraud": "FRAUD",
    }
    for wrong in ("is_fraud", "=is_fraud", "x=amount"):
        with pytest.raises(UsageError, match="must have the form THEIRS=OURS"):
            renamed([wrong])
    with pytest.raises(UsageError, match="gives note twice"):
        renamed(["a=note", "b=note"])
