"""What rules would have done, counted by hand and by the program."""

import numpy as np
import pytest

from fraudstream.rules import Rule
from fraudstream.rules.backtest import Window, report

NO, YES = False, True
FRAUD = np.array([YES, YES, YES, NO, NO, NO, NO, NO])
JUDGED = np.array([YES, YES, YES, YES, YES, YES, NO, NO])
FLAGGED = np.array([YES, NO, NO, NO, NO, NO, NO, YES])
PACE = np.array([YES, YES, NO, YES, NO, NO, YES, NO])
PLACE = np.array([NO, NO, NO, NO, NO, NO, YES, NO])
RULES = [Rule("pace", "amount > 1", "x", "high"), Rule("place", "amount > 2", "x", "low")]


def test_alerts_are_counted_against_what_is_known() -> None:
    """Four alerts in two days: one unjudged, two of the three judged ones fraud, one of those new to the model."""
    found = report(RULES, np.array([PACE, PLACE]), Window(2.0, FRAUD, JUDGED, FLAGGED))
    assert found["rules"][0] == {
        "name": "pace", "severity": "high", "alerts": 4, "alerts_per_day": 2.0, "judged": 3, "frauds": 2,
        "precision": pytest.approx(2 / 3), "recall": pytest.approx(2 / 3), "new_alerts": 3, "new_frauds": 1,
    }  # fmt: skip
    assert (found["transactions"], found["judged"], found["frauds"]) == (8, 6, 3)
    assert found["model"] == {
        "alerts": 2, "alerts_per_day": 1.0, "judged": 1, "frauds": 1,
        "precision": 1.0, "recall": pytest.approx(1 / 3),
    }  # fmt: skip


def test_a_transaction_that_two_rules_flag_is_one_alert_together() -> None:
    found = report(RULES, np.array([PACE, PLACE]), Window(2.0, FRAUD, JUDGED, FLAGGED))
    assert found["together"]["alerts"] == 4


def test_a_rule_is_given_no_precision_where_only_frauds_are_labelled() -> None:
    """A useless one flags 200 payments, the 5 known frauds among them: all that are judged are fraud, and it is not perfect."""
    hits, fraud = np.ones(200, dtype=np.bool_), np.arange(200) < 5
    found = report(RULES[:1], hits[None], Window(1.0, fraud, fraud, hits))
    for line in (*found["rules"], found["together"], found["model"]):
        assert (line["alerts"], line["judged"], line["precision"], line["recall"]) == (200, 5, None, 1.0)


@pytest.mark.parametrize(("legitimate", "precise"), [(3, False), (150, True)])
def test_a_few_dismissed_alerts_beside_chargebacks_make_no_precision_yet(
    legitimate: int, precise: bool
) -> None:
    """Of a rule that flags everything, 5 of the 8 labelled alerts are fraud; of all payments, 1 in 40."""
    hits, place = np.ones(200, dtype=np.bool_), np.arange(200)
    fraud = place % 40 == 0
    cleared = np.isin(place, place[~fraud][::-1][:legitimate])
    found = report(RULES[:1], hits[None], Window(1.0, fraud, fraud | cleared, hits))
    for line in (*found["rules"], found["together"], found["model"]):
        assert line["precision"] == (5 / 155 if precise else None)
        assert (line["judged"], line["recall"]) == (5 + legitimate, 1.0)


def test_what_nobody_knows_is_not_given_a_number() -> None:
    """No judged alert, no known fraud, no model: null instead of 0 or an error."""
    nothing = np.zeros(8, dtype=np.bool_)
    found = report(RULES, np.array([PLACE, nothing]), Window(1.0, nothing, nothing, None))
    assert found["rules"][0]["alerts"] == 1
    for line in (*found["rules"], found["together"]):
        assert [line[key] for key in ("precision", "recall", "new_alerts", "new_frauds")] == [None] * 4
    assert found["model"] is None
