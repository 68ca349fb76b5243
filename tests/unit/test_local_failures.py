"""Logs of services that did not start, as sentences."""

from pathlib import Path

import pytest

from fraudstream.errors import ServiceError
from fraudstream.local import failures


@pytest.mark.parametrize(
    ("log", "kind", "sentence"),
    [
        (
            'FATAL:  could not write lock file "postmaster.pid": No space left on device',
            failures.DiskFull,
            "disk of .* is full",
        ),
        (
            "ERROR Error while writing (java.io.IOException: No space left on device)",
            failures.DiskFull,
            "disk of .* is full",
        ),
        (
            'LOG:  could not bind IPv4 address "127.0.0.1": Address already in use',
            failures.PortTaken,
            "is already in use",
        ),
        (
            "Socket server failed to bind to 127.0.0.1:19092: Address already in use.",
            failures.PortTaken,
            "is already in use",
        ),
        (
            "There is insufficient memory for the Java Runtime Environment to continue.",
            ServiceError,
            "could not allocate enough memory",
        ),
        (
            'FATAL:  could not open file "x": Permission denied',
            ServiceError,
            "is not allowed to use its data",
        ),
        (
            "INFO a\nERROR the reason\n\tat a.b.C(D.java:1)\nINFO z",
            ServiceError,
            "starting: ERROR the reason",
        ),
        ("", ServiceError, "it wrote nothing"),
    ],
)
def test_each_reason_has_its_sentence_and_next_step(
    tmp_path: Path, log: str, kind: type[ServiceError], sentence: str
) -> None:
    error = failures.explain("The service", log, tmp_path / "log", tmp_path / "data")
    assert type(error) is kind
    with pytest.raises(kind, match=sentence):
        raise error
    assert error.hint


def test_a_full_disk_is_named_where_the_log_could_not_say_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failures, "space", lambda _directory: 0)
    error = failures.explain("The service", "", tmp_path / "log", tmp_path / "data")
    assert isinstance(error, failures.DiskFull)


def test_too_little_space_is_said_before_anything_is_made(tmp_path: Path) -> None:
    with pytest.raises(failures.DiskFull, match="MB are needed"):
        failures.require_space(tmp_path / "not" / "yet", 10**18)
    failures.require_space(tmp_path / "not" / "yet", 1)


def test_a_port_that_is_taken_in_the_last_moment_is_tried_again_but_not_for_ever() -> None:
    tries = []

    def launch(succeeds_at: int) -> None:
        tries.append(1)
        if len(tries) < succeeds_at:
            raise failures.PortTaken("taken")

    failures.on_free_port(lambda: launch(3))
    assert len(tries) == 3
    tries.clear()
    with pytest.raises(failures.PortTaken):
        failures.on_free_port(lambda: launch(99))
    assert len(tries) == 3
