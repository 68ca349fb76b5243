"""A PostgreSQL that takes the scorer's questions and never answers, and one that answers slowly."""

import logging
import select
import threading
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest

from false_postgres import WELCOME, FalsePostgres, false_postgres
from fraudstream.kafka import Topic
from fraudstream.metrics import Standing
from fraudstream.settings import PostgresSettings
from fraudstream.spark import keeper as module
from fraudstream.spark.keeper import Keeper
from fraudstream.store import copy, offsets, progress, registry, snapshot
from fraudstream.store.connection import connect
from waiting import wait_until

TOPIC = Topic("t", "id", (0,))


def postgres_at(false: FalsePostgres) -> PostgresSettings:
    """How to reach it."""
    return PostgresSettings(host="127.0.0.1", port=false.port, sslmode=cast("Any", "disable"))


def stands(keeper: Keeper) -> None:
    """The stream says where it stands, as every few seconds."""
    keeper.save(TOPIC, Standing("t", {0: 5}, {0: 5}, 0.0))


def is_away(keeper: Keeper) -> bool:
    """What the stream is told then."""
    stands(keeper)
    return keeper.is_away


@pytest.fixture
def false() -> Iterator[FalsePostgres]:
    """A server that hangs, as on a disk that stalls: its own timeouts stand still with it."""
    with false_postgres(WELCOME, hangs=True) as found:
        yield found


@pytest.fixture
def keeper(false: FalsePostgres, monkeypatch: pytest.MonkeyPatch) -> Iterator[Keeper]:
    """One that had its first profiles before the server hung, and half a second of patience."""
    monkeypatch.setattr(module, "CHAMPION_SECONDS", 0.3)
    monkeypatch.setattr(module, "_CLOSING_SECONDS", 0.0)
    monkeypatch.setattr(Keeper, "_compare", lambda *_: None)
    scoring = SimpleNamespace(
        model=SimpleNamespace(version="m"),
        lookup=None,
        reads={},
        profiles=lambda _, taken_at: SimpleNamespace(taken_at=taken_at, rows=0),
    )
    with monkeypatch.context() as at_first:
        at_first.setattr(snapshot, "profiles", lambda *_: None)
        made = Keeper(postgres_at(false), lambda _: cast("Any", scoring), cast("Any", scoring.model), 0.5)
    yield made
    made.close()


@pytest.mark.parametrize("question", [stands, Keeper.ask], ids=["writing", "reading"])
def test_a_database_that_hangs_is_said_to_be_away_and_asked_again(
    question: Callable[[Keeper], None],
    false: FalsePostgres,
    keeper: Keeper,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Its call never returned: no query took over any more, no model was promoted, and `score` called itself healthy."""
    monkeypatch.setattr(module, "SILENCE_SECONDS", 1.5)
    question(keeper)
    wait_until(lambda: b"BEGIN" in false.heard, "question")
    keeper.ask()
    assert (keeper.is_asked, keeper.is_away) == (True, False), "not before its patience ends"
    wait_until(lambda: is_away(keeper), "the end of its patience")
    wait_until(
        lambda: not keeper.is_asked,
        "word that the next query may take over, with the profiles that are there",
    )
    assert false.heard.count(b"BEGIN") == 1
    stands(keeper)
    wait_until(lambda: is_away(keeper) and false.heard.count(b"BEGIN") == 2, "a second question")
    assert keeper.is_away
    (said,) = [record.message for record in caplog.records if record.levelno == logging.WARNING]
    assert said.startswith("PostgreSQL has not answered for ")
    assert "Scoring continues with the profiles of " in said


def test_a_database_that_hangs_is_given_up_for_the_scorers_own_questions_only(
    false: FalsePostgres, keeper: Keeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a demo, a consumer that works shares the process."""
    monkeypatch.setattr(module, "SILENCE_SECONDS", 0.5)
    with false_postgres(WELCOME) as other, connect(postgres_at(other)) as another:
        keeper.ask()
        wait_until(lambda: is_away(keeper) and false.heard.count(b"BEGIN") == 2, "a second question")
        assert not select.select([another.fileno()], [], [], 0)[0], "its connection was ended"


def test_profiles_that_take_long_to_come_are_not_given_up(
    keeper: Keeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Millions of them, on a slow machine: as long as some arrive, PostgreSQL answers."""
    monkeypatch.setattr(module, "SILENCE_SECONDS", 0.5)
    monkeypatch.setattr(registry, "champion", lambda _: None)
    monkeypatch.setattr(offsets, "reach", lambda *_: None)
    monkeypatch.setattr(progress, "record", lambda *_: None)
    before, pause = keeper.basis, threading.Event()

    def read(_postgres: object, _wanted: object, heard: Callable[[], None]) -> None:
        for _ in range(20):
            heard()
            pause.wait(0.1)
            assert not is_away(keeper)

    monkeypatch.setattr(snapshot, "profiles", read)
    keeper.ask()
    wait_until(lambda: not keeper.is_asked, "profiles")
    assert keeper.basis is not before


def test_each_block_of_rows_that_arrives_is_a_sign_of_life() -> None:
    rows, heard = iter([b"1,a\n", b"2,b\n", b""]), list[None]()
    text = copy._Text(cast("Any", SimpleNamespace(read=lambda: next(rows))), lambda: heard.append(None))
    assert text.read(100) == b"1,a\n2,b\n"
    assert heard
