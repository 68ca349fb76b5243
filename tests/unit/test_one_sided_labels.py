"""Labels of chargebacks and reviewed alerts: what is made of them, and what is said about them."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from feature_world import world
from fraudstream.model import candidates
from fraudstream.model.finished import evaluate_scores
from fraudstream.model.training import Request, train

DISMISSED = 300


@pytest.fixture(scope="module", autouse=True)
def small_grids() -> Iterator[None]:
    """The same algorithms with fewer trees: these tests ask which one is taken, not how good it is."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(candidates.GRID, "gradient_boosting", ({"max_iter": 40},))
        patch.setitem(candidates.GRID, "random_forest", ({"n_estimators": 20},))
        yield


def labelled(rows: pa.Table, labels: Any) -> pa.Table:
    return rows.drop_columns("labelled_at").set_column(
        rows.column_names.index("is_fraud"), "is_fraud", pa.array(labels, pa.bool_())
    )


@pytest.fixture(scope="module")
def rows() -> pa.Table:
    """Sixty days, of which every payment is judged."""
    found = world(16_000)
    return labelled(found, found["is_fraud"].fill_null(False).to_pylist())


def reviewed(rows: pa.Table, dismissed: int) -> pa.Table:
    """The same where all frauds were charged back, and of the others only the largest were looked at and dismissed."""
    fraud, amount = rows["is_fraud"].to_numpy(), rows["amount"].to_numpy()
    largest = np.argsort(np.where(fraud, 0, amount))[len(amount) - dismissed :]
    known = fraud.copy()
    known[largest] = True
    labels = pa.array(fraud, mask=~known)
    return rows.set_column(rows.column_names.index("is_fraud"), "is_fraud", labels)


def said(report: Mapping[str, Any], words: str) -> bool:
    return any(words in note for note in report["notes"])


@pytest.mark.parametrize("dismissed", [12, DISMISSED])
def test_auto_takes_the_label_free_forest_where_only_alerts_were_reviewed(
    rows: pa.Table, dismissed: int
) -> None:
    """A labelled model would tell frauds from large payments, and has never seen an ordinary one."""
    report = train(reviewed(rows, dismissed), Request(label_delay_days=3)).report
    assert report["algorithm"] == "isolation_forest"
    assert said(report, "do not show what ordinary payments look like")
    assert said(report, "precision and recall are over these only")
    assert report["calibration"] == []


def test_a_model_of_reviewed_alerts_says_what_its_figures_are_worth(rows: pa.Table) -> None:
    """Where its algorithm was named, it is trained."""
    report = train(reviewed(rows, DISMISSED), Request("gradient_boosting", label_delay_days=3)).report
    assert report["algorithm"] == "gradient_boosting"
    assert said(report, "precision and recall are over these only")


def test_scores_of_reviewed_alerts_say_what_their_figures_are_worth(rows: pa.Table) -> None:
    scored = reviewed(rows, DISMISSED).append_column("risk", pc.divide(rows["amount"], 1e6))
    report = evaluate_scores(scored, 3, 0.005)
    assert said(report, "precision and recall are over these only")


@pytest.mark.parametrize("since", [0, 3_200], ids=["from the first", "later"])
def test_auto_learns_from_labels_where_every_payment_was_judged(rows: pa.Table, since: int) -> None:
    """Also where labels began late: before the first one nothing was chosen, there was nothing."""
    labels = rows["is_fraud"].to_pylist()
    report = train(
        labelled_from(rows, labels, since),
        Request(features=("amount", "merchant_risk_30d"), label_delay_days=3),
    ).report
    assert report["algorithm"] in ("gradient_boosting", "random_forest")
    assert not said(report, "ordinary payments")
    assert report["calibration"]


def labelled_from(rows: pa.Table, labels: list[bool], since: int) -> pa.Table:
    known = [None] * since + labels[since:]
    return rows.set_column(rows.column_names.index("is_fraud"), "is_fraud", pa.array(known, pa.bool_()))
