"""The figures of model and streams, from decisions that were really stored, and a consumer that is watched."""

import json
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from confluent_kafka import Producer

from forwarder import forwarded
from fraudstream import kafka
from fraudstream.metrics import Standing
from fraudstream.settings import PostgresSettings, Settings
from fraudstream.store import alerts, labels, progress, registry
from fraudstream.store.connection import connect
from fraudstream.store.findings import Finding, findings, streams
from fraudstream.store.glance import glance
from fraudstream.store.health import _REJECTED, MOST_REJECTED, snapshot
from fraudstream.store.pipeline import pipeline
from grafana_panels import queries
from http_get import get, served_at
from model_world import ensemble, packed
from profile_world import decide, messages, store
from samples import decision, message
from waiting import wait_until

Run = Callable[..., "subprocess.CompletedProcess[str]"]

VIEWS = ("alert_reviews", "alert_quality", "alert_rate", "score_drift", "decision_latency")


def now() -> datetime:
    """Asked by each test anew: the views count back from the database's clock, and a run takes longer than they look."""
    return datetime.now(UTC)


def today() -> datetime:
    return now().replace(hour=0, minute=0, second=0, microsecond=0)


def scored(
    name: str, risk: float = 0.1, at: datetime | None = None, ms: float = 12.0, **changes: Any
) -> bytes:
    at = at or now()
    sent_at = (at - timedelta(milliseconds=ms)).isoformat()
    given = {"transaction_id": name, "risk": risk, "scored_at": at.isoformat(), "sent_at": sent_at}
    return decision(**given | changes)


def rows(postgres: PostgresSettings, view: str) -> list[dict[str, Any]]:
    return _answer(postgres, f"select * from shop.{view} order by 1, 2")


def grafana(postgres: PostgresSettings, panel: str) -> list[dict[str, Any]]:
    """What Grafana shows of the last month in the panels with this title."""
    found = [q for q in queries() if q.panel.partition(" ")[2] == panel]
    assert found, panel
    return [row for q in found for row in _answer(postgres, q.expanded(now() - timedelta(days=30), now()))]


def _answer(postgres: PostgresSettings, sql: str) -> list[dict[str, Any]]:
    with connect(postgres) as connection:
        cursor = connection.execute(sql.encode())
        names = [column.name for column in cursor.description or ()]
        return [dict(zip(names, row, strict=True)) for row in cursor]


def test_an_empty_database_has_no_figures_and_no_errors(
    postgres: PostgresSettings, run: Run, environment: dict[str, str]
) -> None:
    assert [rows(postgres, view) for view in VIEWS] == [[]] * len(VIEWS)
    # An image sets the port for the commands that run long: this one still answers and ends.
    done = run("health", "--json", env=environment | {"FRAUDSTREAM_METRICS__PORT": "0"})
    document = json.loads(done.stdout)
    assert (done.returncode, document["ok"]) == (1, False)
    assert [finding["name"] for finding in document["findings"] if not finding["ok"]] == ["model"]
    assert (document["drift"], document["streams"], document["rejected"]) == (None, [], 0)
    assert document["alerts"] == {
        "alerts": 0, "confirmed": 0, "dismissed": 0, "waiting": 0, "label_delay_seconds": None, "precision": None,
        "legitimate_known": False,
    }  # fmt: skip
    assert document["alert_rate"] == {"scores": None, "alerts": 0, "alert_rate": None}


def test_one_alert_and_labels_that_contradict_each_other(postgres: PostgresSettings) -> None:
    """The last word makes the precision, and its time the delay; a label of another transaction makes nothing."""
    decide(postgres, scored("t", risk=0.9, flagged=True, at=now() - timedelta(hours=2)))
    (quality,) = rows(postgres, "alert_quality")
    assert (quality["alerts"], quality["waiting"], quality["precision"]) == (1, 1, None)
    labels.label(postgres, "t", is_fraud=False)
    labels.label(postgres, "stranger", is_fraud=True)
    (quality,) = rows(postgres, "alert_quality")
    assert (quality["confirmed"], quality["dismissed"], quality["waiting"]) == (0, 1, 0)
    assert quality["precision"] == 0
    labels.label(postgres, "t", is_fraud=True)
    found = snapshot(postgres).reviews
    assert (found.confirmed, found.dismissed, found.precision) == (1, 0, None)
    assert found.label_delay_seconds == pytest.approx(7200, abs=600)


def test_health_and_the_view_by_day_say_of_any_labels_what_the_reviews_say_of_each_alert(
    postgres: PostgresSettings,
) -> None:
    """Both are one join, as a lookup for each of a million alerts took longer than `health` may."""
    chance = np.random.default_rng(3)
    names = [f"t{n}" for n in range(60)]
    yesterday = today() - timedelta(days=1)  # today, labels of the next hours would be of the future
    decide(
        postgres,
        *(scored(name, flagged=True, at=yesterday + timedelta(minutes=n)) for n, name in enumerate(names)),
    )
    said = [(str(name), bool(fraud), int(hours)) for name, fraud, hours in zip(
        chance.choice([*names[:40], "stranger"], 150), chance.integers(0, 2, 150), chance.integers(-3, 9, 150), strict=True
    )]  # fmt: skip
    with connect(postgres) as connection, connection.cursor() as cursor:
        cursor.executemany(
            "insert into shop.labels (transaction_id, is_fraud, labelled_at) values (%s, %s, %s)",
            [(name, fraud, yesterday + timedelta(hours=hours)) for name, fraud, hours in said],
        )
    (expected,) = _answer(
        postgres,
        """select count(*) as alerts, count(*) filter (where verdict) as confirmed,
             count(*) filter (where not verdict) as dismissed, count(*) filter (where verdict is null) as waiting,
             percentile_cont(0.5) within group (order by extract(epoch from judged_at - scored_at)::float8)
               filter (where judged_at >= scored_at) as label_delay_seconds from shop.alert_reviews""",
    )
    assert min(expected["confirmed"], expected["dismissed"], expected["waiting"]) > 3
    reviews = snapshot(postgres).reviews
    assert {name: getattr(reviews, name) for name in expected} == expected
    (day,) = rows(postgres, "alert_quality")
    assert {name: day[name] for name in expected} == expected


def precisions(postgres: PostgresSettings) -> list[object]:
    """Of the one day with alerts, wherever it is shown."""
    (quality,) = rows(postgres, "alert_quality")
    shown = [row for row in grafana(postgres, "Precision") if "reviewed" in row or "precision" in row]
    return [
        snapshot(postgres).reviews.precision,
        quality["precision"],
        *(row.get("reviewed", row.get("precision")) for row in shown),
    ]


def test_precision_is_not_claimed_until_somebody_dismisses_something(
    postgres: PostgresSettings, run: Run
) -> None:
    """Chargebacks of 3 of 20 alerts; then a payment that raised no alert is called legitimate, then an alert is dismissed."""
    at = now() - timedelta(days=1)
    decide(postgres, *(scored(f"t{n}", risk=0.9, flagged=True, at=at) for n in range(20)))
    for n in range(3):
        labels.label(postgres, f"t{n}", is_fraud=True)
    assert precisions(postgres) == [None] * 4
    document = json.loads(run("health", "--json").stdout)
    assert document["alerts"]["precision"] is None
    (said,) = (finding["sentence"] for finding in document["findings"] if finding["name"] == "alerts")
    assert said.endswith("Only frauds are labelled, so nothing says how many alerts were false.")
    labels.label(postgres, "quiet", is_fraud=False)
    assert precisions(postgres) == [1.0] * 4
    labels.label(postgres, "t3", is_fraud=False)
    assert precisions(postgres) == [0.75] * 4


def test_the_truth_of_messages_makes_no_precision_where_it_names_only_frauds(
    postgres: PostgresSettings,
) -> None:
    """A replayed file marks its frauds and nothing else; then one payment comes that is marked as legitimate."""
    frauds = [message(transaction_id=f"t{n}", is_fraud=1, timestamp=now().isoformat()) for n in range(3)]
    unmarked = [message(transaction_id="t3", is_fraud=None, timestamp=now().isoformat())]
    store(postgres, [messages(frauds + unmarked)])
    decide(postgres, *(scored(f"t{n}", risk=0.9, flagged=True) for n in range(4)))

    def shown() -> list[object]:
        (figure,) = grafana(postgres, "Precision by the messages")
        (day,) = (row for row in grafana(postgres, "Precision") if "by the messages" in row)
        return [figure["precision"], day["by the messages"]]

    assert shown() == [None, None]
    fine = message(transaction_id="fine", is_fraud=0, timestamp=now().isoformat())
    store(postgres, [messages([fine], first=4)])
    assert shown() == [1.0, 1.0]


def test_the_alert_rate_is_a_view_by_the_transactions_own_time(postgres: PostgresSettings) -> None:
    """Where nothing flagged it is 0, in Grafana as well; where nothing was scored there is none."""
    for title, column in (("Alert rate", "rate"), ("Share of fraud", "share")):
        assert [row[column] for row in grafana(postgres, title) if column in row] == [None]
    yesterday = (today() - timedelta(days=1)).isoformat()
    decide(postgres, *(scored(f"t{n}", timestamp=yesterday) for n in range(4)))
    store(postgres, [messages([message(transaction_id="t0", is_fraud=0, timestamp=yesterday)])])
    for title, column in (("Alert rate", "rate"), ("Share of fraud", "share")):
        assert [row[column] for row in grafana(postgres, title) if column in row] == [0]
    decide(postgres, scored("t4", risk=0.9, flagged=True, timestamp=yesterday), first=4)
    assert rows(postgres, "alert_rate") == [
        {"day": today() - timedelta(days=1), "scores": 5, "alerts": 1, "alert_rate": 0.2}
    ]


def test_a_label_that_confirms_a_verdict_makes_it_no_later(postgres: PostgresSettings) -> None:
    """After a hasty word a reviewer saw the fraud within a day; the chargebacks of that month say the same again."""
    decide(postgres, scored("t", risk=0.9, flagged=True, at=now() - timedelta(days=20)))
    with connect(postgres) as connection:
        for is_fraud, at in ((False, 19.99), (True, 19), (True, 1)):
            connection.execute(
                "insert into shop.labels (transaction_id, is_fraud, labelled_at) values ('t', %s, %s)",
                (is_fraud, now() - timedelta(days=at)),
            )
    (quality,) = rows(postgres, "alert_quality")
    assert quality["label_delay_seconds"] == pytest.approx(86_400, abs=600)
    assert snapshot(postgres).reviews.label_delay_seconds == pytest.approx(86_400, abs=600)
    for panel in ("Time to review", "Label delay"):
        (shown,) = grafana(postgres, panel)
        assert shown["median"] == pytest.approx(86_400, abs=600), panel


def test_history_that_was_labelled_before_it_was_scored_has_no_negative_delay(
    postgres: PostgresSettings,
) -> None:
    """Last year's chargebacks of a file that is replayed today: alerts were reviewed after -365 days."""
    at = now() - timedelta(hours=2)
    decide(postgres, *(scored(f"t{n}", risk=0.9, flagged=True, at=at) for n in range(3)))
    with connect(postgres) as connection:
        connection.execute(
            "insert into shop.labels (transaction_id, is_fraud, labelled_at)"
            " select 't' || n, true, now() - interval '1 year' from generate_series(0, 1) as n"
        )
    panels = ("Time to review", "Label delay")

    def delays() -> list[float | None]:
        (quality,) = rows(postgres, "alert_quality")
        shown = [row["median"] for panel in panels for row in grafana(postgres, panel)]
        return [snapshot(postgres).reviews.label_delay_seconds, quality["label_delay_seconds"], *shown]

    assert set(delays()) == {None}
    (said,) = (finding.sentence for finding in findings(snapshot(postgres)) if finding.name == "alerts")
    assert "reviewed after" not in said
    labels.label(postgres, "t2", is_fraud=True)
    assert delays() == [pytest.approx(7200, abs=600)] * 4


def test_a_day_of_the_views_begins_at_midnight_utc_for_every_reader(postgres: PostgresSettings) -> None:
    """Grafana's session has the server's zone: the same rows were other days than those of `health` and the dashboard."""
    registry.register(postgres, *packed("m-1", ensemble(("amount", 5.0, -1.0, 3.0))))
    late, early = today() - timedelta(hours=1), today() - timedelta(hours=23)
    for n, at in enumerate((late, early)):
        decide(postgres, scored(f"t{n}", 0.9, at, flagged=True, timestamp=at.isoformat()), first=n)
    for zone in ("America/Los_Angeles", "Asia/Tokyo"):
        for view in ("alert_quality", "alert_rate", "score_drift"):
            with connect(postgres) as connection:
                connection.execute(f"set timezone = '{zone}'".encode())
                days = connection.execute(f"select day from shop.{view}".encode()).fetchall()
            assert days == [(today() - timedelta(days=1),)], f"{view} in {zone}"


def test_drift_is_the_stability_index_of_a_day_against_the_reference(postgres: PostgresSettings) -> None:
    """As numpy has it, an empty bin included; a model without a reference has none and hides nobody else's."""
    registry.register(postgres, *packed("m-1", ensemble(("amount", 5.0, -1.0, 3.0))))
    registry.promote(postgres, "m-1")
    registry.register(postgres, *packed("bare", None, score_reference=None))
    risks = [0.1] * 50 + [0.2] * 10 + [0.3] * 30 + [0.9] * 10
    noon = today() - timedelta(days=1, hours=12)
    decide(
        postgres,
        *(scored(f"t{n}", risk, noon) for n, risk in enumerate(risks)),
        *(
            scored(f"other{n}", 0.5, noon, model_version=version)
            for n, version in enumerate(("bare", "gone"))
        ),
    )
    (drift,) = rows(postgres, "score_drift")
    expected, seen = np.array([0.7, 0.1, 0.1, 0.1]), np.array([0.6, 0.3, 1e-4, 0.1])
    assert (drift["model_version"], drift["scores"]) == ("m-1", 100)
    assert drift["psi"] == pytest.approx(float(np.sum((seen - expected) * np.log(seen / expected))))
    assert drift["psi_by_chance"] == pytest.approx(3 * (1 / 100 + 1 / 100))
    found = snapshot(postgres)
    assert found.champion is not None
    assert found.champion.version == "m-1"
    assert found.drift is not None
    assert found.drift.scores == 100


def test_where_nothing_changed_the_index_is_what_chance_makes_it(postgres: PostgresSettings) -> None:
    """Mean over many small days, drawn from the reference itself: the figure that findings compare with."""
    registry.register(postgres, *packed("m-1", None, score_reference={
        "edges": [0.2, 0.4, 0.6], "shares": [0.25, 0.25, 0.25, 0.25], "rows": 1_000_000,
    }))  # fmt: skip
    chance, days = np.random.default_rng(1), 60
    values = [
        scored(f"{day}-{n}", float(risk), today() - timedelta(days=day + 1))
        for day in range(days)
        for n, risk in enumerate(chance.choice([0.1, 0.3, 0.5, 0.7], 200))
    ]
    decide(postgres, *values)
    found = rows(postgres, "score_drift")
    assert len(found) == days
    assert np.mean([row["psi"] for row in found]) == pytest.approx(found[0]["psi_by_chance"], rel=0.35)


def test_latency_percentiles_are_those_of_the_messages_own_times(postgres: PostgresSettings) -> None:
    """To 1 %, as bins of 2 % allow; what came from a file has no latency."""
    minute = now().replace(second=0, microsecond=0) - timedelta(minutes=2)
    latencies = np.random.default_rng(2).lognormal(3, 1, 500)
    decide(
        postgres,
        *(scored(f"t{n}", at=minute, ms=float(ms)) for n, ms in enumerate(latencies)),
        scored("file", at=minute, sent_at=None),
        scored("old", at=now() - timedelta(hours=3)),
    )
    decide(postgres, scored("t0", at=minute, ms=9_999.0), first=600)  # answered twice: the first counts
    (found,) = rows(postgres, "decision_latency")
    assert (found["minute"], found["decisions"]) == (minute, 500)
    for share in (50, 95, 99):
        assert found[f"p{share}_ms"] == pytest.approx(
            float(np.percentile(latencies, share, method="inverted_cdf")), rel=0.011
        )
    overall = snapshot(postgres).latency
    assert overall.decisions == 500
    assert overall.p99_ms == pytest.approx(found["p99_ms"])


def test_messages_that_another_stream_saw_wait_for_one_that_ended(postgres: PostgresSettings) -> None:
    """It stood at the end when it died; the consumer beside it reads the same topic, and knows what came since."""
    progress.record(postgres, "score", Standing("t", {0: 100, 1: 50}, {0: 100, 1: 50}, 9.0))
    progress.record(postgres, "consume", Standing("t", {0: 100, 1: 50}, {0: 100, 1: 50}, 9.0))
    _hours_pass(postgres, "score")
    assert [(s.name, s.runs, s.lag) for s in streams(snapshot(postgres).streams)] == [
        ("consume", True, 0), ("score", False, 0),
    ]  # fmt: skip
    progress.record(postgres, "consume", Standing("t", {0: 160, 1: 50}, {0: 200, 1: 50}, 9.0))
    found = snapshot(postgres)
    said = {finding.name: finding for finding in findings(found)}
    assert said["stream consume"].ok
    assert not said["stream score"].ok
    assert "score on t is not running, and 100 messages are waiting" in said["stream score"].sentence
    assert [(p.stream, p.partition, p.lag) for p in pipeline(postgres).progress] == [
        ("consume", 0, 40), ("consume", 1, 0), ("score", 0, 100), ("score", 1, 0),
    ]  # fmt: skip


def test_a_stream_that_was_killed_has_no_pace(postgres: PostgresSettings) -> None:
    """Its last one stood for as long as nobody started it again."""
    progress.record(postgres, "score", Standing("t", {0: 100}, {0: 100}, 9.0))
    progress.record(postgres, "consume", Standing("t", {0: 100}, {0: 100}, 5.0))
    _hours_pass(postgres, "score")
    assert {p.stream: p.pace for p in pipeline(postgres).progress} == {"consume": 5.0, "score": 0.0}
    assert [tuple(row.values()) for row in grafana(postgres, "Rows per second")] == [
        ("consume", 5.0), ("score", 0.0),
    ]  # fmt: skip


def test_the_end_of_a_topic_that_was_deleted_counts_for_nobody(postgres: PostgresSettings) -> None:
    """The topic was made anew, so what the scorer saw of the one before is no lag of the consumer's."""
    progress.record(postgres, "score", Standing("t", {0: 900}, {0: 1_000}, 9.0))
    _hours_pass(postgres, "score")
    progress.record(postgres, "consume", Standing("t", {0: 30}, {0: 30}, 9.0))
    assert [(s.name, s.lag) for s in streams(snapshot(postgres).streams)] == [("consume", 0), ("score", 30)]


def test_a_topic_made_anew_waits_as_a_whole_for_a_stopped_stream_in_grafana_too(
    postgres: PostgresSettings,
) -> None:
    """`health` said that 30 messages are waiting while Grafana showed 0; a running stream is only ahead of the others."""
    progress.record(postgres, "score", Standing("t", {0: 900}, {0: 1_000}, 9.0))
    progress.record(postgres, "score", Standing("u", {0: 70}, {0: 40}, 9.0))
    _hours_pass(postgres, "score")
    progress.record(postgres, "score", Standing("u", {0: 70}, {0: 40}, 9.0))
    progress.record(postgres, "consume", Standing("t", {0: 20}, {0: 30}, 9.0))
    shown = {row["partition"]: row["lag"] for row in grafana(postgres, "Lag by partition")}
    assert shown == {"consume: t/0": 10, "score: t/0": 30, "score: u/0": 0}
    assert shown == {f"{p.stream}: {p.topic}/{p.partition}": p.lag for p in pipeline(postgres).progress}


def test_a_stream_that_speaks_and_gets_on_nowhere_is_told_until_it_does(postgres: PostgresSettings) -> None:
    """Its driver says every five seconds that it stands at 40 of 2,000; what it waited for before does not count."""

    def says(done: int, end: int) -> Finding:
        progress.record(postgres, "consume", Standing("t", {0: done, 1: 5}, {0: end, 1: 5}, 0.0), 70.0)
        return next(f for f in findings(snapshot(postgres)) if f.name == "stream consume")

    def minutes_pass() -> None:
        with connect(postgres) as connection:
            connection.execute("update shop.stream_progress set moved_at = moved_at - interval '90 s'")

    says(40, 40)
    minutes_pass()
    assert says(40, 40).ok, "with nothing to do it is not stuck"
    assert says(40, 2_000).ok, "messages have only come"
    minutes_pass()
    stuck = says(40, 2_000)
    assert not stuck.ok
    # The database's clock goes on between two statements.
    assert re.search(r"has made no progress for 9\d s, and 1,960 messages are waiting", stuck.sentence)
    assert says(41, 2_000).ok
    minutes_pass()
    _hours_pass(postgres, "consume")
    assert says(41, 2_000).ok, "one that was started again has all its time before it"


def test_streams_are_shown_from_a_database_that_is_not_upgraded_yet(postgres: PostgresSettings) -> None:
    """As a reader of the new version on the tables of the old one, where nobody said when a stream got on."""
    progress.record(postgres, "consume", Standing("t", {0: 40}, {0: 2_000}, 9.0))
    with connect(postgres) as connection:
        connection.execute(
            "alter table shop.stream_progress drop column moved_at, drop column patience_seconds"
        )
    assert [(s.lag, s.stuck) for s in streams(snapshot(postgres).streams)] == [(1_960, False)]


def _hours_pass(postgres: PostgresSettings, stream: str) -> None:
    with connect(postgres) as connection:
        connection.execute(
            "update shop.stream_progress set updated_at = updated_at - interval '2 hours' where stream = %s",
            (stream,),
        )


def test_the_demo_counts_what_was_sent_since_it_began(postgres: PostgresSettings) -> None:
    """Messages that others left in the topic are decided as well, hours late: none of them is the demo's."""
    began = now() - timedelta(minutes=1)
    decide(
        postgres,
        scored("own", risk=0.9, flagged=True, ms=20.0),
        scored("own too", ms=20.0),
        *(scored(f"left{n}", risk=0.9, flagged=True, ms=3_600_000.0) for n in range(5)),
    )
    found = glance(postgres, began)
    assert (found.decisions, found.alerts) == (2, 1)
    assert found.p99_ms == pytest.approx(20.0)
    shown = alerts.alerts(postgres, since=began, sent_since=began)
    assert [alert.transaction_id for alert in shown] == ["own"]


def test_the_demo_counts_no_more_frauds_found_than_there_are(postgres: PostgresSettings) -> None:
    """People have the later word, of frauds that were found and of those that were not."""
    began = now() - timedelta(minutes=1)
    frauds = [message(transaction_id=name, is_fraud=1) for name in ("cleared", "missed")]
    burst = {"is_fraud": 1, "fraud_scenario": "velocity_burst"}
    frauds += [message(transaction_id=name, **burst) for name in ("caught", "quick", "not decided")]
    store(postgres, [messages(frauds)])
    decide(postgres, *(scored(name, risk=0.9, flagged=True) for name in ("caught", "cleared", "called")))
    decide(postgres, *(scored(name) for name in ("missed", "quiet", "reported", "quick")), first=3)
    for name, is_fraud in (("cleared", False), ("called", False), ("called", True), ("reported", True)):
        labels.label(postgres, name, is_fraud=is_fraud)
    found = glance(postgres, began)
    assert (found.right, found.wrong, found.frauds, found.bursts_missed) == (2, 1, 5, 1)


def test_health_is_served_to_prometheus_until_it_is_stopped(
    postgres: PostgresSettings, environment: dict[str, str]
) -> None:
    """The same figures as in --json, and a sentence where something is wrong."""
    decide(postgres, scored("t", risk=0.9, flagged=True))
    labels.label(postgres, "t", is_fraud=True)
    labels.label(postgres, "quiet", is_fraud=False)
    command = [sys.executable, "-m", "fraudstream", "health", "--metrics-port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as process:
        try:
            assert process.stderr is not None
            address = served_at(process.stderr.readline())
            status, text = get(f"{address}/metrics")
            assert status == 200
            assert "fraudstream_alert_precision 1.0" in text.splitlines()
            assert 'fraudstream_recent_alerts{verdict="fraud"} 1.0' in text.splitlines()
            assert "fraudstream_database_up 1.0" in text.splitlines()
            assert get(f"{address}/healthz") == (503, "No model is scoring.\n")
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 130
        finally:
            process.kill()


def test_a_consumer_says_over_http_what_it_stores_and_when_it_cannot(
    settings: Settings, postgres: PostgresSettings, environment: dict[str, str], tmp_path: Path
) -> None:
    """Starting, well, PostgreSQL away and back; then SIGTERM ends it with what it did."""
    topic = settings.kafka.transactions_topic
    kafka.ensure_topic(settings.kafka, topic)
    producer = Producer(kafka.client_config(settings.kafka))

    def send(*values: bytes) -> None:
        for value in values:
            producer.produce(topic, value, key=b"u")
        assert producer.flush(60) == 0

    send(*(message(transaction_id=f"t{n}", is_fraud=int(n == 0)) for n in range(10)), b"hello")
    log, looked = tmp_path / "log", tmp_path / "looked"
    # Spark reads this before it starts: not before somebody has looked.
    (tmp_path / "spark-env.sh").write_text(f"until [ -e '{looked}' ]; do sleep 0.05; done\n")
    with forwarded(settings.postgres.port) as line, log.open("w") as out:
        through = environment | {
            "FRAUDSTREAM_POSTGRES__PORT": str(line.port), "SPARK_CONF_DIR": str(tmp_path),
        }  # fmt: skip
        command = [sys.executable, "-m", "fraudstream", "consume", "--metrics-port", "0"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=out, text=True, env=through) as process:
            try:
                wait_until(lambda: "health at" in log.read_text(), "address")
                address = served_at(
                    next(line for line in log.read_text().splitlines() if "health at" in line)
                )
                assert get(f"{address}/healthz") == (503, "consume is starting.\n")
                looked.touch()

                def metrics() -> list[str]:
                    return get(f"{address}/metrics")[1].splitlines()

                wait_until(
                    lambda: 'fraudstream_rows_stored_total{target="transactions"} 9.0' in metrics(),
                    "rows",
                )
                found = metrics()
                assert 'fraudstream_rows_stored_total{target="fraud"} 1.0' in found
                assert "fraudstream_messages_rejected_total 1.0" in found
                wait_until(lambda: _lag(metrics()) == 0, "lag of 0")
                assert get(f"{address}/healthz") == (200, "consume is healthy; 0 messages are waiting.\n")

                line.cut()
                wait_until(lambda: get(f"{address}/healthz")[0] == 503, "trouble")
                assert "PostgreSQL at 127.0.0.1" in get(f"{address}/healthz")[1]
                line.join()
                send(message(transaction_id="again"))
                wait_until(
                    lambda: 'fraudstream_rows_stored_total{target="transactions"} 10.0' in metrics(),
                    "more",
                )
                wait_until(lambda: get(f"{address}/healthz")[0] == 200, "health")
                process.send_signal(signal.SIGTERM)
                stdout, _ = process.communicate(timeout=120)
                assert process.returncode == 130
            finally:
                process.kill()
    assert "transactions: 10 stored" in stdout
    assert snapshot(postgres).rejected == 1
    with connect(postgres) as connection:
        ends = connection.execute(
            "select sum(next_offset), sum(end_offset) from shop.stream_progress where stream = 'consume'"
        ).fetchall()
    assert ends == [(12, 12)]


def test_a_topic_in_another_format_shows_while_the_scorer_reads_far_ahead(postgres: PostgresSettings) -> None:
    """`score` begins at the end of a backlog, and rejects nothing."""
    with connect(postgres) as connection:
        connection.execute(
            'insert into shop.rejected (topic, topic_id, partition, "offset", reason)'
            " select 'payments', 'id', 0, n, 'user_id: Field required' from generate_series(0, 199) as n"
        )
        connection.execute(
            "insert into shop.stream_offsets (target, topic, topic_id, partition, next_offset, updated_at)"
            " values ('transactions', 'payments', 'id', 0, 200, now()), ('score', 'payments', 'id', 0, 90000, now())"
        )
    (unreadable,) = snapshot(postgres).unreadable
    assert (unreadable.rejected, unreadable.newest, unreadable.is_flood) == (100, 100, True)


def test_millions_of_rejected_messages_do_not_hold_up_the_rest_of_health(postgres: PostgresSettings) -> None:
    """Counting them all took longer than a look may: then PostgreSQL seemed to be away."""
    with connect(postgres) as connection:
        connection.execute(
            'insert into shop.rejected (topic, topic_id, partition, "offset", reason)'
            " select 'payments', 'id', 0, n, 'user_id: Field required' from generate_series(1, 100500) as n"
        )
    assert snapshot(postgres).rejected == 100_001
    with connect(postgres) as connection:
        connection.execute("set enable_seqscan = off")  # of so few rows it is as quick
        plan = connection.execute(f"explain {_REJECTED}".encode(), (MOST_REJECTED + 1,)).fetchall()
        connection.execute("update shop.rejected set replayed_at = now()")
    assert "rejected_rejected_at" in str(plan)
    assert snapshot(postgres).rejected == 0


def _lag(metrics: list[str]) -> float:
    lags = [float(line.rsplit(" ", 1)[1]) for line in metrics if line.startswith("fraudstream_lag_messages{")]
    return sum(lags) if len(lags) == 8 else -1.0  # four partitions of each topic
