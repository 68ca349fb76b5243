"""A model's evaluation, from its manifest: detection, features, calibration."""

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import pandas as pd
import streamlit as st

from fraudstream.dashboard import charts, figures, shell
from fraudstream.features.definitions import FEATURES
from fraudstream.store.findings import wilson
from fraudstream.store.model_quality import Reviewed

OTHERS = {"amount": charts.AMBER, "random": charts.GREY}
"""The baselines of every report."""
MOST_IMPORTANT = 15
WIDE = 100.0
"""Ratio of a feature's largest value to a usual one from which its scale is logarithmic."""


def detection(manifest: Mapping[str, Any]) -> None:
    """Draw the precision-recall curve, the kinds of fraud and the test windows."""
    if not manifest.get("folds"):
        shell.empty(
            "This model could not be evaluated.",
            "Its history was too short, or no transaction in it was known to be fraud. Train on a longer history.",
        )
        return
    left, right = st.columns([3, 2], gap="medium")
    with left:
        _curve(manifest)
    with right:
        _scenarios(manifest.get("scenarios", {}))
    _windows(manifest["folds"])


def _curve(manifest: Mapping[str, Any]) -> None:
    curves = manifest.get("curves") or {}
    if not curves:
        shell.empty(
            "No precision-recall curve.",
            "Needs test windows with known fraud and known legitimate transactions.",
        )
        return
    own = str(manifest.get("algorithm"))
    colours = {own: charts.ORANGE} | {name: OTHERS.get(name, charts.BLUE) for name in curves if name != own}
    data = pd.DataFrame(
        [
            {"way": name, "recall": place / (len(curve) - 1), "precision": precision}
            for name, curve in curves.items()
            for place, precision in enumerate(curve)
        ]
    )
    chart = (
        alt.Chart(data)
        .mark_line(strokeWidth=2, interpolate="step-before", clip=True)
        .encode(
            x=alt.X("recall:Q", axis=alt.Axis(title="recall: share of the fraud that is found", format="%", grid=False)),
            y=charts.y_axis("precision", "precision: share of the alerts that are fraud", "%", domain=[0, 1]),
            color=charts.named("way", colours),
            tooltip=[
                charts.tip("way", "way"), charts.tip("recall", "recall", ".0%"), charts.tip("precision", "precision", ".1%"),
            ],
        )
    )  # fmt: skip
    about = "Precision at each recall, mean of the test windows, for the model and the baselines"
    shell.chart("Precision against recall", charts.finished(chart, about, 340))


def _scenarios(scenarios: Mapping[str, Mapping[str, Any]]) -> None:
    if not scenarios:
        shell.empty(
            "Kinds of fraud are not known.", "The transactions name none (<code>fraud_scenario</code>)."
        )
        return
    data = pd.DataFrame(
        [
            {"kind": name.replace("_", " "), "recall": found["recall_at_budget"], "frauds": found["frauds"]}
            for name, found in scenarios.items()
        ]
    )
    base = alt.Chart(data).encode(
        y=alt.Y("kind:N", sort="-x", axis=alt.Axis(title=None, labelLimit=170)),
        tooltip=[
            charts.tip("kind", "kind"), charts.tip("recall", "found", ".0%"), charts.tip("frauds", "frauds", ",d"),
        ],
    )  # fmt: skip
    axis = alt.Axis(title="share found within the alert budget", format="%", tickCount=5)
    bars = base.mark_bar(color=charts.ORANGE, cornerRadiusEnd=3).encode(
        x=alt.X("recall:Q", scale=alt.Scale(domain=[0, 1]), axis=axis)
    )
    about = "Share of the frauds of each kind that the alert budget finds"
    shell.chart("Recall by kind of fraud", charts.finished(bars, about, 340))


def _windows(folds: Sequence[Mapping[str, Any]]) -> None:
    st.subheader("Test windows", anchor=False)
    data = pd.DataFrame(
        {
            "from": [str(fold["test_from"])[:10] for fold in folds],
            "to": [str(fold["test_until"])[:10] for fold in folds],
            "learned until": [str(fold["train_until"])[:10] for fold in folds],
            "transactions": [figures.count(fold["transactions"]) for fold in folds],
            "frauds": [figures.count(fold["frauds"]) for fold in folds],
            "average precision": [figures.figure(fold.get("average_precision")) for fold in folds],
            "amount alone": [
                figures.figure(fold["baselines"]["amount"].get("average_precision")) for fold in folds
            ],
            "recall at the budget": [figures.share(fold.get("recall_at_budget")) for fold in folds],
            "alert rate": [figures.share(fold.get("alert_rate"), 2) for fold in folds],
        }
    )
    st.dataframe(data, hide_index=True)


def features(manifest: Mapping[str, Any]) -> None:
    """Draw which features matter to the model, and how risk depends on each."""
    importance, dependence = manifest.get("importance") or {}, manifest.get("dependence") or {}
    if not importance:
        shell.empty(
            "Feature importances were not stored with this model.",
            "Models trained with this version of fraudstream have them.",
        )
        return
    left, right = st.columns([2, 3], gap="medium")
    with left:
        _importance(importance)
    with right:
        if not dependence:
            shell.empty(
                "The risk depends on no single feature.", "It changes only if several features change."
            )
            return
        name = st.selectbox(
            "How risk depends on",
            [name for name in _strongest(importance) if name in dependence],
            key="feature",
            format_func=lambda name: f"{name}: {_meaning(name)}",
        )
        _dependence(name, dependence[name], manifest.get("threshold"))


def _strongest(importance: Mapping[str, float]) -> list[str]:
    """Features that matter, the most important first: PostgreSQL does not keep the order of keys."""
    return sorted(
        (name for name, change in importance.items() if change > 0), key=lambda name: -importance[name]
    )


def _meaning(name: str) -> str:
    return FEATURES[name].meaning if name in FEATURES else "not a feature of this version"


def _importance(importance: Mapping[str, float]) -> None:
    data = pd.DataFrame(
        [
            {"feature": name, "change": importance[name], "meaning": _meaning(name)}
            for name in _strongest(importance)[:MOST_IMPORTANT]
        ]
    )
    chart = (
        alt.Chart(data)
        .mark_bar(color=charts.BLUE, cornerRadiusEnd=3)
        .encode(
            y=alt.Y("feature:N", sort=None, axis=alt.Axis(title=None, labelLimit=190, labelOverlap=False)),
            x=alt.X("change:Q", axis=alt.Axis(title="change of the risk of a flagged transaction", format="~%", tickCount=5)),
            tooltip=[
                charts.tip("feature", "feature"), charts.tip("meaning", "meaning"), charts.tip("change", "change", ".2%"),
            ],
        )
    )  # fmt: skip
    about = "By how much the risk of a flagged transaction changes when one feature alone takes a usual value"
    shell.chart("Importance", charts.finished(chart, about, 26 * len(data) + 90))
    st.caption(
        "How much the risk of a flagged transaction changes when this feature alone takes a usual value."
    )


def _dependence(name: str, curve: Mapping[str, Sequence[float]], threshold: float | None) -> None:
    values = curve["value"]
    data = pd.DataFrame(
        [
            {"value": value, "risk": risk, "who": who}
            for who, risks in (
                ("flagged transactions", curve["flagged"]),
                ("usual transactions", curve["usual"]),
            )
            for value, risk in zip(values, risks, strict=True)
        ]
    )
    middle = abs(values[len(values) // 3]) or 1.0
    wide = max(map(abs, values)) / middle > WIDE
    scale = alt.Scale(type="symlog", constant=middle) if wide else alt.Scale(zero=False)
    colours = {"flagged transactions": charts.ORANGE, "usual transactions": charts.BLUE}
    base = alt.Chart(data).encode(
        x=alt.X("value:Q", scale=scale, axis=alt.Axis(title=_meaning(name), format="~s", tickCount=6, grid=False)),
        y=charts.y_axis("risk", "mean risk", "~%", zero=True),
        color=charts.named("who", colours),
        tooltip=[charts.tip("who", "who"), charts.tip("value", name, ",.4~g"), charts.tip("risk", "mean risk", ".1%")],
    )  # fmt: skip
    drawn: Any = base.mark_line(strokeWidth=2) + base.mark_circle(size=45)
    if isinstance(threshold, (int, float)):
        drawn = drawn + charts.rule_at(threshold, "threshold")
    about = f"Mean risk when all of a sample have the same {name}"
    shell.chart(f"Risk by {name}", charts.finished(drawn, about, 340))


def calibration(manifest: Mapping[str, Any], reviewed: Sequence[Reviewed]) -> None:
    """Draw whether a risk of 70 % means fraud in 70 % of the cases."""
    rows = [
        _judged("test windows", bin_["risk"], bin_["fraud"], bin_["transactions"])
        for bin_ in manifest.get("calibration") or ()
    ]
    # With chargebacks as the only labels, every risk would be fraud.
    if any(found.fraud < found.reviewed for found in reviewed):
        rows += [
            _judged("reviewed alerts", found.risk, found.fraud / found.reviewed, found.reviewed)
            for found in reviewed
        ]
    if not rows:
        shell.empty(
            "Nothing to compare the risk with yet.",
            "Needs transactions that are known to be fraud, or reviewed alerts.",
        )
        return
    if manifest.get("tier") == "label_free":
        st.info(
            "This model was trained without labels: its risk is a ranking, not a probability. Do not expect the diagonal."
        )
    data = pd.DataFrame(rows)
    colours = {"test windows": charts.BLUE, "reviewed alerts": charts.ORANGE}
    axis = alt.Axis(title="risk that the model gave", format="%", grid=False, tickCount=10)
    base = alt.Chart(data).encode(
        x=alt.X("risk:Q", scale=alt.Scale(domain=[0, 1]), axis=axis),
        color=charts.named("where", colours),
        tooltip=[
            charts.tip("where", "where"), charts.tip("risk", "mean risk", ".1%"), charts.tip("fraud", "was fraud", ".1%"),
            charts.tip("transactions", "transactions", ",d"),
        ],
    )  # fmt: skip
    spread = base.mark_rule(strokeWidth=2, opacity=0.55).encode(
        y=charts.y_axis("low", "share that was fraud", "%", domain=[0, 1]), y2="high:Q"
    )
    points = base.mark_circle(size=90, opacity=1).encode(y="fraud:Q")
    diagonal = (
        alt.Chart(pd.DataFrame({"risk": [0, 1], "fraud": [0, 1]}))
        .mark_line(strokeDash=[5, 4], color=charts.GREY, strokeWidth=1.5)
        .encode(x="risk:Q", y="fraud:Q")
    )
    about = "For each tenth of the risk, the share that was fraud; on the diagonal the risk is a probability"
    shell.chart("Calibration", charts.finished(diagonal + spread + points, about, 380))
    st.caption(
        "Each point is a tenth of the range of risk, with its 95 % interval; on the dashed line, a risk is a probability."
    )


def _judged(where: str, risk: float, fraud: float, transactions: int) -> dict[str, object]:
    """A point with Wilson's interval, which is valid for shares near 0 and 1, too."""
    count = max(transactions, 1)
    low, high = wilson(fraud * count, count)
    return {
        "where": where, "risk": risk, "fraud": fraud, "transactions": transactions, "low": low, "high": high,
    }  # fmt: skip
