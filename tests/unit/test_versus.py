"""A new model and the champion, on the same later payments."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from feature_world import world as rows_of_two_months
from fraudstream.dashboard.contest import better
from fraudstream.micros import DAY
from fraudstream.model import artifact
from fraudstream.model.artifact import ESTIMATOR, TREES, Model
from fraudstream.model.dataset import Dataset
from fraudstream.model.evaluation import Scored, judge
from fraudstream.model.folds import Fold
from fraudstream.model.training import Request, train
from fraudstream.model.versus import sentence, versus

ROWS, CUSTOMERS, DAYS = 6_000, 300, 30
START = datetime(2026, 5, 1, tzinfo=UTC)
FIRST = int(START.timestamp()) * 1_000_000


def world() -> Dataset:
    """A month of payments, of which one feature tells the fraud."""
    rng = np.random.default_rng(3)
    fraud = rng.random(ROWS) < 0.03
    told = rng.normal(size=ROWS) + 3 * fraud
    return Dataset(
        micros=FIRST + np.arange(ROWS) * (DAYS * DAY // ROWS),
        amount=np.ones(ROWS),
        customer=rng.integers(0, CUSTOMERS, ROWS),
        fraud=fraud,
        judged=np.ones(ROWS, bool),
        known_at=np.full(ROWS, FIRST),
        scenario=np.full(ROWS, None, dtype=object),
        names=("told", "chance"),
        values=np.column_stack([told, rng.normal(size=ROWS)]),
        delay_days=7.0,
    )


def champion(feature: str, learned_until: datetime, monkeypatch: pytest.MonkeyPatch) -> Model:
    """A model that looks at this feature alone."""
    monkeypatch.setattr(Model, "risk", lambda _, x: 1 / (1 + np.exp(-x[:, 0])))
    manifest: dict[str, Any] = {
        "version": "old",
        "features": [feature],
        "label_delay_days": 7.0,
        "training": {"until": learned_until.isoformat()},
    }
    return Model(manifest, {TREES: b""})


def scored(data: Dataset, feature: str) -> list[Scored]:
    """Windows of the last two weeks, by a model that looks at this feature."""
    found = []
    for day in (16, 23):
        fold = Fold(FIRST, FIRST + day * DAY, FIRST + (day + 7) * DAY)
        rows = data.window(fold.test_from, fold.test_until)
        found.append(Scored(fold, rows, data.values[rows, data.names.index(feature)], None))
    return found


def test_of_two_models_the_one_that_finds_more_fraud_is_called_better(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data, notes = world(), list[str]()
    for own, other, words in (
        ("told", "chance", "finds fraud better"),
        ("chance", "told", "finds fraud less well"),
    ):
        found = versus(champion(other, START, monkeypatch), data, scored(data, own), notes)
        assert found is not None
        assert words in sentence(found)
        assert better({"champion": found}, {"version": "old"}) == sentence(found)
    assert not notes


def test_of_the_same_model_nothing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    data = world()
    found = versus(champion("told", START, monkeypatch), data, scored(data, "told"), [])
    assert found is not None
    assert found["average_precision"] == found["champion_average_precision"]
    assert "cannot be told" in sentence(found)


def test_a_small_but_steady_advantage_shows_where_intervals_of_each_alone_overlap(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Both find the same customers hard: drawn together, the difference is surer than either figure."""
    data = world()
    worse = replace(data, values=data.values + np.column_stack([data.values[:, 1] * 0.3, np.zeros(ROWS)]))
    ours, theirs = scored(data, "told"), scored(worse, "told")
    alone, champions = (judge(data, windows, with_interval=True).interval for windows in (ours, theirs))
    assert alone is not None
    assert champions is not None
    assert alone[0] < champions[1]
    found = versus(champion("told", START, monkeypatch), worse, ours, [])
    assert found is not None
    low, high = found["interval"]
    assert low > 0
    assert high - low < min(alone[1] - alone[0], champions[1] - champions[0])


def test_many_equal_payments_of_a_customer_make_nothing_surer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole customers are drawn: what is of one customer comes and goes together."""
    data = world()
    again = np.repeat(np.arange(ROWS), 20)
    columns: dict[str, Any] = {
        name: value[again] for name, value in vars(data).items() if isinstance(value, np.ndarray)
    }
    many = replace(data, **columns)
    once, often = (
        versus(champion("told", START, monkeypatch), each, scored(each, "chance"), [])
        for each in (data, many)
    )
    assert once is not None
    assert often is not None
    assert often["interval"] == pytest.approx(once["interval"])


def test_where_few_customers_were_defrauded_nothing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many frauds they had, and however far the figures lie apart: of one victim they are one case."""
    data = world()
    victims = np.unique(data.customer[data.fraud])
    for few, words in ((1, "only 1 customer was"), (9, "only 9 customers were"), (10, "finds fraud better")):
        kept = replace(data, customer=np.where(data.fraud, victims[data.customer % few], data.customer))
        found = versus(champion("chance", START, monkeypatch), kept, scored(kept, "told"), [])
        assert found is not None
        assert words in sentence(found)
        assert found["defrauded_customers"] == few
        assert (found["interval"] is None) == ("cannot be told" in sentence(found)) == (few < 10)


def test_where_only_alerts_of_the_champion_were_reviewed_nothing_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its mistakes are known and those of an equal model are not, so that one looks better."""
    data, rng = world(), np.random.default_rng(5)
    equal = data.values[:, :1] + rng.normal(size=(ROWS, 2))
    flagged = equal[:, 0] > np.quantile(equal[:, 0], 0.97)
    theirs = champion("told", START, monkeypatch)
    known = replace(data, values=equal)
    for reviewed, told in ((flagged | data.fraud, False), (np.ones(ROWS, bool), True)):
        some = replace(known, judged=reviewed)
        found = versus(theirs, some, scored(some, "chance"), [])
        assert found is not None
        assert "cannot be told" in sentence(found)
        assert ("favours the newer model" in sentence(found)) is not told
        assert found["one_sided"] is not told
        assert better({"champion": found}, {"version": "old"}) == sentence(found)


def test_windows_whose_labels_cover_ordinary_payments_are_compared_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Labels may be complete for the past, and come from reviewed alerts alone since the start of the service."""
    data = world()
    late = data.micros >= FIRST + 23 * DAY
    some = replace(data, judged=~late | data.fraud | (data.values[:, 1] > 2))
    found = versus(champion("chance", START, monkeypatch), some, scored(some, "told"), [])
    assert found is not None
    assert (found["from"][:10], found["until"][:10]) == ("2026-05-17", "2026-05-24")
    assert "finds fraud better" in sentence(found)


def test_a_comparison_of_an_earlier_version_reads_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    data = world()
    found = versus(champion("chance", START, monkeypatch), data, scored(data, "told"), [])
    assert found is not None
    older = {name: value for name, value in found.items() if name not in ("defrauded_customers", "one_sided")}
    assert sentence(older) == sentence(found)
    assert "cannot be told: average" in sentence(older | {"interval": None})


def test_only_payments_later_than_the_champions_training_and_its_labels_count(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = world()
    windows = scored(data, "told")
    late = versus(champion("told", START + timedelta(days=20), monkeypatch), data, windows, [])
    assert late is not None
    assert late["from"] == "2026-05-28T00:00:00+00:00"
    assert late["transactions"] == (data.micros[windows[1].rows] >= FIRST + 27 * DAY).sum()
    assert versus(champion("told", START + timedelta(days=25), monkeypatch), data, windows, []) is None


def test_training_compares_with_the_champion_and_says_so_in_its_report() -> None:
    rows = rows_of_two_months(9_000, days=60)
    request = Request("isolation_forest", features=("amount", "user_count_7d"), label_delay_days=3)
    first = train(rows.slice(0, 6_000), request)
    assert first.report["champion"] is None
    again = train(rows, request, champion=artifact.verified(first.files, "memory"))
    found = again.report["champion"]
    assert found["version"] == first.report["version"]
    assert found["transactions"] <= sum(fold["judged"] for fold in again.report["folds"])
    assert 0 < found["frauds"] < found["transactions"]
    assert json.loads(json.dumps(again.report))["champion"]["interval"] == list(found["interval"])


def test_a_champion_that_cannot_judge_these_payments_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor is the code of an estimator run to train another model."""
    data, notes = world(), list[str]()
    assert versus(champion("gone", START, monkeypatch), data, scored(data, "told"), notes) is None
    own = champion("told", START, monkeypatch)
    assert versus(Model(own.manifest, {ESTIMATOR: b""}), data, scored(data, "told"), notes) is None
    assert "it needs gone" in notes[0]
    assert "it has no trees" in notes[1]


@pytest.mark.parametrize(
    ("broken", "why"),
    [
        ({"training": {}}, "has no until"),
        ({"training": {"until": "2026-05-01T00:00:00"}}, "an until without a time zone"),
        ({"label_delay_days": None}, "has no label_delay_days"),
        ({}, "The trees of model old cannot be read"),
    ],
)
def test_a_champion_that_cannot_be_used_leaves_the_new_model(broken: dict[str, Any], why: str) -> None:
    """It is seen when the training is done, and was its end."""
    first = {
        "version": "old",
        "features": ["amount"],
        "label_delay_days": 3.0,
        "training": {"until": "2024-01-01T00:00:00+00:00"},
    }
    request = Request(
        "random_forest", features=("amount",), label_delay_days=3, parameters={"n_estimators": 5}
    )
    rows = rows_of_two_months(2_000, days=40)
    report = train(rows, request, champion=Model(first | broken, {TREES: b"PAR1"})).report
    assert report["champion"] is None
    (note,) = [note for note in report["notes"] if "The champion old was not compared: " in note]
    assert why in note
