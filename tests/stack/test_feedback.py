"""Alerts and what people say of them, from the program's commands to the profiles and the training."""

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from queue import Queue
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from commands import answered, printed
from documents import lacking
from forwarder import forwarded
from fraudstream.errors import InputError
from fraudstream.features.training import view
from fraudstream.model.dataset import dataset
from fraudstream.settings import PostgresSettings, Settings
from fraudstream.store import alerts, label_files, label_folding, labels, registry
from fraudstream.store.connection import connect
from fraudstream.store.explanation import explain
from fraudstream.store.label_files import Imported
from fraudstream.store.label_folding import Known, fold_known
from fraudstream.store.training_rows import transactions
from model_world import ensemble, packed
from profile_world import START, decide, messages, store
from samples import decision, message

Run = Callable[..., "subprocess.CompletedProcess[str]"]

TREES = ensemble(("amount_to_user_mean", 5.0, -1.0, 3.0))


def alert(name: str, **changes: Any) -> bytes:
    """A decision that flagged."""
    amount = changes.get("amount", 3204.0)
    features = {"amount_to_user_mean": 41.0}
    given = {"risk": 0.9, "flagged": True, "amount": amount, "features": features, "currency": "EUR"}
    return decision(transaction_id=name, **given | changes)


def at(seconds: float) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()


def said(postgres: PostgresSettings, name: str) -> list[tuple[bool, str | None, str | None]]:
    return [(label.is_fraud, label.labelled_by, label.note) for label in labels.said(postgres, name)]


def test_alerts_are_listed_the_newest_first_and_narrowed(
    postgres: PostgresSettings, run: Run, call: Run
) -> None:
    """The real program: filters, JSON, and a verdict that takes an alert out of the queue."""
    registry.register(postgres, *packed("m-1", TREES))
    decide(
        postgres,
        decision(transaction_id="quiet", scored_at=at(-10)),
        alert("old", scored_at=at(-7200), user_id="ann"),
        alert("weak", scored_at=at(-20), risk=0.6),
        alert("new", scored_at=at(-10), user_id="ann"),
    )

    def listed(*options: str) -> list[str]:
        found = answered(call("alerts", "list", "--json", *options))
        return [alert["transaction_id"] for alert in found["alerts"]]

    assert listed() == ["new", "weak", "old"]
    assert listed("--limit", "1") == ["new"]
    assert listed("--since", "1h", "--min-risk", "0.7") == ["new"]
    printed(call("label", "new", "--legit", "--by", "bob"))
    assert listed("--user", "ann", "--unreviewed") == ["old"]
    shortest = answered(run("alerts", "list", "--json", "--limit", "1"))
    assert lacking("alerts list", shortest) == []
    (first,) = shortest["alerts"]
    assert (first["verdict"], first["reviewed_by"]) == (False, "bob")
    assert "41 times this customer's usual" in first["reasons"][0]["sentence"]
    text = printed(call("alerts", "list"))
    assert "41 times this customer's usual" in text
    assert "Shown: 3, of which 2 not reviewed." in text


def test_a_list_begins_with_the_newest_and_ends_at_its_limit(postgres: PostgresSettings) -> None:
    """Alerts of one instant stand in one order always."""
    decide(postgres, *(alert(f"t{n}", scored_at=at(-60 - n // 2)) for n in range(5)))
    found = alerts.alerts(postgres, limit=4)
    assert [one.transaction_id for one in found] == ["t1", "t0", "t3", "t2"]


def test_a_transaction_is_explained_whatever_is_known_of_it(postgres: PostgresSettings, call: Run) -> None:
    """Flagged, with the customer's history around it and what people said; scored; only stored; unknown."""
    registry.register(postgres, *packed("m-1", TREES))
    minutes = {"before": -90, "it": 0, "after": 30, "long ago": -40 * 1440, "much later": 8 * 1440}
    stored = [
        message(
            transaction_id=name,
            user_id="u",
            amount=20.0,
            timestamp=(START + timedelta(minutes=m)).isoformat(),
        )
        for name, m in minutes.items()
    ]
    fraud = message(
        transaction_id="after too", user_id="u", timestamp=(START + timedelta(hours=1)).isoformat()
    )
    stored += [
        fraud.replace(b'"is_fraud": 0', b'"is_fraud": 1'),
        message(transaction_id="other", user_id="v"),
    ]
    store(postgres, [messages(stored)])
    decide(
        postgres,
        alert("it", user_id="u", timestamp=START.isoformat()),
        decision(transaction_id="before", user_id="u"),
        alert("ahead", user_id="u", timestamp=START.isoformat()),
    )
    labels.label(postgres, "before", is_fraud=False, by="bob")

    flagged = answered(call("alerts", "explain", "it", "--json"))
    assert lacking("alerts explain", flagged) == []
    assert [past["transaction_id"] for past in flagged["history"]] == ["before", "it", "after", "after too"]
    assert [past["verdict"] for past in flagged["history"]] == [False, None, None, None]
    assert [past["flagged"] for past in flagged["history"]] == [False, True, False, False]
    assert (flagged["flagged"], flagged["stored"], flagged["threshold"]) == (True, True, 0.5)
    assert flagged["reasons"][0]["feature"] == "amount_to_user_mean"
    assert "Nobody has reviewed it yet." in printed(call("alerts", "explain", "it"))

    assert explain(postgres, "ahead").transaction is None
    scored = explain(postgres, "before")
    assert (scored.alert, scored.decision) == (None, scored.score)
    assert [label.labelled_by for label in scored.labels] == ["bob"]
    assert explain(postgres, "other").decision is None
    unknown = call("alerts", "explain", "nowhere", "--json")
    assert unknown.returncode == 1
    assert "neither stored nor scored" in json.loads(unknown.stdout)["error"]["message"]


def test_an_explanation_names_payments_that_the_profile_had_not_seen(
    postgres: PostgresSettings, call: Run
) -> None:
    """Profiles are some seconds behind: what the decision did not remember is counted, further back than it is shown."""
    registry.register(postgres, *packed("m-1", ensemble(("user_device_share", 0.1, 3.0, -1.0))))
    times = [(START - timedelta(minutes=m)).isoformat() for m in range(12)]
    same = {"user_id": "u", "device": "iPhone 15"}
    store(
        postgres,
        [messages([message(transaction_id=f"t{n}", timestamp=t, **same) for n, t in enumerate(times)])],
    )
    features = {"user_device_share": 0.5 / 19, "user_count_30d": 18.0}
    decide(postgres, alert("t0", timestamp=times[0], features=features, **same))
    known = (
        "Known since: 11 earlier payments from device iPhone 15 in the 11 minutes before,"
        " which the profile did not include when the decision was made."
    )
    found = explain(postgres, "t0")
    assert found.alert is not None
    assert [reason["sentence"] for reason in found.alert.reasons] == [
        "no payment from device iPhone 15 among this customer's 18 recent payments on record"
    ]
    assert (found.hindsight, len(found.history)) == ([known], 8)
    assert known in " ".join(printed(call("alerts", "explain", "t0")).split())
    assert answered(call("alerts", "explain", "t0", "--json"))["hindsight"] == [known]


def test_the_latest_of_contradicting_labels_counts_and_all_are_kept(
    postgres: PostgresSettings, call: Run
) -> None:
    decide(postgres, alert("t"))
    printed(call("label", "t", "--fraud", "--note", "card stolen"))
    answer = answered(call("label", "t", "--legit", "--by", "bob", "--json"))
    assert answer["before"]["is_fraud"] is True
    assert (answer["flagged"], answer["stored"]) == (True, False)
    assert [(verdict, note) for verdict, _, note in said(postgres, "t")] == [
        (True, "card stolen"),
        (False, None),
    ]
    found = alerts.alert(postgres, "t")
    assert found is not None
    assert (found.verdict, found.reviewed_by) == (False, "bob")
    assert "This transaction is not stored yet" in printed(call("label", "typo", "--fraud"))


@pytest.mark.parametrize(
    "arguments",
    [
        (), ("t",), ("t", "--from", "x.csv"), ("--from", "x.csv", "--fraud"), ("t", "--fraud", "--map", "a=note"),
    ],
    ids=" ".join,
)  # fmt: skip
def test_a_command_line_that_says_too_little_or_too_much_is_wrong_use(
    call: Run, arguments: tuple[str, ...]
) -> None:
    assert call("label", *arguments).returncode == 2


LABELS: dict[str, list[Any]] = {
    "transaction_id": ["a", "b", "later", "a", "bad"],
    "is_fraud": [1, 0, 1, 0, 7],
    "labelled_at": ["2026-01-02T00:00:00Z", "2026-01-02T00:00:00Z", None, "2026-01-03T00:00:00Z", None],
    "note": ["", "holiday", None, None, None],
}


def csv(path: Path, columns: Mapping[str, list[Any]]) -> None:
    rows = zip(*columns.values(), strict=True)
    lines = [
        ",".join(columns),
        *(",".join("" if cell is None else str(cell) for cell in row) for row in rows),
    ]
    path.write_text("\n".join(lines))


def parquet(path: Path, columns: Mapping[str, list[Any]]) -> None:
    pq.write_table(pa.table(dict(columns)), path)


def ndjson(path: Path, columns: Mapping[str, list[Any]]) -> None:
    rows = zip(*columns.values(), strict=True)
    path.write_text("\n".join(json.dumps(dict(zip(columns, row, strict=True))) for row in rows))


@pytest.mark.parametrize(("kind", "write"), [("csv", csv), ("parquet", parquet), ("ndjson", ndjson)])
def test_a_file_of_labels_is_taken_once_whatever_is_said_in_between(
    postgres: PostgresSettings,
    tmp_path: Path,
    kind: str,
    write: Callable[[Path, Mapping[str, list[Any]]], None],
) -> None:
    """Rows that are none are counted and named; ids that are not stored are kept, and said."""
    store(postgres, [messages([message(transaction_id=name) for name in ("a", "b")])])
    path = tmp_path / f"labels.{kind}"
    write(path, LABELS)
    done = label_files.labels_from_file(postgres, path, {}, "ann")
    assert (done.read, done.added, done.present, done.unknown) == (5, 4, 0, 1)
    assert done.rejects.first == [(5, "is_fraud: not 0 or 1, true or false, yes or no")]
    assert said(postgres, "a") == [(True, "ann", None), (False, "ann", None)]
    assert said(postgres, "b") == [(False, "ann", "holiday")]

    labels.label(postgres, "later", is_fraud=False, by="ann")
    again = label_files.labels_from_file(postgres, path, {}, "bob")
    assert (again.added, again.present, again.unknown) == (0, 4, 1)
    assert again.read_before is not None
    assert said(postgres, "later") == [(True, "ann", None), (False, "ann", None)]


def test_a_label_that_lay_in_the_future_is_taken_when_its_time_has_come(
    postgres: PostgresSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once, and without overturning what was said since of the file's other rows."""
    path = tmp_path / "labels.csv"
    path.write_text(f"transaction_id,is_fraud,labelled_at\na,1,\nb,1,{at(-3600)}\nc,1,{at(120)}\n")
    with monkeypatch.context() as two_hours_ago:
        two_hours_ago.setattr(label_files, "SKEW", timedelta(hours=-2))
        done = label_files.labels_from_file(postgres, path, {}, "ann")
    with connect(postgres) as connection:
        connection.execute("update shop.label_files set read_at = read_at - interval '2 hours'")
    assert (done.added, done.rejects.count) == (1, 2)
    assert "is in the future" in done.rejects.first[0][1]
    labels.label(postgres, "a", is_fraud=False, by="ann")
    for added, present in ((1, 1), (0, 2)):
        again = label_files.labels_from_file(postgres, path, {}, "ann")
        assert (again.added, again.present, again.rejects.count) == (added, present, 1)
    assert said(postgres, "a")[-1] == (False, "ann", None)
    assert said(postgres, "b") == [(True, "ann", None)]


def test_an_export_that_grows_adds_what_is_new_and_overturns_nobody(
    postgres: PostgresSettings, tmp_path: Path
) -> None:
    """Without times a row is news where the same person did not say it last; with a time where nobody said it then."""

    def read(name: str, text: str, by: str = "batch") -> tuple[int, int]:
        path = tmp_path / f"{name}.csv"
        path.write_text(text)
        done = label_files.labels_from_file(postgres, path, {}, by)
        return done.added, done.present

    assert read("monday", "transaction_id,is_fraud\na,1\n") == (1, 0)
    labels.label(postgres, "a", is_fraud=False, by="ann")
    assert read("tuesday", "transaction_id,is_fraud\na,1\nb,0\n") == (1, 1)
    assert said(postgres, "a")[-1] == (False, "ann", None)
    assert read("wednesday", "transaction_id,is_fraud\na,0\nb,0\n") == (1, 1)
    assert read("thursday", "transaction_id,is_fraud\na,1\nb,0\nz,0\n") == (2, 1)
    assert said(postgres, "a")[-1] == (True, "batch", None)
    # Within one file the last word without a time counts, and the same word twice is one.
    assert read("friday", "transaction_id,is_fraud\nc,1\nc,0\nc,0\n") == (1, 2)
    assert said(postgres, "c") == [(False, "batch", None)]
    timed = "transaction_id,is_fraud,labelled_at\nd,1,2026-01-01\nd,1,2026-01-02\n"
    assert read("timed", timed) == (2, 0)
    assert read("timed and more", f"{timed}d,0,2026-01-03\n") == (1, 2)


def test_a_stray_quote_in_a_file_of_labels_costs_its_own_row(
    postgres: PostgresSettings, tmp_path: Path, call: Run
) -> None:
    """Though all rows after it would make one good note."""
    rows = ["a,1,", "b,0,holiday", 'c,1,"two\nlines"', 'd,1,"x', "e,1,", "f,0,"]
    (tmp_path / "labels.csv").write_text("\n".join(["transaction_id,is_fraud,note", *rows]), encoding="utf-8")
    report = answered(call("label", "--from", str(tmp_path / "labels.csv"), "--by", "ann", "--json"))
    assert (report["read"], report["added"], report["rejected"]) == (6, 5, 1)
    assert report["rejected_rows"][0]["row"] == 4
    assert "a quote is not closed in this line" in report["rejected_rows"][0]["reason"]
    assert said(postgres, "c") == [(True, "ann", "two\nlines")]
    assert (said(postgres, "d"), said(postgres, "f")) == ([], [(False, "ann", None)])


def test_a_file_of_which_nothing_is_a_label_leaves_nothing_behind(
    postgres: PostgresSettings, tmp_path: Path
) -> None:
    path = tmp_path / "labels.csv"
    for text, words in (
        ("transaction_id,is_fraud\nx,9\ny,\n", "None of the 2 rows .* row 1, is_fraud: not 0 or 1"),
        ("transaction_id,is_fraud\n", "has no rows"),
        ("id,is_fraud\nx,1\n", "lacks transaction_id"),
    ):
        path.write_text(text)
        with pytest.raises(InputError, match=words):
            label_files.labels_from_file(postgres, path, {}, "ann")
    with pytest.raises(InputError, match="has no column trans"):
        label_files.labels_from_file(postgres, path, {"transaction_id": "trans"}, "ann")
    with pytest.raises(InputError, match="cannot be read"):
        label_files.labels_from_file(postgres, tmp_path / "gone.csv", {}, "ann")
    done = label_files.labels_from_file(postgres, path, {"transaction_id": "id"}, "ann")
    assert (done.added, done.read_before) == (1, None)
    with connect(postgres) as connection:
        assert connection.execute("select name, added from shop.label_files").fetchall() == [
            ("labels.csv", 1)
        ]


def test_two_who_read_one_file_at_once_add_it_once(postgres: PostgresSettings, tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text("transaction_id,is_fraud\n" + "".join(f"t{n},{n % 2}\n" for n in range(10_000)))
    done: list[Imported] = []
    threads = [
        threading.Thread(target=lambda: done.append(label_files.labels_from_file(postgres, path, {}, "ann")))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(one.added for one in done) == [0, 10_000]


def test_a_label_counts_in_profiles_and_training_from_the_moment_it_was_given(
    postgres: PostgresSettings, tmp_path: Path
) -> None:
    """From a file to the merchant's risk: a payment before that moment does not know, one after it does."""
    days = {"a": 0, "b": 1, "c": 3}
    values = [
        message(transaction_id=name, user_id=f"u-{name}", amount=10.0 + day, merchant_id="m", is_fraud=None,
                timestamp=(START + timedelta(days=day)).isoformat())
        for name, day in days.items()
    ]  # fmt: skip
    store(postgres, [messages(values)])
    given = START + timedelta(days=2)
    path = tmp_path / "labels.csv"
    path.write_text(f"transaction_id,is_fraud,labelled_at\na,1,{given.isoformat()}\n")
    assert label_files.labels_from_file(postgres, path, {}).added == 1

    assert fold_known(postgres, given - timedelta(seconds=1), timedelta(days=7)) == Known()
    assert fold_known(postgres, given, timedelta(days=7)) == Known(labels=1)
    with connect(postgres) as connection:
        merchant = "select labelled_30d, fraud_30d from shop.profiles where entity = 'merchant'"
        labelled, frauds = connection.execute(merchant).fetchall()[0]
    # The counters stand at the merchant's last payment, three days after the fraud.
    assert (labelled, frauds) == pytest.approx((2 ** (-3 / 30),) * 2)

    rows = transactions(postgres)
    assert rows["is_fraud"].to_pylist() == [True, None, None]
    assert rows["labelled_at"].to_pylist() == [given, None, None]
    known = view(rows, 7, ("merchant_fraud_30d",)).values[:, 0].tolist()
    assert known == pytest.approx([0.0, 0.0, 2 ** (-3 / 30)])
    assert dataset(rows, 7).known_at[0] == round(given.timestamp() * 1e6)


def test_folding_stops_between_two_chunks_and_goes_on_later(
    postgres: PostgresSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten million truths take minutes: who stops the consumer does not wait for them."""
    monkeypatch.setattr(label_folding, "CHUNK", 2)
    values = [
        message(transaction_id=f"t{n}", timestamp=(START + timedelta(seconds=n)).isoformat(), is_fraud=0)
        for n in range(7)
    ]
    store(postgres, [messages(values)])
    later = START + timedelta(days=8)
    asked = iter([True, True, False, False])
    assert fold_known(postgres, later, timedelta(days=7), lambda: next(asked)) == Known(truths=4)
    assert fold_known(postgres, later, timedelta(days=7)) == Known(truths=3)


@contextmanager
def tailing(
    environment: Mapping[str, str], *arguments: str
) -> Iterator[tuple[subprocess.Popen[str], Queue[str]]]:
    """The real `alerts tail`, and its lines as they come."""
    command = [sys.executable, "-m", "fraudstream", "alerts", "tail", *arguments]
    lines: Queue[str] = Queue()
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        out = process.stdout

        def collect() -> None:
            for line in out:
                lines.put(line)

        thread = threading.Thread(target=collect)
        thread.start()
        try:
            yield process, lines
        finally:
            process.kill()
            thread.join()


def test_new_alerts_come_as_they_are_stored_though_postgresql_goes_away(
    settings: Settings, postgres: PostgresSettings, environment: dict[str, str]
) -> None:
    """Once each and whenever they were decided; Ctrl-C ends it cleanly."""
    decide(postgres, alert("before", scored_at=at(-5)))
    with forwarded(settings.postgres.port) as line:
        through = environment | {"FRAUDSTREAM_POSTGRES__PORT": str(line.port)}
        with tailing(through, "--json", "--min-risk", "0.5") as (process, lines):

            def until(name: str) -> list[str]:
                names = []
                while name not in names:
                    names.append(json.loads(lines.get(timeout=60))["transaction_id"])
                return names

            # It is there from some moment on: alerts are stored until the first one comes.
            for n in range(600):
                decide(postgres, alert(f"ready {n}"), first=100 + n)
                if not lines.empty() or process.poll() is not None:
                    break
                threading.Event().wait(0.1)
            decide(postgres, alert("now", scored_at=at(0)), alert("weak", risk=0.1), first=1000)
            assert until("now")[0].startswith("ready")
            line.cut()
            decide(postgres, alert("meanwhile", scored_at=at(-3600)), first=2000)
            assert process.stderr is not None
            waiting = process.stderr.readline()
            line.join()
            assert until("meanwhile") == ["meanwhile"]
            process.send_signal(signal.SIGINT)
            rest = process.stderr.read()
            assert process.wait(60) == 130
    assert "does not answer" in waiting
    assert waiting.rstrip().endswith("Waiting for it.")
    assert "answers again; nothing was missed" in rest
    assert "Traceback" not in rest
    assert list(lines.queue) == []
