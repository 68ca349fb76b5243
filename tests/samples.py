"""Messages, good and bad, for every test that sends or decodes some."""

import json
from typing import Any

GOOD: dict[str, Any] = {
    "transaction_id": "t-1",
    "user_id": "u-1",
    "timestamp": "2025-03-01T12:30:00.250000+02:00",
    "amount": 12.5,
    "device": "ios",
    "location": "Paris",
    "transaction_location": "Lyon",
    "is_fraud": 0,
}


def message(**changes: Any) -> bytes:
    """A good message with some fields changed; a value of ... leaves the field out."""
    return json.dumps({k: v for k, v in (GOOD | changes).items() if v is not ...}).encode()


DECISION: dict[str, Any] = {
    "transaction_id": "t-1",
    "user_id": "u-1",
    "timestamp": "2025-03-01T10:30:00.250000Z",
    "amount": 12.5,
    "device": "ios",
    "location": "Paris",
    "transaction_location": "Lyon",
    "merchant_id": None,
    "currency": None,
    "risk": 0.25,
    "flagged": False,
    "rules": [],
    "model_version": "m-1",
    "scored_at": "2025-03-01T10:30:00.262000Z",
    "sent_at": "2025-03-01T10:30:00.251000Z",
    "features": {"amount": 12.5, "user_count_1h": 0.5},
}


def decision(**changes: Any) -> bytes:
    """A decision of the scorer with some fields changed; a value of ... leaves the field out."""
    return json.dumps({k: v for k, v in (DECISION | changes).items() if v is not ...}).encode()


REFUSAL = json.dumps(
    {"rejected": "not JSON", "topic": "t", "partition": 0, "offset": 7, "scored_at": "2025-03-01T10:30:00Z"}
).encode()
"""What the scorer answers to a message that is no transaction."""

BAD: dict[str, tuple[bytes | None, str]] = {
    "tombstone": (None, "tombstone"),
    "empty value": (b"", "empty"),
    "not JSON": (b"hello", "not JSON"),
    "truncated": (message()[:-7], "not JSON"),
    "trailing bytes": (message() + b" x", "not JSON"),
    "two objects": (message() + message(), "not JSON"),
    "a byte order mark": (b"\xef\xbb\xbf" + message(), "not JSON"),
    "UTF-16": (message().decode().encode("utf-16"), "not JSON"),
    "invalid UTF-8": (message(device="DEVICE").replace(b"DEVICE", b"i\xffs"), "not JSON"),
    "lone surrogate": (message(device="\ud800"), "not JSON"),
    "raw control character": (message(device="DEVICE").replace(b"DEVICE", b"i\x01s"), "not JSON"),
    "NaN": (message(amount=float("nan")), "not JSON"),
    "Infinity": (message(amount=float("inf")), "not JSON"),
    "deep array": (b"[" * 100_000, "not JSON: nested too deeply"),
    "deep object": (b'{"a":' * 100_000, "not JSON: nested too deeply"),
    "deep unknown field": (
        message(x="DEEP").replace(b'"DEEP"', b"[" * 100_000 + b"]" * 100_000),
        "nested too deeply",
    ),
    "array": (b"[1]", "expected a JSON object, got an array"),
    "null": (b"null", "expected a JSON object, got null"),
    "number": (b"5", "expected a JSON object, got a number"),
    "text": (b'"x"', "expected a JSON object, got a string"),
    "empty object": (b"{}", "transaction_id: Field required"),
    "1e999": (message(amount="AMOUNT").replace(b'"AMOUNT"', b"1e999"), "a number"),
    "huge integer": (message(amount="AMOUNT").replace(b'"AMOUNT"', b"9" * 400), "amount"),
    "zero amount": (message(amount=0), "amount: Input should be greater than 0"),
    "negative zero": (message(amount=-0.0), "amount: Input should be greater than 0"),
    "negative amount": (message(amount=-3), "amount: Input should be greater than 0"),
    "number as text": (message(amount="12.5"), "amount: Input should be a valid number"),
    "truth as amount": (message(amount=True), "amount: Input should be a valid number"),
    "null amount": (message(amount=None), "amount"),
    "number as id": (message(user_id=17), "user_id: Input should be a valid string"),
    "object as device": (message(device={"os": "ios"}), "device"),
    "missing user": (message(user_id=...), "user_id: Field required"),
    "empty id": (message(transaction_id=""), "transaction_id: String should have at least 1 character"),
    "long id": (
        message(transaction_id="x" * 129),
        "transaction_id: String should have at most 128 characters",
    ),
    "a megabyte of text": (
        message(device="x" * 1_000_000),
        "device: String should have at most 256 characters",
    ),
    "NUL in a text": (message(device="a\x00b"), "device: contains a NUL character"),
    "NUL in an id": (message(transaction_id="\x00"), "transaction_id: contains a NUL character"),
    "truth of two": (message(is_fraud=2), "is_fraud"),
    "truth as float": (message(is_fraud=1.0), "is_fraud"),
    "truth as text": (message(is_fraud="true"), "is_fraud"),
    "Unix time": (message(timestamp=1_700_000_000), "timestamp: expected an ISO 8601 string"),
    "Unix time as text": (message(timestamp="1700000000"), "timestamp: not an ISO 8601"),
    "no such day": (message(timestamp="2025-02-30T00:00:00"), "timestamp: not an ISO 8601"),
    "no such zone": (message(timestamp="2025-02-03T00:00:00+25:00"), "timestamp: not an ISO 8601"),
    "before year 1 in UTC": (message(timestamp="0001-01-01T00:00:00+14:00"), "timestamp: outside the years"),
    "after year 9999 in UTC": (
        message(timestamp="9999-12-31T23:59:59-12:00"),
        "timestamp: outside the years",
    ),
}
