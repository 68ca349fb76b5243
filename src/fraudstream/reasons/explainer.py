"""Why a transaction was flagged: the reasons of an alert, first rules that matched, then what raised the model's risk.

A reason is a JSON object with a `sentence`. A rule's also has `rule` and `severity`, a model's `feature`,
`contribution` (in the unit of the trees, positive raises the risk) and `value`; a sentence alone says
why there are no others.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fraudstream.arrays import Floats
from fraudstream.decision import CONTEXT
from fraudstream.model.trees import Ensemble
from fraudstream.reasons.contributions import raised
from fraudstream.reasons.payment import Payment
from fraudstream.reasons.phrases import shown
from fraudstream.reasons.sentences import SENTENCES, is_notable, lacks_subject, say
from fraudstream.rules import Rule, render

Reason = dict[str, Any]
Decision = Mapping[str, Any]
"""`amount`, `risk`, `rules`, `features` and the fields of `decision.CONTEXT`; it may have other fields of a decision."""

MOST = 4
"""Maximum number of the model's reasons per alert: a fifth never changes a reviewer's mind."""
WEAK = 0.1
"""Minimum share of the strongest contribution: smaller ones add words, not reasons."""

NONE_RAISED = "no reasons: no feature raised the risk above that of an average payment"


@dataclass(frozen=True)
class Explainer:
    """Gives reasons for the decisions of one model."""

    version: str
    ensemble: Ensemble | None = None
    threshold: float = 0.0
    """Risk from which the model itself flags a transaction."""
    fraud_share: float | None = None
    """Share of fraud in the labelled training payments."""
    trouble: str = ""
    """Why the model gives no reasons, if so, in a sentence."""

    def reasons(self, decisions: Sequence[Decision], rules: Mapping[str, Rule]) -> list[list[Reason]]:
        """The reasons of each decision, strongest first. `rules` are the operator's by name. Never raises."""
        found = [_of_rules(decision, rules) for decision in decisions]
        # If only a rule flagged it, the model's strongest features are not the reason.
        asked = [
            place
            for place, decision in enumerate(decisions)
            if decision["risk"] >= self.threshold or not decision["rules"]
        ]
        for place, more in zip(asked, self._of_model([decisions[place] for place in asked]), strict=True):
            found[place] += more
        return found

    def _of_model(self, decisions: Sequence[Decision]) -> Iterator[list[Reason]]:
        if self.ensemble is None:
            yield from ([{"sentence": self.trouble}] for _ in decisions)
            return
        names = self.ensemble.features
        missing = [[name for name in names if name not in decision["features"]] for decision in decisions]
        x = np.array(
            [
                [decision["features"][name] for name in names]
                for decision, lacks in zip(decisions, missing, strict=True)
                if not lacks
            ]
        ).reshape(-1, len(names))
        shares = iter(raised(self.ensemble, x))
        for decision, lacks in zip(decisions, missing, strict=True):
            if lacks:
                yield [
                    {
                        "sentence": f"no reasons: the decision lacks {lacks[0]}, which model {self.version} reads"
                    }
                ]
            else:
                yield self._strongest(decision, next(shares)) or [{"sentence": NONE_RAISED}]

    def _strongest(self, decision: Decision, shares: Floats) -> list[Reason]:
        """The features that raised the risk most, one per theme; notable ones first."""
        assert self.ensemble is not None, "called only if there are trees"  # noqa: S101 - narrows the type
        payment = Payment(
            decision["amount"],
            decision["features"],
            fraud_share=self.fraud_share,
            **{name: decision[name] for name in CONTEXT},
        )
        names, limit = self.ensemble.features, WEAK * max(shares.max(initial=0.0), 0.0)
        strong = [names[j] for j in np.argsort(-shares, kind="stable") if shares[j] > limit]
        # For a payment without a merchant, device or place, the only reason about them is that, and only if there are no others.
        strong = [name for name in strong if not lacks_subject(name, payment)] or strong[:1]
        chosen: dict[str, str] = {}
        for name in [name for name in strong if is_notable(name, payment)] or strong:
            chosen.setdefault(SENTENCES[name].theme, name)
        contribution = dict(zip(names, shares.tolist(), strict=True))
        return [
            {
                "feature": name,
                "contribution": contribution[name],
                "value": payment.features[name],
                "sentence": say(name, payment),
            }
            for name in list(chosen.values())[:MOST]
        ]


def _of_rules(decision: Decision, rules: Mapping[str, Rule]) -> list[Reason]:
    values = {**decision, **decision["features"]}
    return [
        {"rule": name, "severity": rules[name].severity, "sentence": render(rules[name], values)}
        if name in rules
        else {"rule": name, "severity": None, "sentence": f"rule {shown(name)} matched"}
        for name in decision["rules"]
    ]
