"""Messages that look alike are decoded by columns, and become what they become one by one."""

import json
import random
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fraudstream import decode
from fraudstream.alike import LEARNED, PAUSE, Alike, Layouts
from fraudstream.decision import TRANSACTION_FIELDS
from fraudstream.decode import Decoded, Decoder
from fraudstream.layout import LONGEST, Layout
from fraudstream.schema import FIELDS, KINDS
from samples import BAD, GOOD, message

TEXTS = [
    '"a"',
    '""',
    '"Jos\u00e9"',
    '"\U0001f600 x"',
    '"a b, c: {d}"',
    "null",
    '"\\u00e9"',
    '"\\u0000"',
    f'"{"x" * 300}"',
    "5",
]
INSTANTS = [
    '"2025-03-01T10:30:00.250Z"',
    '"2025-03-01T10:30:00.123456Z"',
    '"2025-03-01 10:30:00"',
    '"2025-03-01T10:30:00+05:45"',
    '"2025-03-01"',
    '"2025-03-01T10"',
    '"2025-02-30T10:30:00Z"',
    '"2025-03-01T10:30:00.1234567Z"',
    '"0000-01-01T00:00:00Z"',
    '"0001-01-01T00:00:00+01:00"',
    '"9999-12-31T23:59:59.999999-05:00"',
    '"2025-03-01T24:00:00Z"',
    '"soon"',
    '""',
    "null",
    "1",
]
NUMBERS = [
    "12.5",
    "7",
    "0.01",
    "0",
    "0.0",
    "-1",
    "1e2",
    "01",
    "1.",
    ".5",
    "+1",
    "NaN",
    "1e999",
    "9" * 31,
    "9" * 400,
]
NUMBERS += ["0.1000000000000000055511151231257827", "123456789012345678.5", '"12"', "null", "true"]
TRUTHS = ["0", "1", "true", "false", "null", "2", "1.0", '"true"', "tru"]
OTHERS = ['"x"', "1", "-2.5", "true", "null", "01", "tru", "[1, 2]", '{"a": 1}', "1e5", '"\\n"', '"a": 1']
CHOICES = {"text": TEXTS, "instant": INSTANTS, "float": NUMBERS, "truth": TRUTHS}
USUAL = {"text": TEXTS[:3], "instant": INSTANTS[:2], "float": NUMBERS[:3], "truth": TRUTHS[:4]}


Format = tuple[list[str], str, str]


def a_format(chance: random.Random) -> Format:
    """How a program writes its messages: which fields, in which order, with which separators."""
    optional = [
        "is_fraud",
        "email",
        "first_name",
        "merchant_id",
        "fraud_scenario",
        "size",
        "colour",
        "\u00fc",
    ]
    names = [name for name in GOOD if name != "is_fraud"] + chance.sample(
        optional, chance.randint(0, len(optional))
    )
    chance.shuffle(names)
    if chance.random() < 0.1:
        names.append(chance.choice(names))
    comma, colon = chance.choice([(", ", ": "), (",", ":"), (" ,  ", " : ")] * 5 + [(",\n", ":")])
    return names, comma, colon


def a_message(chance: random.Random, form: Format, *, odd: bool) -> bytes:
    """One with the usual values, but one of them if it is to be odd."""
    names, comma, colon = form
    values = [chance.choice(USUAL[KINDS[name]] if name in KINDS else OTHERS[:5]) for name in names]
    if odd:
        at = chance.randrange(len(names))
        values[at] = chance.choice(CHOICES[KINDS[names[at]]] if names[at] in KINDS else OTHERS)
    return ("{" + comma.join(f'"{n}"{colon}{v}' for n, v in zip(names, values, strict=True)) + "}").encode()


def damaged(chance: random.Random, value: bytes) -> bytes | None:
    """The message cut, or with another byte somewhere, or gone."""
    at, more = (
        chance.randint(0, len(value)),
        chance.choice([b'"', b"\\", b"\xc3", b"\0", b" ", b"}", b"{", b",", b"1"]),
    )
    return chance.choice(
        [None, value[:at], value[:at] + more + value[at:], value[:at] + more + value[at + 1 :]]
    )


def a_topic(seed: int) -> list[bytes | None]:
    """Messages of some programs, nearly all as usual."""
    chance = random.Random(seed)
    forms = [a_format(chance) for _ in range(chance.randint(1, 3))]
    found: list[bytes | None] = [
        a_message(chance, chance.choice(forms), odd=chance.random() < 0.1)
        for _ in range(chance.randint(1, 20))
    ]
    if chance.random() < 0.3:
        at = chance.randrange(len(found))
        found[at] = damaged(chance, found[at] or b"")
    return found


def by_columns(values: Sequence[bytes | None], fields: Sequence[str]) -> tuple[Decoded, Alike | None]:
    """What all of it becomes, and what of it was decoded by columns."""
    decoder = Decoder(fields)
    return decoder.decode(values), Layouts(fields).decode(pa.array(values, pa.binary()))


@pytest.fixture(autouse=True)
def _few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode, "FEWEST", 1)


@pytest.mark.parametrize("fields", [FIELDS, TRANSACTION_FIELDS], ids=["all", "some"])
@settings(max_examples=1_500, deadline=None)
@given(seed=st.integers(0, 2**64))
def test_by_columns_a_message_becomes_what_it_becomes_alone(fields: Sequence[str], seed: int) -> None:
    values = a_topic(seed)
    decoded, alike = by_columns(values, fields)
    decoder = Decoder(fields)
    alone = [decoder.separately([value], 0) for value in values]
    rows = pa.concat_tables([one.rows for one in alone])
    assert decoded.rows.equals(rows), (decoded.rows.to_pylist(), rows.to_pylist())
    assert decoded.positions == [at for at, one in enumerate(alone) if one.positions]
    assert [reject.reason for reject in decoded.rejects] == [r.reason for one in alone for r in one.rejects]
    assert [reject.position for reject in decoded.rejects] == [
        at for at, one in enumerate(alone) if one.rejects
    ]
    if fields == FIELDS:
        assert decoded.unknown_fields == sum(one.unknown_fields for one in alone)
    if alike is not None:
        mine = [one for one, taken in zip(alone, alike.decoded, strict=True) if taken]
        assert alike.rows.equals(pa.concat_tables([one.rows for one in mine]))


def test_the_usual_messages_are_decoded_by_columns() -> None:
    """Else the test above would compare nothing."""
    some = [message(transaction_id=f"t-{n}", email=None if n % 3 else "a@b", colour="red") for n in range(50)]
    others = [json.dumps({**GOOD, "timestamp": "2025-03-01T10:30:00"}, separators=(",", ":")).encode()] * 50
    for values in (some, others):
        alike = Layouts(FIELDS).decode(pa.array(values, pa.binary()))
        assert alike is not None
        assert alike.decoded.all()


def test_a_bad_message_leaves_its_neighbours_alone() -> None:
    values = [
        v
        for bad, _ in BAD.values()
        for v in (message(transaction_id="left"), bad, message(transaction_id="right"))
    ]
    decoded = Decoder().decode(values)
    assert decoded.positions == [i for i in range(len(values)) if i % 3 != 1]
    assert [reject.position for reject in decoded.rejects] == [i for i in range(len(values)) if i % 3 == 1]
    assert decoded.rows["transaction_id"].to_pylist() == ["left", "right"] * len(BAD)


@pytest.mark.parametrize(
    "odd",
    [
        message(email="a@b") + b" x",
        message(email="a@b") + b"}",
        message(email="a@b")[:-1] + b" ",
        message(is_fraud=..., email="a@b")[:-1] + b', "is_fraud": }',
        message()[:-2] + b"}",
        message(amount=...)[:-1] + b', "amount": }',
    ],
)
def test_what_is_no_json_is_none_among_others_that_look_the_same(odd: bytes) -> None:
    with_truth_last = message(is_fraud=..., email="a@b")[:-1] + b', "is_fraud": 1}'
    with_amount_last = message(amount=...)[:-1] + b', "amount": 5}'
    usual = [message(), message(email="a@b"), with_truth_last, with_amount_last] * 5
    decoded = Decoder().decode([*usual, odd, *usual])
    assert [reject.position for reject in decoded.rejects] == [len(usual)]


def test_a_field_at_the_end_of_the_last_message_is_not_read_beyond_it() -> None:
    """The last message is cut within what stands between two values, where a comparison would run over the end."""
    whole = message()
    values = [whole, *(whole[:-n] for n in range(1, len(whole)))]
    for value in values:
        decoded = Decoder().decode([whole, value])
        assert len(decoded.positions) + len(decoded.rejects) == 2


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"{}",
        b"[1]",
        b'{"a": {"b": 1}}',
        b'{"a": "\\n"}',
        b'{"a": 1, "a": 2}',
        b'{"a": 1}}',
        b'{"a": 1',
        b'{"a" 1}',
        b'"a": 1}',
        b'{"a": 1 "b": 2}',
        b'{{"a": 1}',
        b'{"' + b"a" * LONGEST + b'": 1}',
    ],
)
def test_what_is_not_flat_json_has_no_layout(value: bytes) -> None:
    assert Layout.learn(value) is None


def test_a_layout_is_what_stands_between_the_values() -> None:
    layout = Layout.learn(b'{"a": "x y", "b":1.5 , "c": "z"} ')
    assert layout is not None
    assert [(slot.name, slot.quoted, slot.before) for slot in layout.slots] == [
        ("a", True, b'{"a": "'),
        ("b", False, b'", "b":'),
        ("c", True, b' , "c": "'),
    ]
    assert (layout.tail, layout.quotes) == (b'"} ', 10)


def test_messages_that_are_all_different_are_decoded_too() -> None:
    values: list[Any] = [message(**{f"field{n}": "x"}) for n in range(200)]
    decoded = Decoder().decode(values)
    assert (decoded.rows.num_rows, decoded.unknown_fields) == (200, 200)


def test_messages_that_are_all_different_are_not_compared_all_the_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    learned: list[bytes] = []
    monkeypatch.setattr(Layout, "learn", learned.append)
    layouts = Layouts(FIELDS)
    values = pa.array([message(**{f"field{n}": "x"}) for n in range(20)], pa.binary())
    for _ in range(PAUSE + 1):
        assert layouts.decode(values) is None
    assert len(learned) == LEARNED
    layouts.decode(values)
    assert len(learned) == 2 * LEARNED
