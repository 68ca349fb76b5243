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
from fraudstream.model.scoring import other_fraud_share
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
    assert said(report, "precision and recall are computed from these only")
    assert report["calibration"] == report["calibration_flagged"] == []


def test_a_model_of_reviewed_alerts_says_what_its_figures_are_worth(rows: pa.Table) -> None:
    """Where its algorithm was named, it is trained."""
    report = train(reviewed(rows, DISMISSED), Request("gradient_boosting", label_delay_days=3)).report
    assert report["algorithm"] == "gradient_boosting"
    assert said(report, "precision and recall are computed from these only")


def test_scores_of_reviewed_alerts_say_what_their_figures_are_worth(rows: pa.Table) -> None:
    scored = reviewed(rows, DISMISSED).append_column("risk", pc.divide(rows["amount"], 1e6))
    report = evaluate_scores(scored, 3, 0.005)
    assert said(report, "precision and recall are computed from these only")


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
    assert report["calibration_flagged"]


def labelled_from(rows: pa.Table, labels: list[bool], since: int) -> pa.Table:
    known = [None] * since + labels[since:]
    return rows.set_column(rows.column_names.index("is_fraud"), "is_fraud", pa.array(known, pa.bool_()))


# -- live profiles ---------------------------------------------------------------------------------------------


def live(fraud: float, known: float) -> dict[str, pa.Table]:
    """Stored profiles with so many labels among all transactions together."""
    return {"total": pa.table({"key": [""], "fraud_30d": [fraud], "labelled_30d": [known]})}


def manifest(*features: str, judged: int = 100_000, frauds: int = 500) -> dict[str, Any]:
    return {"version": "m-1", "features": features, "training": {"judged": judged, "frauds": frauds}}


@pytest.mark.parametrize(
    ("fraud", "known", "warns"),
    [
        (300.0, 300.0, True),
        (300.0, 600.0, True),
        (60.0, 10_000.0, False),
        (9.0, 9.0, False),
        (0.0, 10_000.0, True),
        (0.0, 1_000.0, False),
        (0.0, 0.0, False),
    ],
    ids=["chargebacks", "and as many others", "the usual share", "too few", "frauds never labelled", "none yet", "nothing"],
)  # fmt: skip
def test_a_model_that_meets_another_share_of_fraud_than_it_learned_from_is_told(
    fraud: float, known: float, *, warns: bool
) -> None:
    """Whoever was never judged has the share of all: with chargebacks alone, every shop's payments look like fraud."""
    warning = other_fraud_share(manifest("amount", "merchant_risk_30d"), live(fraud, known))
    assert (warning is not None) == warns
    assert warning is None or "0.50%" in warning


def test_only_a_model_that_looks_at_labels_cares_about_their_share() -> None:
    """So does none that was trained on no fraud, or before manifests counted labels; empty profiles tell nothing."""
    chargebacks = live(300.0, 300.0)
    assert other_fraud_share(manifest("amount"), chargebacks) is None
    assert other_fraud_share(manifest("merchant_risk_30d", frauds=0), chargebacks) is None
    old = manifest("merchant_risk_30d") | {"training": {"rows": 1000, "frauds": 5}}
    assert other_fraud_share(old, chargebacks) is None
    assert other_fraud_share(manifest("merchant_risk_30d"), {}) is None
    empty = {"total": chargebacks["total"].slice(0, 0)}
    assert other_fraud_share(manifest("merchant_risk_30d"), empty) is None
