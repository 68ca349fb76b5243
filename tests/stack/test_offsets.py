"""Where streams stand is written down, or the loss of the database is said as what it is."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from fraudstream.errors import DatabaseUnreachable
from fraudstream.kafka import Topic
from fraudstream.metrics import Standing
from fraudstream.settings import PostgresSettings, Settings
from fraudstream.spark.scorer import warn_of_hindsight
from fraudstream.store import offsets, progress
from fraudstream.store.connection import connect

pytestmark = pytest.mark.usefixtures("postgres")

TOPIC = Topic("t", "id", (0,))
DIES_AS_IT_COMMITS = """
create function shop.die() returns trigger language plpgsql as
  'begin perform pg_terminate_backend(pg_backend_pid()); return null; end';
create constraint trigger die after insert on shop.{} deferrable initially deferred
  for each row execute function shop.die()"""


def _reach(postgres: PostgresSettings) -> None:
    offsets.reach(postgres, "score", TOPIC, {0: 1})


def _record(postgres: PostgresSettings) -> None:
    progress.record(postgres, "score", Standing("t", {0: 1}, {0: 1}, 0.0))


@pytest.mark.parametrize(("table", "write"), [("stream_offsets", _reach), ("stream_progress", _record)])
def test_a_database_that_goes_away_at_the_commit_is_waited_for_and_no_defect(
    settings: Settings, table: str, write: Callable[[PostgresSettings], None]
) -> None:
    """An error of the driver would end the stream; one of ours is a reason to try again."""
    with connect(settings.postgres) as connection:
        for statement in DIES_AS_IT_COMMITS.format(table).split(";\n"):
            connection.execute(statement.encode())
    with pytest.raises(DatabaseUnreachable):
        write(settings.postgres)


def test_how_far_a_scorer_has_answered_is_never_taken_back(settings: Settings) -> None:
    """A relay that ends late knows less than the one after it wrote down: its messages would be decided again."""
    two = Topic("t", "id", (0, 1))
    for reached in ({0: 9, 1: 3}, {0: 5, 1: 4}, {1: 4}):
        offsets.reach(settings.postgres, "score", two, reached)
    assert offsets.stored(settings.postgres, ["score"], two) == {("score", 0): 9, ("score", 1): 4}


def test_a_gap_is_passed_only_from_where_the_target_was_seen(settings: Settings) -> None:
    """A database that was taken back since, or another consumer that got further, keeps its own place."""
    offsets.begin(settings.postgres, ["fraud", "scores", "transactions"], TOPIC, {0: 7})
    seen = {"fraud": 7, "scores": 9, "transactions": 5}
    assert offsets.pass_gap(settings.postgres, TOPIC, 0, seen, 8) == ["fraud"]
    assert offsets.pass_gap(settings.postgres, TOPIC, 0, {"fraud": 8}, 8) == []
    found = offsets.begin(settings.postgres, [*seen], TOPIC, {0: 0})
    assert found == {("fraud", 0): 8, ("scores", 0): 7, ("transactions", 0): 7}


def test_a_scorer_that_comes_after_the_profiles_says_how_many_decisions_that_concerns(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    """A device is not new to a profile that has seen the payment; without a word such decisions look like others."""
    topic = Topic("t", "id", (0, 1, 2))
    offsets.begin(settings.postgres, ["profiles"], topic, {0: 1_500, 1: 40})
    offsets.begin(
        settings.postgres, ["profiles"], replace(topic, topic_id="another of this name"), {0: 9_000}
    )
    warn_of_hindsight(settings.postgres, topic, {0: 200, 1: 50, 2: 0})
    assert "1,300 of the messages to be scored first were stored before they could be scored" in caplog.text
    caplog.clear()
    warn_of_hindsight(settings.postgres, topic, {0: 1_500, 1: 50, 2: 0})
    assert not caplog.text
