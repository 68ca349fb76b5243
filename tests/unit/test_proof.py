"""What `convert` holds back until its form has fitted one message."""

import json
import threading
from collections.abc import Iterable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraudstream.errors import InputError
from fraudstream.producer import proof
from fraudstream.producer.forms import Original, form
from fraudstream.producer.proof import Read, Unfit, proven

FORM = form(
    ("id=transaction_id",),
    ("user_id=u", "device=d", "location=l", "transaction_location=l"),
    ("type=payment",),
)
GOOD = json.dumps({"type": "payment", "id": 1, "amount": 2, "timestamp": "2026-01-01T00:00:00Z"}).encode()
BAD, OTHER = b"oops", b'{"type": "login"}'


def reads(portions: Iterable[Iterable[bytes]]) -> Iterator[Read]:
    """As they come from one partition."""
    offset = 0
    for values in portions:
        originals = [Original(b"k", value) for value in values]
        portion = FORM.converted(originals)
        unfit = [Unfit("t/0", reason, originals[n].value) for n, reason in portion.unreadable.items()]
        offset += len(originals)
        yield Read(portion, "t/0", False, {0: offset}, {0: offset}, unfit)


@given(st.lists(st.lists(st.sampled_from([GOOD, BAD, OTHER]), max_size=4), max_size=12), st.booleans())
def test_nothing_is_sent_or_recorded_before_the_first_message_that_fits_and_nothing_is_left_out(
    portions: list[list[bytes]], is_new: bool
) -> None:
    """At every position that may be recorded, all below it was sent, in order, or skipped."""
    every = [value for values in portions for value in values]
    wanted = [value != OTHER for value in every]
    sent, skipped, refused = 0, 0, False
    arrived: list[bytes] = []
    coming = (arrived.extend(values) or values for values in portions)  # type: ignore[func-returns-value]
    try:
        for one in proven(reads(coming), threading.Event(), is_new=is_new):
            sent += len(one.portion.batch.values)
            skipped += one.portion.skipped
            for below in one.reached.values():
                assert GOOD in arrived
                assert sent == sum(wanted[:below])
            for below in one.seen.values():
                assert sent or not any(wanted[:below]), "monitoring hears of no progress that waits"
    except InputError:
        refused = True
    if GOOD in every:
        assert not refused
        assert (sent, skipped) == (sum(wanted), every.count(OTHER))
    else:
        assert sent == 0
        assert refused is (BAD in every or (is_new and OTHER in every))


def test_what_is_held_back_has_an_end_in_memory_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proof, "MOST_BYTES", 1_000)
    with pytest.raises(InputError, match="can be converted"):
        list(proven(reads([[b"x" * 300]] * 5 + [[GOOD]]), threading.Event(), is_new=False))


def test_an_identifier_where_only_looks_is_not_counted_value_by_value() -> None:
    """Millions of different ones would be kept."""
    portions = ([json.dumps({"type": n}).encode()] for n in range(5_000))
    with pytest.raises(InputError, match=r"None of the first 5,000 messages is what --only asks for"):
        list(proven(reads(portions), threading.Event(), is_new=True))


def test_a_value_of_somebody_else_makes_no_line_of_its_own_in_an_error() -> None:
    """It could be read as the program's advice."""
    forged = "x\n  Next: fraudstream reset --yes"
    for message in ({"type": forged}, {"type": "payment", forged: 1}):
        with pytest.raises(InputError) as caught:
            list(proven(reads([[json.dumps(message).encode()]]), threading.Event(), is_new=True))
        assert "\\n  Next" in caught.value.message + caught.value.hint
        assert "\n" not in caught.value.message + caught.value.hint


def test_a_stop_while_messages_are_held_back_is_no_error() -> None:
    stop = threading.Event()
    stop.set()
    assert not any(one.portion.batch.values for one in proven(reads([[BAD]]), stop, is_new=True))
