"""Training, its files and its refusals, from transactions to a model that scores."""

import functools
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fraudstream.cli.main import run
from fraudstream.errors import ExitCode, InputError
from fraudstream.features.definitions import available
from fraudstream.features.training import view
from fraudstream.model import artifact, candidates, folder, packing
from fraudstream.model.algorithms import IsolationForestEstimator
from fraudstream.model.folds import plan
from fraudstream.model.tables import read_transactions
from fraudstream.model.training import Request, Trained, train
from model_world import sealed

START = datetime(2024, 3, 1, tzinfo=UTC)


def history(days: int = 40, customers: int = 80, seed: int = 0, *, fraud: bool = True) -> pd.DataFrame:
    """Customers with habits; each loses the card once, for three days of four times as large payments at twelve shops."""
    rng = np.random.default_rng(seed)
    rows = customers * days * 3
    who = rng.integers(0, customers, rows)
    seconds = np.sort(rng.uniform(0, days * 86400, rows))
    usual = rng.uniform(5, 80, customers)
    amount = rng.gamma(6, usual[who] / 6)
    shop = rng.integers(0, 60, rows)
    stolen = rng.integers(0, days * 86400, customers)
    bad = (seconds >= stolen[who]) & (seconds < stolen[who] + 3 * 86400) & (rng.random(rows) < 0.6)
    bad &= fraud
    amount[bad] *= 4
    shop[bad] = rng.integers(0, 12, int(bad.sum()))
    return pd.DataFrame(
        {
            "transaction_id": [f"t{i}" for i in range(rows)],
            "user_id": [f"u{c}" for c in who],
            "timestamp": [(START + timedelta(seconds=float(s))).isoformat() for s in seconds],
            "amount": amount.round(2) + 0.01,
            "merchant_id": [f"m{s}" for s in shop],
            "is_fraud": bad.astype(int),
            "fraud_scenario": ["stolen_card" if b else None for b in bad],
        }
    )


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> pa.Table:
    """The history as `train --data` reads it."""
    return read_transactions(written(history(), tmp_path_factory.mktemp("data"))).rows


def features(rows: pa.Table, names: tuple[str, ...]) -> Any:
    """Feature values (rows, names) as the model learned them."""
    table = view(rows, 3, names)
    return table.values  # noqa: PD011 - no pandas


@pytest.fixture(scope="module", autouse=True)
def small_grids() -> Iterator[None]:
    """The same algorithms with fewer trees: these tests ask what is learned from, not how well."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(candidates.GRID, "gradient_boosting", ({"max_iter": 20}, {"max_iter": 30}))
        patch.setitem(candidates.GRID, "random_forest", ({"n_estimators": 10}, {"n_estimators": 15}))
        # Not by the grid: it has one entry only, and is called by its bare name.
        few = partial(IsolationForestEstimator, n_estimators=25)
        patch.setitem(candidates._CLASSES, "isolation_forest", few)
        yield


@pytest.fixture(scope="module")
def usual(rows: pa.Table) -> Callable[[str], Trained]:
    """A model of this algorithm, which is trained for the first test that asks."""
    return functools.cache(lambda algorithm: train(rows, Request(algorithm, label_delay_days=3)))


def written(frame: pd.DataFrame, directory: Path) -> Path:
    path = directory / "history.csv"
    frame.to_csv(path, index=False)
    return path


@pytest.fixture(scope="module")
def model(usual: Callable[[str], Trained], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A gradient boosting model on disk."""
    path = tmp_path_factory.mktemp("models") / "model"
    folder.write(usual("gradient_boosting").files, path)
    return path


@pytest.mark.parametrize("algorithm", ["isolation_forest", "gradient_boosting", "random_forest"])
def test_a_trained_model_scores_from_its_trees_as_its_estimator_does(
    rows: pa.Table, usual: Callable[[str], Trained], algorithm: str
) -> None:
    """And its report names both baselines, which it beats."""
    trained = usual(algorithm)
    model = artifact.verified(trained.files, "memory")
    x = features(rows, model.features)[-2000:]
    trees = model.trees()
    assert trees is not None
    assert np.abs(trees.risk(x) - model.estimator().risk(x)).max() < 1e-9
    report = trained.report
    reached = report["metrics"]["average_precision"]
    assert reached > report["baselines"]["amount"]["average_precision"]
    assert reached > 3 * report["baselines"]["random"]["average_precision"]
    low, high = report["metrics"]["average_precision_interval"]
    assert low < reached < high
    assert report["scenarios"]["stolen_card"]["frauds"] == sum(f["frauds"] for f in report["folds"])
    assert report["tiers"].keys() == (
        {"label_free"} if algorithm == "isolation_forest" else {"labelled", "label_free"}
    )


def test_the_label_free_model_never_looks_at_a_label(rows: pa.Table, usual: Callable[[str], Trained]) -> None:
    """Turned labels change the figures and not one byte of the trees or the threshold."""
    turned = rows.set_column(
        rows.column_names.index("is_fraud"), "is_fraud", pa.array(np.arange(rows.num_rows) % 50 == 0)
    )
    one, other = usual("isolation_forest"), train(turned, Request("isolation_forest", label_delay_days=3))
    assert one.files[artifact.TREES] == other.files[artifact.TREES]
    assert one.report["threshold"] == other.report["threshold"]
    assert one.report["metrics"] != other.report["metrics"]


def test_the_future_changes_nothing_in_an_earlier_fold(
    rows: pa.Table, usual: Callable[[str], Trained]
) -> None:
    """Frauds of the last window are made ten times as large: the folds before it keep their figures."""
    before = usual("gradient_boosting").report["folds"]
    start = pa.scalar(datetime.fromisoformat(before[-1]["test_from"]), pa.timestamp("us", "UTC"))
    late = pa.compute.greater_equal(rows["timestamp"], start)
    amount = pa.compute.if_else(late, pa.compute.multiply(rows["amount"], 10.0), rows["amount"])
    changed = rows.set_column(rows.column_names.index("amount"), "amount", amount)
    after = train(changed, Request("gradient_boosting", label_delay_days=3)).report["folds"]
    assert before[:-1] == after[:-1]
    assert before[-1] != after[-1]


def moved(rows: pa.Table, places: slice, to: datetime) -> pa.Table:
    """The transactions at these places, copied to begin at another time."""
    some = rows.slice(places.start, places.stop - places.start)
    shift = pa.scalar(to, pa.timestamp("us", "UTC")) - some["timestamp"][0]
    later = pa.compute.add(some["timestamp"], shift)
    return pa.concat_tables([rows, some.set_column(some.column_names.index("timestamp"), "timestamp", later)])


def test_one_stray_timestamp_changes_no_figure(rows: pa.Table) -> None:
    """Half a year after the rest: the windows stay where the history ends, and the last row alone sets no threshold."""
    request = Request("gradient_boosting", label_delay_days=3, alerts_per_day=2)
    alone = train(rows, request).report
    beside = train(moved(rows, slice(7, 8), START + timedelta(days=200)), request)
    assert beside.report["folds"] == alone["folds"]
    assert beside.report["validation"] == alone["validation"]
    assert beside.report["training"]["until"] == alone["training"]["until"]
    assert beside.report["threshold"] == pytest.approx(alone["threshold"], rel=0.05)
    assert beside.report["alert_rate"] == alone["alert_rate"]
    assert any("201 days from 2024-03-01 to 2024-09-17" in note for note in beside.report["notes"])


@pytest.mark.parametrize("names", [None, ("amount", "hour", "weekday")], ids=["of the forest", "named"])
def test_whether_the_data_allow_the_features_is_found_out_once(
    rows: pa.Table, names: tuple[str, ...] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It reads all transactions; each named feature read them again."""
    asked: list[int] = []

    def counted(table: pa.Table) -> tuple[str, ...]:
        asked.append(table.num_rows)
        return available(table)

    monkeypatch.setattr("fraudstream.model.training.available", counted)
    train(rows, Request("isolation_forest", names, label_delay_days=3))
    assert asked == [rows.num_rows]


def test_an_empty_kind_of_fraud_is_none(tmp_path: Path) -> None:
    """As spreadsheets export what is not known, and as messages may say it: the report had a kind without a name."""
    frame = history(days=25)
    frauds = frame.index[frame["is_fraud"] == 1]
    frame.loc[frauds[::2], "fraud_scenario"] = ""
    pq.write_table(pa.Table.from_pandas(frame), tmp_path / "history.parquet")
    for path in (written(frame, tmp_path), tmp_path / "history.parquet"):
        report = train(read_transactions(path).rows, Request("isolation_forest", label_delay_days=3)).report
        assert set(report["scenarios"]) == {"stolen_card"}


def test_one_stray_timestamp_before_the_rest_does_not_begin_the_training(rows: pa.Table) -> None:
    """The Model page said that it learned from 2010 on, and an evaluation on the same file that it lacks history."""
    request = Request("isolation_forest", label_delay_days=3)
    trained = train(moved(rows, slice(7, 8), datetime(2010, 1, 1, tzinfo=UTC)), request)
    assert trained.report["training"]["from"][:10] == "2024-03-01"


def test_a_history_that_paused_is_judged_on_days_on_which_something_happened(rows: pa.Table) -> None:
    """Twenty days after the rest 300 payments came: one of the windows holds them, and none is empty."""
    trained = train(
        moved(rows, slice(0, 300), START + timedelta(days=60)),
        Request("isolation_forest", label_delay_days=3),
    )
    assert min(fold["transactions"] for fold in trained.report["folds"]) > 200
    assert trained.report["folds"][-1]["test_until"][:10] == "2024-05-02"
    assert any("20 had almost no transactions" in note for note in trained.report["notes"])


def test_transactions_of_the_future_are_left_out_and_counted(rows: pa.Table) -> None:
    """A day ahead may be a clock without its zone; half a year ahead is a mistake."""
    ahead = moved(rows, slice(7, 9), datetime.now(UTC) + timedelta(days=180))
    trained = train(ahead, Request("isolation_forest", label_delay_days=3))
    assert trained.report["training"]["from"][:10] == "2024-03-01"
    assert trained.report["folds"][-1]["test_until"][:10] == "2024-04-10"
    assert any(
        note.startswith("2 of 9,602 transactions are dated more than a day ahead")
        for note in trained.report["notes"]
    )


def test_where_no_candidate_can_be_judged_the_choice_is_said_to_be_unproven(rows: pa.Table) -> None:
    """No fraud in the validation windows: nothing is known of any candidate, which is not the same as 0.000."""
    windows = plan(rows["timestamp"].cast(pa.int64()).to_numpy(), 3, 0.005).validation
    at = rows["timestamp"].cast(pa.int64()).to_numpy()
    inside = (at >= windows[0].test_from) & (at < windows[-1].test_until)
    fraud = pa.compute.if_else(pa.array(inside), False, rows["is_fraud"])
    trained = train(
        rows.set_column(rows.column_names.index("is_fraud"), "is_fraud", fraud), Request(label_delay_days=3)
    )
    assert set(trained.report["validation"].values()) == {None}
    assert any("isolation_forest was chosen without validation" in note for note in trained.report["notes"])
    assert any(
        "2 of 2 validation windows have fewer than 5 known frauds" in note for note in trained.report["notes"]
    )


def test_a_short_label_delay_leaves_enough_transactions_for_the_threshold(rows: pa.Table) -> None:
    """An hour holds ten of them, and a threshold above all ten would flag many times the budget."""
    trained = train(rows, Request("isolation_forest", label_delay_days=1 / 24))
    assert any("the last 200 set the threshold" in note for note in trained.report["notes"])
    assert trained.report["metrics"]["alert_rate"] < 4 * 0.005


def test_auto_takes_the_label_free_forest_while_frauds_are_few(rows: pa.Table) -> None:
    few = rows.set_column(
        rows.column_names.index("is_fraud"), "is_fraud", pa.array(np.arange(rows.num_rows) % 400 == 0)
    )
    trained = train(few, Request(label_delay_days=3))
    assert trained.report["algorithm"] == "isolation_forest"
    assert any("fewer than 50" in note for note in trained.report["notes"])


def relabelled(rows: pa.Table, fraud: pa.Array, known_at: datetime | None = None) -> pa.Table:
    """The history with other labels, all written down at once where `known_at` says when."""
    changed = rows.set_column(rows.column_names.index("is_fraud"), "is_fraud", fraud)
    if known_at is None:
        return changed
    said = pa.array([known_at] * rows.num_rows, pa.timestamp("us", "UTC"))
    return changed.append_column("labelled_at", said)


def test_auto_takes_the_label_free_forest_where_labels_came_late(rows: pa.Table) -> None:
    """All labels of the file were written down at the end of its history: nothing was known when windows began."""
    late = relabelled(rows, rows["is_fraud"], START + timedelta(days=40))
    trained = train(late, Request(label_delay_days=3))
    assert trained.report["algorithm"] == "isolation_forest"
    assert any(
        "0 known frauds before the first validation window are fewer than 50" in n
        for n in trained.report["notes"]
    )


def test_what_was_said_after_the_last_transaction_is_learnt_from(
    rows: pa.Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Labels of the days 20 to 30 came on the 50th day: a model of the 45th lacks them, one of the 60th has them."""
    monkeypatch.setitem(candidates.GRID, "random_forest", ({"n_estimators": 10},))
    at = rows["timestamp"]
    first, last = (pa.scalar(START + timedelta(days=day), at.type) for day in (20, 30))
    middle = pa.compute.and_(pa.compute.greater_equal(at, first), pa.compute.less(at, last))
    said = pa.compute.if_else(
        middle, pa.scalar(START + timedelta(days=50), at.type), pa.scalar(None, at.type)
    )
    late = rows.append_column("labelled_at", said)
    request = Request("random_forest", ("amount", "user_count_1d", "merchant_risk_30d"), label_delay_days=3)
    early, later, again = (train(late, request, now=START + timedelta(days=day)) for day in (45, 60, 70))
    gained = later.report["training"]["judged"] - early.report["training"]["judged"]
    assert gained == pa.compute.sum(middle).as_py()
    assert later.files[artifact.TREES] != early.files[artifact.TREES]
    assert later.files[artifact.TREES] == again.files[artifact.TREES]
    assert later.report["folds"] == early.report["folds"]


def test_auto_leaves_out_the_label_free_forest_where_chosen_features_are_made_of_labels(
    rows: pa.Table,
) -> None:
    trained = train(rows, Request(features=("amount", "merchant_risk_30d"), label_delay_days=3))
    assert trained.report["algorithm"] in ("gradient_boosting", "random_forest")
    assert any(
        "left out isolation_forest, which cannot use merchant_risk_30d" in note
        for note in trained.report["notes"]
    )


def test_auto_takes_the_label_free_forest_where_only_frauds_are_labelled(rows: pa.Table) -> None:
    only = pa.compute.if_else(rows["is_fraud"], True, pa.scalar(None, pa.bool_()))
    trained = train(relabelled(rows, only), Request(label_delay_days=3))
    assert trained.report["algorithm"] == "isolation_forest"
    assert any("only frauds are labelled" in note for note in trained.report["notes"])
    assert any(
        "Only frauds are labelled in 4 of 4 test windows: precision is undefined." in n
        for n in trained.report["notes"]
    )
    figures = trained.report["metrics"]
    assert {name for name, figure in figures.items() if figure is not None} == {
        "recall_at_budget",
        "alert_rate",
    }
    assert trained.report["baselines"]["random"]["average_precision"] is None
    assert trained.report["calibration"] == []
    assert artifact.CURVE not in trained.files


def test_the_threshold_keeps_the_alert_budget(rows: pa.Table) -> None:
    """Two alerts a day on a stream of about 240."""
    report = train(rows, Request("isolation_forest", label_delay_days=3, alerts_per_day=2)).report
    assert report["alert_rate"] == pytest.approx(2 / 240, rel=0.15)
    assert report["metrics"]["alert_rate"] < 4 / 240


def test_the_seed_systems_model_is_reproduced(rows: pa.Table) -> None:
    """Three features, 100 trees, contamination 0.1, random_state 42, on the features as they are."""
    from sklearn.ensemble import IsolationForest

    from fraudstream.features.definitions import SEED

    n = rows.num_rows
    full = (
        rows.append_column("device", pa.array(["ios", "web", "pos"] * (n // 3 + 1))[:n])
        .append_column("location", pa.array(["Rome"] * n))
        .append_column("transaction_location", pa.array(np.where(np.arange(n) % 40, "Rome", "Oslo")))
    )
    model = artifact.verified(
        train(full, Request("isolation_forest", SEED, label_delay_days=3)).files, "memory"
    )
    x = features(full, SEED)
    known = (
        rows["timestamp"].cast(pa.int64()).to_numpy()
        < 1e6 * datetime.fromisoformat(model.manifest["training"]["until"]).timestamp()
    )
    expected = IsolationForest(n_estimators=100, contamination=0.1, random_state=42).fit(x[: known.sum()])
    assert model.features == SEED
    assert np.abs(model.risk(x) + expected.score_samples(x)).max() < 1e-9


# -- refusals: each a sentence, exit code 1, and nothing overwritten -------------------------------------------


def altered(frame: pd.DataFrame, kind: str) -> pd.DataFrame:
    if kind == "one user":
        return frame.assign(user_id="u")
    if kind == "constant amount":
        return frame.assign(amount=5.0)
    if kind == "no fraud":
        return frame.assign(is_fraud=0)
    if kind == "contradicting":
        return pd.concat([frame, frame.head(3).assign(is_fraud=1 - frame["is_fraud"].head(3))])
    return frame.head(0)


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("empty", "has no rows"),
        ("one user", "of one customer"),
        ("constant amount", "Every amount is 5"),
        ("no fraud", "learns from labels"),
        ("contradicting", "both fraud and not fraud"),
    ],
)
def test_bad_data_is_refused_and_the_model_that_is_there_stays(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str, says: str
) -> None:
    data, output = written(altered(history(days=20), kind), tmp_path), tmp_path / "model"
    output.mkdir()
    folder.write({artifact.MANIFEST: b"", artifact.SUMS: b""}, output)
    code = run(
        ["train", "--data", str(data), "--algorithm", "random_forest", "--output", str(output), "--json"]
    )
    assert code == ExitCode.FAILED
    assert says in json.loads(capsys.readouterr().out)["error"]["message"]
    assert {path.name for path in output.iterdir()} == {artifact.MANIFEST, artifact.SUMS}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["history.csv", "model"]


def test_without_any_fraud_the_label_free_model_trains_and_says_what_it_cannot(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = written(history(fraud=False), tmp_path)
    assert (
        run(["--quiet", "train", "--data", str(data), "--json", "--output", str(tmp_path / "m")])
        == ExitCode.DONE
    )
    report = json.loads(capsys.readouterr().out)
    assert report["algorithm"] == "isolation_forest"
    assert report["metrics"]["average_precision"] is None
    assert report["baselines"]["amount"]["average_precision"] is None
    assert any("No transaction is fraud" in note for note in report["notes"])
    assert 0 < report["threshold"] < 1


def test_a_foreign_directory_is_never_touched(tmp_path: Path, rows: pa.Table) -> None:  # noqa: ARG001
    (tmp_path / "thesis.tex").write_text("years of work")
    data = written(history(days=5), tmp_path)
    code = run(["train", "--data", str(data), "--output", str(tmp_path)])
    assert code == ExitCode.FAILED
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


@pytest.mark.parametrize(
    "name", [artifact.MANIFEST, artifact.TREES, artifact.ESTIMATOR, artifact.CURVE, artifact.SUMS]
)
def test_one_altered_byte_anywhere_is_noticed_before_anything_is_read(
    model: Path, tmp_path: Path, name: str
) -> None:
    copied = {path.name: path.read_bytes() for path in model.iterdir()}
    content = bytearray(copied[name])
    content[len(content) // 3] ^= 1
    other = tmp_path / "model"
    folder.write({**copied, name: bytes(content)}, other)
    with pytest.raises(InputError, match=r"altered|lacks|not covered"):
        folder.read(other)


def resealed(model: Path, **changes: Any) -> dict[str, bytes]:
    """The model's files with a changed manifest and checksums that match it."""
    files = {path.name: path.read_bytes() for path in model.iterdir()}
    manifest = json.loads(files[artifact.MANIFEST]) | changes
    return sealed({**files, artifact.MANIFEST: json.dumps(manifest).encode()})


def test_a_model_of_another_scikit_learn_is_evaluated_by_its_trees(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As it scores: the plain trees do not depend on it. Its estimator is not unpickled."""
    other = tmp_path / "model"
    folder.write(resealed(model, versions={"scikit-learn": "0.24.2"}), other)
    data = written(history(days=60), tmp_path)
    assert run(["evaluate", "--model", str(other), "--data", str(data), "--json"]) == ExitCode.DONE
    assert json.loads(capsys.readouterr().out)["metrics"]["average_precision"] > 0
    with pytest.raises(InputError, match=r"scikit-learn 0\.24\.2"):
        folder.read(other).estimator()


def test_a_model_without_trees_of_another_scikit_learn_is_refused_before_the_data_are_read(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "model"
    files = resealed(model, versions={"scikit-learn": "0.24.2"})
    sums = files[artifact.SUMS].decode().splitlines(keepends=True)
    files[artifact.SUMS] = "".join(line for line in sums if artifact.TREES not in line).encode()
    del files[artifact.TREES]
    folder.write(files, other)
    code = run(["evaluate", "--model", str(other), "--data", "absent.csv", "--json"])
    assert code == ExitCode.FAILED
    assert "scikit-learn 0.24.2" in json.loads(capsys.readouterr().out)["error"]["message"]


def test_a_model_with_features_of_another_program_is_refused(model: Path) -> None:
    with pytest.raises(InputError, match="does not have: moon_phase"):
        artifact.verified(resealed(model, features=["amount", "moon_phase"]), "memory")
    with pytest.raises(InputError, match="other features than its manifest"):
        artifact.verified(resealed(model, features=["amount"]), "memory").trees()


def test_a_packed_model_opens_as_the_same_model(model: Path) -> None:
    files = {path.name: path.read_bytes() for path in model.iterdir()}
    packed = packing.pack(files)
    assert packed == packing.pack(dict(reversed(files.items())))
    assert packing.unpack(packed, "registry").manifest == folder.read(model).manifest
    with pytest.raises(InputError, match="not a packed model"):
        packing.unpack(packed[:100], "registry")


def test_a_new_model_replaces_the_old_one_whole(
    model: Path, usual: Callable[[str], Trained], tmp_path: Path
) -> None:
    target = tmp_path / "model"
    folder.write({path.name: path.read_bytes() for path in model.iterdir()}, target)
    folder.write(usual("isolation_forest").files, target)
    assert folder.read(target).manifest["algorithm"] == "isolation_forest"
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


# -- judging what exists ---------------------------------------------------------------------------------------


def test_a_model_is_judged_only_on_later_rows_than_it_learnt_from(model: Path, tmp_path: Path) -> None:
    from fraudstream.model.finished import evaluate_model

    opened = folder.read(model)
    with pytest.raises(InputError, match="learned until"):
        evaluate_model(opened, read_transactions(written(history(days=30), tmp_path)).rows)
    later = evaluate_model(opened, read_transactions(written(history(days=60), tmp_path)).rows)
    assert later["folds"][0]["test_from"] > opened.manifest["training"]["until"]
    assert later["metrics"]["average_precision"] > later["baselines"]["random"]["average_precision"]


def test_baselines_without_history_before_the_windows_have_no_threshold(model: Path, tmp_path: Path) -> None:
    """A file of later days alone: of the baselines it is not said that they flag nothing and find nothing."""
    from fraudstream.model.finished import evaluate_model

    frame = history(days=60)
    later = frame[frame["timestamp"] >= (START + timedelta(days=53)).isoformat()]
    report = evaluate_model(folder.read(model), read_transactions(written(later, tmp_path)).rows)
    assert report["metrics"]["recall_at_budget"] is not None
    for figures in report["baselines"].values():
        assert figures["average_precision"] is not None
        assert (figures["recall_at_budget"], figures["alert_rate"]) == (None, None)
    assert any("baselines need history before the windows" in note for note in report["notes"])


def test_a_straggler_makes_no_window_of_its_own(model: Path, tmp_path: Path) -> None:
    from fraudstream.model.finished import evaluate_model

    opened = folder.read(model)
    later = read_transactions(written(history(days=60), tmp_path)).rows
    alone = evaluate_model(opened, later)
    beside = evaluate_model(opened, moved(later, slice(7, 8), START + timedelta(days=300)))
    assert beside["folds"] == alone["folds"]
    assert any("241 had almost no transactions" in note for note in beside["notes"])


def test_a_file_of_scores_is_judged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    frame = history()
    frame["risk"] = np.where(frame["is_fraud"] == 1, 0.9, 0.1) * np.linspace(0.9, 1, len(frame))
    data = written(frame, tmp_path)
    assert run(["evaluate", "--data", str(data), "--label-delay-days", "3", "--json"]) == ExitCode.DONE
    report = json.loads(capsys.readouterr().out)
    assert report["metrics"]["average_precision"] == pytest.approx(1.0)
    assert {"version", "algorithm", "features", "folds", "threshold"} <= report.keys()


# -- an estimator of the user's own ----------------------------------------------------------------------------

NETWORK = '''
import numpy as np
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import QuantileTransformer


class Network:
    """A small neural network over ranks."""

    uses_labels = True

    def __init__(self):
        self.pipeline = make_pipeline(
            QuantileTransformer(n_quantiles=100, output_distribution="normal", random_state=0),
            MLPClassifier((16,), alpha=1e-2, max_iter=30, early_stopping=True, random_state=0),
        )

    def fit(self, x, y):
        self.pipeline.fit(x, y)

    def risk(self, x):
        return self.pipeline.predict_proba(x)[:, 1]


def label_free():
    made = Network()
    made.uses_labels = False
    return made
'''


@pytest.fixture
def network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An installed distribution with an entry point, as pip leaves it on the path."""
    site = tmp_path / "site"
    information = site / "small_network-1.0.dist-info"
    information.mkdir(parents=True)
    (site / "small_network.py").write_text(NETWORK)
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: small-network\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text(
        "[fraudstream.estimators]\nnetwork = small_network:Network\nlabel_free = small_network:label_free\n"
    )
    monkeypatch.syspath_prepend(str(site))
    yield
    sys.modules.pop("small_network", None)


@pytest.mark.usefixtures("network")
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_neural_network_of_the_users_own_trains_saves_and_scores(rows: pa.Table, tmp_path: Path) -> None:
    trained = train(
        rows, Request("network", ("amount", "amount_to_user_mean", "merchant_risk_7d"), label_delay_days=3)
    )
    assert trained.report["metrics"]["average_precision"] > 0.2
    folder.write(trained.files, tmp_path / "model")
    model = folder.read(tmp_path / "model")
    assert model.trees() is None
    assert (model.risk(features(rows, model.features)) >= 0).all()


@pytest.mark.usefixtures("network")
def test_a_label_free_estimator_that_a_function_makes_is_kept_away_from_labels() -> None:
    """What it makes says so; a function has no such attribute."""
    (found,) = candidates.candidates("label_free", ("amount", "merchant_risk_7d"))
    assert not found.uses_labels
    assert found.features == ("amount",)


def test_a_feature_of_labels_is_refused_for_the_label_free_forest_also_where_nothing_is_labelled(
    rows: pa.Table,
) -> None:
    """To map a column of labels, as the other sentence advises, would not help."""
    bare = rows.drop_columns(["is_fraud", "merchant_id"])
    with pytest.raises(InputError, match="label-free and cannot use merchant_risk_30d"):
        train(bare, Request("isolation_forest", ("amount", "merchant_risk_30d"), label_delay_days=3))
    with pytest.raises(InputError, match="lack fields that merchant_risk_30d needs"):
        train(bare, Request("random_forest", ("amount", "merchant_risk_30d"), label_delay_days=3))


def test_an_unknown_algorithm_is_refused_with_the_list_of_those_that_exist(rows: pa.Table) -> None:
    with pytest.raises(InputError, match="no algorithm oracle") as refused:
        train(rows, Request("oracle", label_delay_days=3))
    assert "gradient_boosting" in refused.value.hint


def test_opening_a_model_loads_no_scikit_learn(model: Path) -> None:
    """The stream reads trees and scores without it."""
    code = (
        "import sys, pathlib, numpy; from fraudstream.model import folder;"
        f"m = folder.read(pathlib.Path({str(model)!r})); m.risk(numpy.zeros((2, len(m.features))));"
        "assert not {'sklearn', 'joblib', 'pyspark'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_parquet_and_csv_train_the_same_model(tmp_path: Path) -> None:
    frame = history(days=25)
    csv = read_transactions(written(frame, tmp_path)).rows
    pq.write_table(pa.Table.from_pandas(frame), tmp_path / "history.parquet")
    parquet = read_transactions(tmp_path / "history.parquet").rows
    request = Request("isolation_forest", label_delay_days=3)
    assert train(csv, request).files[artifact.TREES] == train(parquet, request).files[artifact.TREES]


def test_the_bins_of_the_reference_do_not_hang_on_the_last_bit_of_a_risk(
    rows: pa.Table, usual: Callable[[str], Trained]
) -> None:
    """An isolation forest gives most rows one and the same risk; the JVM and numpy agree on it to 1e-12 and no further."""
    trained = usual("isolation_forest")
    model = artifact.verified(trained.files, "memory")
    risk = model.risk(features(rows, model.features))
    reference = trained.report["score_reference"]
    found = [np.searchsorted(reference["edges"], risk + noise, side="left") for noise in (-1e-12, 0.0, 1e-12)]
    assert (found[0] == found[1]).all()
    assert (found[1] == found[2]).all()
    assert len(reference["shares"]) == len(reference["edges"]) + 1
    assert sum(reference["shares"]) == pytest.approx(1)
