"""The password keeps strangers out, and nobody else."""

import pytest

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
