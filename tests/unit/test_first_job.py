"""The first job of a session: run, told where it waits, ended where a stop is asked for."""

import threading

import pytest

from fraudstream.spark import first_job
from fraudstream.spark.first_job import run_first_job


def test_a_job_that_waits_is_told_once_and_ended_when_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """As one for which a cluster has no slot."""
    stop, ended, said = threading.Event(), threading.Event(), list[str]()

    def warn(text: str, *values: object) -> None:
        said.append(text % values)
        stop.set()

    def job() -> None:
        ended.wait()
        raise RuntimeError("cancelled")

    monkeypatch.setattr(first_job.log, "warning", warn)
    run_first_job(job, ended.set, stop, patience_seconds=0.0)
    assert len(said) == 1
    assert "FRAUDSTREAM_SPARK__CORES_MAX" in said[0]


def test_what_a_job_raises_is_raised() -> None:
    def job() -> None:
        raise ValueError("a mistake in the rules")

    with pytest.raises(ValueError, match="a mistake in the rules"):
        run_first_job(job, lambda: None, threading.Event())
