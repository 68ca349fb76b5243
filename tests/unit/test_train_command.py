"""What `train` and `evaluate` do with what the command line and the settings say, and what they say themselves."""

import json
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from feature_world import world
from fraudstream.cli import inputs, train
from fraudstream.cli.main import run
from fraudstream.errors import ExitCode, InputError
from fraudstream.model import folder, training
from fraudstream.model.versus import sentence
from fraudstream.settings import PostgresSettings
from fraudstream.store import migrate, registry, training_rows

DELAY = "FRAUDSTREAM_MODEL__LABEL_DELAY_DAYS"


pytestmark = pytest.mark.usefixtures("empty_environment")


@pytest.fixture
def history(tmp_path: Path) -> Path:
    """Forty days of transactions, each with a risk beside it."""
    rows = world(6_000, days=40)
    risk = pa.array(np.random.default_rng(0).random(rows.num_rows))
    pq.write_table(rows.append_column("risk", risk), tmp_path / "history.parquet")
    return tmp_path / "history.parquet"


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    """What the program prints for `--json`, errors too."""
    capsys.readouterr()
    code = run(["--quiet", *arguments, "--json"])
    document = json.loads(capsys.readouterr().out)
    assert (code == ExitCode.DONE) == ("error" not in document), document
    return document


def trained(capsys: pytest.CaptureFixture[str], history: Path, *arguments: str) -> Any:
    return printed(
        capsys,
        *("train", "--data", str(history), "--algorithm", "isolation_forest", "--features", "amount"),
        *("--output", "model", *arguments),
    )


def test_a_model_learns_with_the_label_delay_that_live_profiles_have(
    history: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """By the flag, else the environment, else `.env`, else the default. That it trains with it is seen once."""
    Path(".env").write_text(f"{DELAY}=9\n")
    assert trained(capsys, history)["label_delay_days"] == 9
    asked: list[float] = []

    def training_of(_rows: object, request: training.Request, *_: object, **_also: object) -> NoReturn:
        asked.append(request.label_delay_days)
        raise InputError("No time for it.", hint="")

    monkeypatch.setattr(training, "train", training_of)
    monkeypatch.setenv(DELAY, "5")
    trained(capsys, history)
    trained(capsys, history, "--label-delay-days", "3")
    monkeypatch.delenv(DELAY)
    Path(".env").unlink()
    trained(capsys, history)
    assert asked == [5, 3, 7]


def test_scores_are_judged_with_the_label_delay_that_live_profiles_have(
    history: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    evaluate = ("evaluate", "--data", str(history))
    usual, short = printed(capsys, *evaluate), printed(capsys, *evaluate, "--label-delay-days", "3")
    monkeypatch.setenv(DELAY, "3")
    assert printed(capsys, *evaluate)["folds"] == short["folds"] != usual["folds"]


def test_files_are_learned_from_whatever_the_services_are_set_to(
    history: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """No service is asked, so a mistake in its settings stops nothing; one in the label delay does, by its name."""
    monkeypatch.setenv("FRAUDSTREAM_POSTGRES__PASSWORD_FILE", "/nowhere/secret")
    assert trained(capsys, history)["label_delay_days"] == 7
    monkeypatch.setenv(DELAY, "soon")
    assert f"{DELAY}:" in trained(capsys, history)["error"]["message"]


@pytest.mark.parametrize("judged", [("--model", "model/"), ()], ids=["a model", "the champion"])
@pytest.mark.parametrize(("option", "value"), [("--label-delay-days", "30"), ("--alert-rate", "0.01")])
def test_a_model_is_judged_as_it_was_trained_and_another_delay_or_rate_is_refused(
    capsys: pytest.CaptureFixture[str], judged: tuple[str, ...], option: str, value: str
) -> None:
    error = printed(capsys, "evaluate", *judged, option, value)["error"]
    assert error["message"].startswith(f"{option} is for a file of scores")
    assert f"fraudstream train {option} {value}" in error["hint"]


def test_a_model_says_how_many_judged_transactions_it_could_learn_from(
    history: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In production most transactions are never judged: its share of fraud is of those that were."""
    rows = pq.read_table(history).drop_columns("labelled_at")
    verdicts = rows["is_fraud"].to_pylist()[:1_000]
    judged = pa.array(verdicts + [None] * (rows.num_rows - len(verdicts)))
    place = rows.column_names.index("is_fraud")
    pq.write_table(rows.set_column(place, "is_fraud", judged), history)
    learnt = trained(capsys, history)["training"]
    assert learnt["rows"] > 4_000
    assert (learnt["judged"], learnt["frauds"]) == (1_000 - verdicts.count(None), verdicts.count(True))


@pytest.fixture
def trainings(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """One entry for each training that was begun."""
    begun: list[object] = []
    train = training.train

    def counted(*arguments: Any) -> training.Trained:
        begun.append(arguments)
        return train(*arguments)

    monkeypatch.setattr(training, "train", counted)
    return begun


@pytest.mark.parametrize("curve", ["missing/curve.png", "."], ids=["no directory", "a directory"])
def test_a_curve_that_cannot_be_written_is_refused_before_the_training(
    history: Path, capsys: pytest.CaptureFixture[str], trainings: list[object], curve: str
) -> None:
    error = trained(capsys, history, "--curve", curve)["error"]
    assert error["message"].startswith(f"{curve} cannot be written: ")
    assert not trainings


def test_a_curve_that_fails_after_the_training_leaves_the_model(
    history: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "error" in trained(capsys, history, "--curve", "/dev/full")
    assert Path("model/manifest.json").is_file()


def test_a_database_for_the_model_is_met_before_the_training(
    history: Path, capsys: pytest.CaptureFixture[str], trainings: list[object]
) -> None:
    error = printed(capsys, "train", "--data", str(history), "--algorithm", "isolation_forest")["error"]
    assert error["message"].startswith("No PostgreSQL is set")
    assert not trainings


def test_training_from_postgresql_brings_the_tables_up_to_date_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It checked them before it read, and again to read."""
    migrated: list[PostgresSettings] = []
    monkeypatch.setattr(migrate, "migrate", migrated.append)
    monkeypatch.setattr(training_rows, "stored", lambda *_: 0)
    monkeypatch.setattr(training_rows, "transactions", lambda *_: pa.table({}))
    monkeypatch.setenv("FRAUDSTREAM_POSTGRES__HOST", "127.0.0.1")
    assert printed(capsys, "train")["error"]["message"] == "PostgreSQL has no transactions yet."
    assert len(migrated) == 1


def test_a_training_says_whether_the_model_finds_fraud_better_than_the_registrys_champion(
    history: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the document and in words. The champion learned from the first half of the history."""
    rows = pq.read_table(history).drop_columns("risk")
    pq.write_table(rows.slice(0, 3_000), history)
    old = trained(capsys, history)["version"]
    monkeypatch.setattr(inputs, "database", PostgresSettings)
    monkeypatch.setattr(inputs, "transactions", lambda *_: (rows, {}))
    monkeypatch.setattr(registry, "find", lambda _: object())
    monkeypatch.setattr(registry, "opened", lambda _: folder.read(Path("model")))
    monkeypatch.setattr(train, "_register", lambda *_: None)
    document = printed(capsys, "train", "--algorithm", "isolation_forest", "--features", "amount")
    assert document["champion"]["version"] == old
    assert document["champion"]["defrauded_customers"] > 10
    train._show(document, as_json=False)
    assert f"\n{sentence(document['champion'])}\n" in capsys.readouterr().out


def test_a_figure_lies_within_the_interval_that_stands_beside_it() -> None:
    """With two digits it read 0.096 (0.10-0.10)."""
    found = {"average_precision": 0.0961, "average_precision_interval": (0.0954, 0.0967), "roc_auc": 0.9}
    assert train._cell(found, "average_precision") == "0.096 (0.095-0.097)"
    assert train._cell(found, "roc_auc") == "0.900"
