"""The password keeps strangers out and nobody else, and a session is as good as the password that opened it."""

import pytest
from streamlit.testing.v1 import AppTest

from fraudstream.dashboard import gate


def used_up(now: list[float]) -> gate.Throttle:
    """A throttle whose common attempts strangers have used up, each from another address."""
    throttle = gate.Throttle(clock=lambda: now[0])
    assert throttle.attempt("reviewer", "secret", "secret") is None
    for guess in range(gate.BURST):
        throttle.attempt(f"stranger {guess}", "x", "secret")
    return throttle


def test_strangers_who_use_up_all_attempts_do_not_keep_out_who_has_been_in_before() -> None:
    """They could, for as long as they liked: the right password was not even looked at. Their own guesses stay slow."""
    now, looked_at = [1000.0], 0
    throttle = used_up(now)
    for guess in range(3600):
        now[0] += 1
        looked_at += throttle.attempt(f"next stranger {guess}", "x", "secret") == 0
        assert throttle.attempt("reviewer", "secret", "secret") is None
    assert looked_at <= 3600 / gate.EVERY


def test_an_address_that_has_been_in_before_still_waits_for_its_own_mistakes() -> None:
    """And takes no attempt from the others with them."""
    now = [1000.0]
    throttle = gate.Throttle(clock=lambda: now[0])
    assert throttle.attempt("reviewer", "secret", "secret") is None
    assert [throttle.attempt("reviewer", "x", "secret") for _ in range(5)] == [0, 0, 0, 2, 2]
    for guess in range(gate.BURST):
        assert throttle.attempt(f"stranger {guess}", "x", "secret") == 0
    assert throttle.attempt("one more", "x", "secret") == gate.EVERY


def test_no_more_addresses_are_remembered_than_the_memory_is_meant_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(gate, "REMEMBERED", 3)
    throttle = gate.Throttle()
    for address in "abcdea":
        throttle.attempt(address, "secret", "secret")
    assert list(throttle._known) == ["d", "e", "a"]


@pytest.mark.parametrize(
    ("waits", "said"),
    [
        (0.0, "Wrong password."),
        (0.01, "Wrong password, or too many attempts. Try again in 1 s."),
        (2.4, "Wrong password, or too many attempts. Try again in 3 s."),
    ],
)
def test_who_has_to_wait_is_told_no_time_that_is_too_short(waits: float, said: str) -> None:
    assert gate.refusal(waits) == said


def pages() -> None:
    """A part that renews itself, without the page around it; then the page, which asks for the password."""
    import streamlit as st

    from fraudstream.dashboard import gate, overview, pipeline, shell

    if "password was" in st.session_state:
        st.session_state[gate.PASSED] = gate.digest(st.session_state.pop("password was"))
    asked, st.session_state["asked"] = st.session_state.get("asked"), True
    if asked:
        st.text("the page")
        gate.ask(shell.settings().dashboard)
    elif st.session_state["part"] == "overview":
        overview._renewed(overview.RANGES["7 days"].length, "hour", money=False, alerts_page=None)
    else:
        pipeline._renewed()


@pytest.mark.parametrize("part", ["overview", "pipeline"])
@pytest.mark.parametrize("password", ["old", "new"])
def test_a_page_that_renews_itself_ends_where_the_password_has_changed(
    monkeypatch: pytest.MonkeyPatch, part: str, password: str
) -> None:
    """It went on to show the stream to whoever knew the old one. The database is away: whoever asks it says so."""
    for name, value in (
        ("DASHBOARD__PASSWORD", "new"),
        ("POSTGRES__HOST", "127.0.0.1"),
        ("POSTGRES__PORT", "9"),
    ):
        monkeypatch.setenv(f"FRAUDSTREAM_{name}", value)
    app = AppTest.from_function(pages)
    app.session_state["part"] = part
    app.session_state["password was"] = password
    app.run()
    assert not app.exception
    shown = "".join(element.proto.body for element in app.get("html"))
    if password == "new":  # noqa: S105
        assert "PostgreSQL is unavailable." in shown
    else:
        assert not shown
        assert app.text[0].value == "the page"
        assert app.text_input[0].label == "Password"


def verdict() -> None:
    """The buttons of a verdict."""
    from types import SimpleNamespace
    from typing import Any, cast

    from fraudstream.dashboard import alerts
    from fraudstream.dashboard.desk import desk
    from fraudstream.settings import PostgresSettings

    case = SimpleNamespace(transaction_id="t1", verdict=None, amount=1.0, currency="USD", user_id="u")
    desk().settle(["t1", "t2"])
    alerts._verdict(PostgresSettings(host="127.0.0.1", port=9), cast("Any", case))


def test_no_verdict_is_taken_from_a_session_whose_password_has_changed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A click is handled before the page asks for the password."""
    monkeypatch.setenv("FRAUDSTREAM_DASHBOARD__PASSWORD", "new")
    app = AppTest.from_function(verdict).run()
    app.session_state[gate.PASSED] = gate.digest("old")
    app.button(key="confirm t1").click().run()
    assert not app.exception
    assert not app.session_state["desk"].said
    app.session_state[gate.PASSED] = gate.digest("new")
    app.button(key="confirm t1").click().run()
    assert "127.0.0.1:9" in app.session_state["desk"].said.words
