"""What the figures of model and streams mean: what is wrong, and what to do."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from fraudstream.cli.health import document
from fraudstream.cli.output import print_document
from fraudstream.dashboard.comparison import _drifted
from fraudstream.store.drift import SCATTER, Drift
from fraudstream.store.figures import figures
from fraudstream.store.findings import Finding, duration, findings, wilson
from fraudstream.store.health import AlertRate, Reviews, Snapshot, Unreadable
from fraudstream.store.pipeline import Progress
from health_snapshots import DAY, NOTHING, WELL

ROOT = Path(__file__).parents[2]
RESTART = "`fraudstream consume`, or `fraudstream consume scores` if it runs on its own"


def of(found: Snapshot, name: str) -> Finding | None:
    return next((finding for finding in findings(found) if finding.name == name), None)


def test_a_system_that_is_well_says_so_in_figures() -> None:
    said = {finding.name: finding.sentence for finding in findings(WELL)}
    assert all(finding.ok and not finding.hint for finding in findings(WELL))
    assert said == {
        "stream consume": "consume on transactions: 50 messages a second, 1 waiting.",
        "latency": "30,000 decisions in 5 minutes: p50 9 ms, p95 20 ms, p99 45 ms.",
        "model": "m1 (isolation_forest), flags risk ≥ 0.710.",
        "alert rate": "520 of 100,000 decisions in the last 24 hours, 0.52%; the budget is 0.50%.",
        "alerts": "500 alerts in the last 30 days, 400 of them not reviewed; of those reviewed 30% were fraud (22% to 40%), reviewed after 2 hours.",
        "drift": "2026-03-01: stability index 0.020 over 100,000 scores: as in training.",
    }


def test_an_empty_database_lacks_a_model_and_nothing_else() -> None:
    assert [(finding.name, finding.ok) for finding in findings(NOTHING)] == [
        ("model", False),
        ("alerts", True),
    ]
    lacking = of(NOTHING, "model")
    assert lacking is not None
    assert "fraudstream train" in lacking.hint


@pytest.mark.parametrize(
    ("stream", "lag", "ok", "words"),
    [
        (
            "consume scores",
            7,
            False,
            "is not running, and 7 messages are waiting. Last heard from 2 hours ago.",
        ),
        ("consume scores", 0, True, "is not running. Last heard from 2 hours ago, with nothing left to do."),
    ],
)
def test_a_stream_that_fell_silent_is_a_matter_where_messages_wait(
    stream: str, lag: int, ok: bool, words: str
) -> None:
    silent = [Progress(stream, "topic", 0, 10, 10 + lag, 50.0, DAY, 7200.0)]
    found = of(replace(WELL, streams=silent), f"stream {stream}")
    assert found is not None
    assert found.ok is ok
    assert words in found.sentence
    assert ("`fraudstream consume scores`" in found.hint) is not ok


@pytest.mark.parametrize(
    ("still", "patience", "lag", "stuck"),
    [(95.0, 90.0, 7, True), (85.0, 90.0, 7, False), (95.0, 90.0, 0, False), (None, None, 7, False)],
)
def test_a_stream_that_speaks_and_gets_on_nowhere_is_stuck(
    still: float | None, patience: float | None, lag: int, *, stuck: bool
) -> None:
    """It says every five seconds where it stands; another partition that has nothing to do is no excuse."""
    speaks = [
        Progress("consume scores", "topic", 0, 10, 10 + lag, 0.0, DAY, 3.0, still, patience),
        Progress("consume scores", "topic", 1, 10, 10, 0.0, DAY, 3.0, 2.0, 90.0),
    ]
    found = of(replace(WELL, streams=speaks), "stream consume scores")
    assert found is not None
    assert found.ok is not stuck
    if stuck:
        assert "has made no progress for 95 s, and 7 messages are waiting" in found.sentence
        assert "logs/spark-consume.log" in found.hint
        assert RESTART in found.hint


def test_a_hint_starts_no_second_process_beside_the_one_that_runs_a_stream() -> None:
    """`consume` runs the stream `consume scores` as well; every other one has a command of its own."""
    for name, command in (
        ("consume scores", RESTART),
        ("consume", "it: `fraudstream consume`."),
        ("consume fraud", "it: `fraudstream consume fraud`."),
        ("score", "it: `fraudstream score`."),
    ):
        for age in (3.0, 7200.0):  # stuck, and ended
            progress = Progress(name, "topic", 0, 10, 17, 50.0, DAY, age, 95.0, 90.0)
            found = of(replace(WELL, streams=[progress]), f"stream {name}")
            assert found is not None
            assert command in found.hint


def test_a_conversion_is_restarted_with_the_topic_that_it_reads() -> None:
    """It has no log of Spark's, and the name of the stream alone is no command."""
    for age in (7200.0, 3.0):
        progress = Progress("convert", "payments", 0, 10, 17, 50.0, DAY, age, 95.0, 90.0)
        found = of(replace(WELL, streams=[progress]), "stream convert")
        assert found is not None
        assert "`fraudstream convert payments` with its options" in found.hint
        assert "spark-" not in found.hint


def test_a_stream_that_does_not_run_has_no_pace() -> None:
    """What it wrote down last is the pace of back then."""
    two = [
        Progress(name, "topic", 0, 1, 1, 50.0, DAY, age)
        for name, age in (("consume", 3.0), ("score", 7200.0))
    ]
    paces = {
        figure.labels["stream"]: figure.value
        for figure in figures(replace(WELL, streams=two))
        if figure.name == "messages_per_second"
    }
    assert paces == {"consume": 50.0, "score": 0.0}


def test_a_topic_that_was_made_anew_waits_whole_for_a_stream_that_ended() -> None:
    """Its offsets begin at zero again, below where the stream stood; one that runs is merely ahead of what was seen."""
    ended, running = (Progress("score", "topic", 0, 1_000, 40, 0.0, DAY, age) for age in (7200.0, 3.0))
    assert (ended.lag, running.lag) == (40, 0)


@pytest.mark.parametrize(
    ("scores", "alerts", "ok"),
    [
        (100_000, 1_400, False),
        (100_000, 1_050, True),  # twice the budget and a bit is not far more
        (100, 2, True),  # four times the budget, by chance
        (100_000, 0, False),
        (1_000, 0, True),
        (None, 0, None),
        (0, 0, None),
    ],
)
def test_far_more_alerts_than_the_budget_or_none_at_all_is_a_matter(
    scores: int | None, alerts: int, ok: bool | None
) -> None:
    found = of(replace(WELL, pace=AlertRate(scores, alerts)), "alert rate")
    assert (found.ok if found else None) is ok


@pytest.mark.parametrize(
    ("psi", "by_chance", "ok", "words"),
    [
        (0.05, 0.001, True, "as in training"),
        (0.15, 0.001, True, "shifted a little"),
        (0.40, 0.001, False, "no longer as in training"),
        (0.40, 0.2, True, "as in training"),  # few scores scatter
        (0.30, 0.09, False, "no longer as in training"),  # beyond scatter, it counts whole
    ],
)
def test_drift_is_told_from_the_scatter_of_few_scores(
    psi: float, by_chance: float, ok: bool, words: str
) -> None:
    found = of(replace(WELL, drift=Drift(DAY, 100, psi, by_chance)), "drift")
    assert found is not None
    assert found.ok is ok
    assert words in found.sentence
    said_on_the_page = {
        "as in training": "no drift",
        "shifted a little": "some drift",
        "no longer as in training": "strong drift",
    }
    assert said_on_the_page[words] in _drifted(Drift(DAY, 100, psi, by_chance))


def test_grafana_shows_as_drift_what_health_takes_for_drift() -> None:
    """Three places had three rules: what one called another world was nothing to the next."""
    panels = (ROOT / "grafana/dashboards/alerts.json").read_text(encoding="utf-8")
    assert f"psi > {SCATTER:g} * coalesce(psi_by_chance, 0)" in panels


def test_no_precision_is_claimed_where_only_frauds_are_labelled() -> None:
    """A shop reads its chargebacks: 3 of 1,000 alerts are labelled. One whose reviewers also dismiss keeps its 100 %."""
    chargebacks = Reviews(
        3, 0, legitimate_known=False, alerts=1_000, waiting=997, label_delay_seconds=86_400.0 * 30
    )
    found = of(replace(WELL, reviews=chargebacks), "alerts")
    assert found is not None
    assert found.sentence == (
        "1,000 alerts in the last 30 days, 997 of them not reviewed; 3 confirmed as fraud, reviewed after 30 days."
        " Only frauds are labelled, so nothing says how many alerts were false."
    )
    names = {figure.name for figure in figures(replace(WELL, reviews=chargebacks))}
    assert "alert_precision" not in names
    assert "recent_alerts" in names
    good = replace(chargebacks, legitimate_known=True)
    assert (chargebacks.precision, good.precision) == (None, 1.0)
    of_good = of(replace(WELL, reviews=good), "alerts")
    assert of_good is not None
    assert "of those reviewed 100% were fraud" in of_good.sentence


def test_messages_that_could_not_be_read_are_named_with_what_to_do() -> None:
    found = of(replace(WELL, rejected=3), "rejected")
    assert found is not None
    assert found.ok
    assert "fraudstream rejected replay" in found.hint


def test_a_topic_in_another_format_is_a_matter_and_a_bad_message_among_good_ones_is_none() -> None:
    """Offsets move on and nothing waits: nobody else would notice."""
    why = "user_id: Field required"
    for rejected, newest, ok in ((400, 400, False), (200, 400, False), (199, 400, True), (9, 9, True)):
        topics = [
            Unreadable("payments", newest, rejected, why),
            Unreadable("transactions-scored", 400, 1, ""),
        ]
        found = of(replace(WELL, rejected=1_000, unreadable=topics), "rejected")
        assert found is not None
        assert found.ok is ok
        assert found.sentence.startswith("1,000 messages could not be read")
        if not ok:
            assert f"{rejected} of the newest {newest} of payments ({why})" in found.sentence
            assert "scored" not in found.sentence
            assert "docs/transaction.schema.json" in found.hint


def test_a_flood_of_rejected_messages_is_not_counted_to_its_end() -> None:
    found = of(replace(WELL, rejected=100_001), "rejected")
    assert found is not None
    assert found.sentence == "More than 100,000 messages could not be read."


def test_an_interval_holds_the_share_and_stays_between_0_and_1() -> None:
    """Wilson's, as in Newcombe (1998), table I: 81 of 263, and 0 of 20."""
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=1e-4)
    assert wilson(0, 20) == pytest.approx((0.0, 0.1611), abs=1e-4)


def test_a_time_span_is_said_in_the_unit_that_fits() -> None:
    assert [duration(s) for s in (5, 119, 120, 7200, 200_000)] == [
        "5 s", "119 s", "2 minutes", "2 hours", "2 days",
    ]  # fmt: skip
    assert [duration(s, short=True) for s in (-0.3, 5, 5400, 7200)] == ["0 s", "5 s", "90 min", "2 h"]


def test_every_instant_of_a_document_is_iso_8601(capsys: pytest.CaptureFixture[str]) -> None:
    """As `alerts list --json` has them, so that a script reads one form only."""
    print_document(document(WELL, findings(WELL)) | {"day": DAY.date()})
    printed = json.loads(capsys.readouterr().out)
    assert (printed["drift"]["day"], printed["day"]) == ("2026-03-01T00:00:00+00:00", "2026-03-01")
