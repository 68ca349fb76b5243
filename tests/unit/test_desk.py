"""A reviewer's place in the queue, without a browser."""

from fraudstream.dashboard import figures
from fraudstream.dashboard.desk import PAUSE, Desk


def test_a_verdict_counts_for_the_alert_that_is_open_alone() -> None:
    """A second press of the same key names the alert that was just judged."""
    desk = Desk()
    assert desk.settle("abc") == "a"
    assert desk.takes("a")
    desk.forward()
    assert not desk.takes("a")
    assert desk.settle("bc") == "b"
    assert not desk.takes("a")
    assert not desk.is_hasty, "nothing was tried on b"


def test_a_key_that_is_held_down_judges_one_alert() -> None:
    """It repeats after half a second, and from then on many times a second."""
    now = [0.0]
    desk = Desk(clock=lambda: now[0])
    desk.settle("abc")
    assert desk.takes("a")
    desk.forward()
    desk.settle("bc")
    for tenth in range(5, 60):
        now[0] = tenth / 10
        assert not desk.takes("b")
        assert desk.is_hasty
    now[0] += PAUSE
    assert desk.takes("b")
    assert not desk.is_hasty


def test_an_alert_that_took_long_to_come_has_not_been_read_either() -> None:
    now = [0.0]
    desk = Desk(clock=lambda: now[0])
    desk.settle("abc")
    assert desk.takes("a")
    desk.forward()
    now[0] = 5.0
    desk.settle("bc")
    desk.shown()
    now[0] += 0.1
    assert not desk.takes("b")
    desk.shown()
    now[0] += PAUSE
    assert desk.takes("b")


def test_the_next_alert_is_one_that_nobody_has_judged_meanwhile() -> None:
    desk = Desk()
    assert desk.settle("abcd") == "a"
    desk.forward()
    assert desk.settle("cd") == "c"
    assert desk.settle("cd") == "c", "it stays while the page renews itself"


def test_new_alerts_do_not_throw_a_reviewer_to_the_first_of_the_queue() -> None:
    desk = Desk()
    desk.settle("abcd")
    desk.open("b")
    desk.settle("abcd")
    desk.step(1)
    assert desk.settle("xyabcd") == "c"
    desk.step(-1)
    assert desk.settle("xyabcd") == "b"


def test_next_and_previous_go_on_from_an_alert_that_a_colleague_has_taken_away() -> None:
    desk = Desk()
    desk.open("c")
    desk.settle("abcde")
    assert desk.settle("abe") == "c", "what is open stays open"
    desk.step(1)
    assert desk.settle("abe") == "e"
    desk.open("c")
    desk.settle("abcde")
    desk.settle("abe")
    desk.step(-1)
    assert desk.settle("abe") == "b"


def test_at_the_ends_of_the_queue_next_and_previous_stay_and_a_verdict_goes_to_the_first() -> None:
    desk = Desk()
    desk.settle("ab")
    desk.step(-1)
    assert desk.settle("ab") == "a"
    desk.step(1)
    desk.settle("ab")
    desk.step(1)
    assert desk.settle("ab") == "b"
    desk.forward()
    assert desk.settle("a") == "a"
    desk.forward()
    assert desk.settle([]) is None


def test_an_alert_that_was_asked_for_need_not_be_in_the_queue() -> None:
    desk = Desk()
    desk.open("z")
    assert desk.settle("ab") == "z"
    desk.step(1)
    assert desk.settle("ab") == "a"


def test_what_no_table_can_hold_is_taken_off_a_typed_text() -> None:
    """NUL is refused by PostgreSQL, half a pair of surrogates by the driver."""
    assert figures.typed(" a\x00b\ud800c ") == "abc"
    assert figures.typed("\x00") == ""
    assert figures.typed("zażółć 😀") == "zażółć 😀"
