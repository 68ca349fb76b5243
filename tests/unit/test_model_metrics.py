"""Figures agree with scikit-learn, with hand counts, and say nothing where nothing can be said."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from fraudstream.arrays import Integers
from fraudstream.micros import DAY
from fraudstream.model import metrics
from fraudstream.model.folds import busy_days, days_between, learn_until, plan

ROWS = st.lists(st.tuples(st.integers(0, 6), st.booleans(), st.integers(0, 3)), min_size=2, max_size=60)


@given(ROWS)
@settings(max_examples=200)
def test_average_precision_and_roc_are_scikit_learns(rows: list[tuple[int, bool, int]]) -> None:
    """Ties and weights included."""
    risk = np.array([r for r, _, _ in rows], dtype=np.float64)
    fraud = np.array([f for _, f, _ in rows])
    weights = np.array([w for _, _, w in rows], dtype=np.float64)
    if not fraud.any() or fraud.all():
        return
    assert metrics.average_precision(risk, fraud) == pytest.approx(average_precision_score(fraud, risk))
    assert metrics.roc_auc(risk, fraud) == pytest.approx(roc_auc_score(fraud, risk))
    if 0 < (weights * fraud).sum() < weights.sum():
        expected = average_precision_score(
            fraud[weights > 0], risk[weights > 0], sample_weight=weights[weights > 0]
        )
        assert metrics.Ranking.of(risk, fraud).average_precision(weights) == pytest.approx(expected)


def test_card_precision_counts_customers_by_day_and_blocks_the_caught() -> None:
    """Two cards a day: on day 0 customer 1 is caught, so on day 1 the next two are looked at."""
    day = np.array([0, 0, 0, 0, 1, 1, 1, 1])
    customer = np.array([1, 1, 2, 3, 1, 2, 3, 4])
    risk = np.array([0.9, 0.1, 0.8, 0.7, 0.99, 0.5, 0.6, 0.1])
    fraud = np.array([False, True, False, True, True, False, True, True])
    assert metrics.card_precision(risk, fraud, day, customer, top=2) == pytest.approx((1 / 2 + 1 / 2) / 2)


def test_nothing_is_said_without_fraud() -> None:
    risk, none = np.array([0.1, 0.5]), np.array([False, False])
    assert metrics.average_precision(risk, none) is None
    assert metrics.roc_auc(risk, none) is None
    assert metrics.card_precision(risk, none, np.zeros(2, int), np.arange(2)) is None
    assert metrics.recall_at(risk, none, 0.5) is None
    assert metrics.interval([(risk, none, np.arange(2))], 2) is None


def test_nothing_is_said_of_precision_where_only_frauds_are_labelled() -> None:
    """Every ranking of frauds alone is perfect, a random one included; which of them were found can still be said."""
    risk, only = np.array([0.1, 0.5]), np.array([True, True])
    assert metrics.average_precision(risk, only) is None
    assert metrics.roc_auc(risk, only) is None
    assert metrics.card_precision(risk, only, np.zeros(2, int), np.arange(2)) is None
    assert metrics.interval([(risk, only, np.arange(2))], 2) is None
    assert metrics.recall_at(risk, only, 0.5) == 0.5


@given(
    st.lists(st.sampled_from([0.0, 0.1, 0.5, 0.5000001, 0.9, 1.0]), min_size=1, max_size=80), st.floats(0, 1)
)
def test_a_threshold_never_exceeds_its_budget_and_stands_on_no_risk(values: list[float], rate: float) -> None:
    risk = np.array(values)
    threshold = metrics.threshold_for(risk, rate)
    flagged = int((risk >= threshold).sum())
    allowed = metrics.allowed(rate, len(risk))
    assert flagged <= allowed <= rate * len(risk) + 1e-9
    if allowed < len(risk):
        assert np.abs(risk - threshold).min() > 1e-10
        missed = risk[risk < threshold].max()
        assert flagged + (risk == missed).sum() > allowed


@pytest.mark.parametrize("top", [1.0, 1e5, 2e7, 1e9, 1e300])
def test_a_tie_at_the_top_is_not_flagged_however_high_the_scores_are(top: float) -> None:
    """Risks end at 1, amounts do not: from ten million on, what was added to be above the tie was lost in rounding."""
    scores = np.append(np.random.default_rng(0).uniform(0, top / 2, 900), np.full(100, top))
    assert not (scores >= metrics.threshold_for(scores, 0.005)).any()


def test_a_threshold_between_two_neighbouring_numbers_flags_the_higher_one() -> None:
    """There is nothing in the middle of them, and it would be rounded to the one that is beyond the budget."""
    low = np.nextafter(2e7, np.inf)
    for refused in (low, np.nextafter(low, np.inf)):
        scores = np.array([np.nextafter(refused, np.inf), *[refused] * 9])
        assert (scores >= metrics.threshold_for(scores, 0.1)).sum() == 1


@pytest.mark.parametrize(("rate", "rows"), [(0.29, 29), (0.57, 57), (0.07, 7), (0.295, 29)])
def test_a_budget_of_hundredths_is_used_to_the_last_row(rate: float, rows: int) -> None:
    """0.29 times 100 is 28.999999999999996 in doubles."""
    risk = np.arange(100) / 100
    assert (risk >= metrics.threshold_for(risk, rate)).sum() == rows


def test_the_interval_holds_the_figure_and_is_wider_when_frauds_share_a_customer() -> None:
    """Rows of one victim are one piece of evidence, not many."""
    rng = np.random.default_rng(0)
    fraud = np.zeros(4000, dtype=bool)
    fraud[:200] = True
    risk = rng.random(4000) + fraud * rng.random(4000)
    spread = np.arange(4000) % 1000
    clumped = np.where(fraud, np.arange(4000) // 40, spread)
    risk[clumped < 2] += 1.0
    figure = metrics.average_precision(risk, fraud)
    wide = metrics.interval([(risk, fraud, clumped)], 1000)
    narrow = metrics.interval([(risk, fraud, spread)], 1000)
    assert figure is not None
    assert wide is not None
    assert narrow is not None
    assert narrow[0] < figure < narrow[1]
    assert wide[1] - wide[0] > narrow[1] - narrow[0]


def hourly(first: int, last: int) -> Integers:
    """A transaction an hour."""
    return np.append(np.arange(first, last, DAY // 24), last)


@given(st.integers(1, 400), st.floats(0.05, 60))
def test_folds_are_in_order_of_time_with_the_delay_between(days: int, delay: float) -> None:
    first = 17_000 * DAY + 12345
    last = first + days * DAY
    made = plan(hourly(first, last), delay, 0.005)
    folds = (*made.validation, *made.test)
    for fold in folds:
        assert first < fold.train_until <= fold.test_from - delay * DAY + 1
        assert fold.test_from < fold.test_until
        assert fold.test_from % DAY == 0
    for earlier, later in pairwise(folds):
        assert earlier.test_until <= later.test_from
    if folds:
        assert folds[-1].test_until >= last
        assert min(f.test_from for f in made.test) >= max(f.test_until for f in made.validation)


def test_a_short_history_gives_shorter_windows_and_then_none() -> None:
    start = 17_000 * DAY
    made = [plan(hourly(start, start + days * DAY - 1), 7, 0.005) for days in (180, 30, 8)]
    assert [found.window_days for found in made] == [7, 2, 0]
    assert [found.possible for found in made] == [True, True, False]


@given(st.integers(0, 60), st.integers(0, 60), st.integers(15, 90), st.integers(0, 400))
def test_a_pause_and_a_straggler_leave_no_window_empty(
    pause: int, at: int, days: int, straggler: int
) -> None:
    """Each window holds as many days with transactions as the others, and the history ends where it did."""
    start = 17_000 * DAY
    steady = np.arange(start, start + days * DAY, DAY // 240)
    paused = np.where(steady >= start + at * DAY, steady + pause * DAY, steady)
    made = plan(np.append(paused, paused[-1] + straggler * DAY), 2, 0.005)
    assert made.window_days == plan(steady, 2, 0.005).window_days > 0
    for fold in (*made.validation, *made.test):
        assert ((paused >= fold.test_from) & (paused < fold.test_until)).sum() == 240 * made.window_days
        assert ((paused >= fold.train_until) & (paused < fold.test_from)).sum() >= 200


def test_the_threshold_of_a_small_budget_rests_on_as_many_rows_as_one_alert_takes() -> None:
    micros = hourly(0, 100 * DAY)
    before = [
        int((micros >= learn_until(micros, 90 * DAY, 1, rate)).sum()) - 241 for rate in (0.1, 0.01, 1e-6)
    ]
    assert before == [24, 100, int(0.2 * 90 * 24)]


def test_a_day_is_quiet_where_next_to_nothing_happened() -> None:
    many = np.sort(np.tile(np.arange(10) * DAY, 500))
    assert list(busy_days(np.append(many, [40 * DAY, 41 * DAY])) // DAY) == list(range(10))
    assert list(busy_days(np.array([5, 90 * DAY])) // DAY) == [0, 90]


def test_the_days_of_a_span_are_the_busy_ones_also_at_its_ends() -> None:
    """After a pause, `--alerts-per-day` counted the end of a quiet day, too, and gave a budget that was too large."""
    steady = np.arange(100 * DAY, 110 * DAY, DAY // 240)
    micros = np.concatenate([[0], steady, [140 * DAY]])
    spans = [(100.25, 101.75), (104.5, 104.75), (98.5, 103.0), (0.0, 140.0), (108.0, 120.5), (120.0, 130.0)]
    counted = [days_between(micros, int(since * DAY), int(until * DAY)) for since, until in spans]
    assert counted == [1.5, 0.25, 3.0, 10.0, 2.0, 0.0]
