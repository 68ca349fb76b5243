"""A model's live performance, and its comparison with the other models."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import altair as alt
import pandas as pd
import streamlit as st

from fraudstream.dashboard import charts, figures, shell
from fraudstream.dashboard.contest import better
from fraudstream.dashboard.figures import escaped
from fraudstream.model.figures import FIGURES
from fraudstream.store import review
from fraudstream.store.drift import ELSEWHERE, SHIFTED, Drift, Moved
from fraudstream.store.model_quality import AtWork, Quality
from fraudstream.store.registry import Registered, Status

WORDS = {
    Moved.NOT: "no drift",
    Moved.A_LITTLE: "some drift, worth a look",
    Moved.FAR: "strong drift, train a new model",
}
VERDICTS = {"confirmed": charts.ORANGE, "dismissed": charts.GREEN, "not reviewed": charts.GREY}
SHOWN = {
    name: FIGURES[name] for name in ("average_precision", "card_precision_100", "recall_at_budget", "roc_auc")
}
"""The manifest's figures on the page."""


def at_work(work: AtWork, manifest: Mapping[str, Any]) -> None:
    """Draw the drift of the risks, and the verdicts on the alerts."""
    if not (work.drift or work.quality):
        shell.empty(
            "This model has not decided anything yet.",
            "Its decisions appear here when <code>fraudstream score</code> runs with it and <code>fraudstream consume</code> stores them.",
        )
        return
    left, right = st.columns(2, gap="medium")
    with left:
        _drift(work)
    with right:
        _spread(work, manifest.get("score_reference") or {})
    if work.quality:
        _quality(work)


def _drift(work: AtWork) -> None:
    if not work.drift:
        shell.empty(
            "Drift cannot be computed.", "The model has no reference risks, or made no decisions recently."
        )
        return
    now = datetime.now(UTC)
    data = pd.DataFrame(
        {
            "time": [figures.iso(day.day) for day in work.drift],
            "when": [named_day(day.day, now) for day in work.drift],
            "psi": [day.psi for day in work.drift],
            "scatter": [day.scatter for day in work.drift],
            "scores": [day.scores for day in work.drift],
        }
    )
    tips = [
        charts.tip("when", "day"), charts.tip("psi", "index", ".3f"), charts.tip("scatter", "sampling noise up to", ".3f"),
        charts.tip("scores", "decisions", ",d"),
    ]  # fmt: skip
    base = alt.Chart(data).encode(x=charts.time_axis("day (UTC)"), tooltip=tips)
    psi = base.encode(y=charts.y_axis("psi", "population stability index", ".2f", domainMin=0))
    scatter: Any = base.mark_line(color=charts.GREY, strokeDash=[2, 3]).encode(y="scatter:Q")
    if len(data) == 1:  # one point makes no line
        scatter = alt.Chart(data).mark_rule(color=charts.GREY, strokeDash=[2, 3]).encode(y="scatter:Q")
    drawn: Any = psi.mark_line(color=charts.BLUE, strokeWidth=2) + psi.mark_circle(color=charts.BLUE, size=60)
    drawn = drawn + scatter
    drawn = (
        drawn
        + charts.rule_at(SHIFTED, "look", charts.AMBER)
        + charts.rule_at(ELSEWHERE, "act", charts.ORANGE)
    )
    shell.chart(
        "Drift of the risks",
        charts.finished(drawn, "How far each day's risks are from those in training", 240),
    )
    st.caption(
        f"Compared with the risks in training; the last day: {_drifted(work.drift[-1])}. Values below the dotted line are sampling noise."
    )


def named_day(day: datetime, now: datetime) -> str:
    """A day for a tooltip; the present one is not complete."""
    return f"{day:%Y-%m-%d}, so far" if day <= now < day + timedelta(days=1) else f"{day:%Y-%m-%d}"


def last_days(newest: datetime, now: datetime) -> str:
    """The week that ends with a model's newest decisions."""
    if now - newest < timedelta(days=1):
        return "the last 7 days"
    return f"its last 7 days, until {newest:%Y-%m-%d}"


def _drifted(day: Drift) -> str:
    """A day's drift in words, by the rule of `health`."""
    return f"{day.psi:.3f} with {figures.count(day.scores)} decisions, {WORDS[day.moved]}"


def _spread(work: AtWork, reference: Mapping[str, Any]) -> None:
    shares = reference.get("shares") or []
    total = sum(found.count for found in work.bins)
    if not shares or not total or work.newest is None:
        shell.empty(
            "No risks to compare.", "The model has no reference risks, or made no decisions recently."
        )
        return
    counts = {found.bin: found.count for found in work.bins}
    lately = last_days(work.newest, datetime.now(UTC))
    edges = [0.0, *reference.get("edges", []), 1.0]
    data = pd.DataFrame(
        [
            {
                "bin": place + 1,
                "share": share,
                "what": what,
                "range": f"{edges[place]:.3f} to {edges[place + 1]:.3f}",
            }
            for what, values in (
                (lately, [counts.get(place, 0) / total for place in range(len(shares))]),
                ("training", shares),
            )
            for place, share in enumerate(values)
        ]
    )
    chart = (
        alt.Chart(data)
        .mark_bar(cornerRadiusEnd=2)
        .encode(
            x=alt.X(
                "bin:O", axis=alt.Axis(title="risks in training in equal parts, lowest first", labelAngle=0)
            ),
            xOffset=alt.XOffset("what:N", sort=["training", lately]),
            y=charts.y_axis("share", "share of the decisions", "%"),
            color=charts.named("what", {"training": charts.GREY, lately: charts.BLUE}),
            tooltip=[
                charts.tip("what", "when"),
                charts.tip("range", "risk"),
                charts.tip("share", "share", ".1%"),
            ],
        )
    )
    shell.chart(
        "Distribution of the risks",
        charts.finished(chart, "Share of the decisions in each part of the risks in training", 240),
    )
    st.caption("Bars of equal height mean that live risks are distributed as in training.")


def week(found: Sequence[Quality]) -> list[Quality]:
    """At least a week of days, including those without alerts: a single day would be a bar as wide as the page."""
    start = max(day.day for day in found) - timedelta(days=6)
    return [*([Quality(start, 0, 0, 0, 0)] if start < min(day.day for day in found) else []), *found]


def _quality(work: AtWork) -> None:
    now = datetime.now(UTC)
    data = pd.DataFrame(
        [
            {
                "time": figures.iso(day.day),
                "when": named_day(day.day, now),
                "place": place,
                "what": what,
                "alerts": alerts,
            }
            for day in week(work.quality)
            for place, (what, alerts) in enumerate(
                (
                    ("confirmed", day.confirmed),
                    ("dismissed", day.dismissed),
                    ("not reviewed", day.alerts - day.confirmed - day.dismissed),
                )
            )
        ]
    )
    chart = (
        alt.Chart(data)
        .mark_bar()
        .encode(
            x=charts.time_axis("day of the decision (UTC)", "utcyearmonthdate(time)"),
            y=charts.y_axis("alerts", "alerts"),
            color=charts.named("what", VERDICTS),
            order=alt.Order("place:Q"),
            tooltip=[
                charts.tip("when", "day"),
                charts.tip("what", "what"),
                charts.tip("alerts", "alerts", ",d"),
            ],
        )
    )
    shell.chart("Alerts by verdict", charts.finished(chart, "Alerts of each day by verdict", 220))
    alerts, known = (sum(day.alerts for day in work.quality), sum(day.known_fraud for day in work.quality))
    confirmed = sum(day.confirmed for day in work.quality)
    dismissed = sum(day.dismissed for day in work.quality)
    st.caption(
        f"{_right(review.Verdicts(confirmed, dismissed, work.legitimate_known))};"
        f" counting verdicts and messages, {figures.share(known / alerts)} of all {figures.count(alerts)}"
        " are known to be fraud."
    )


def _right(found: review.Verdicts) -> str:
    """The share of the reviewed alerts that were fraud, in words."""
    if found.precision is not None:
        return (
            f"{figures.share(found.precision)} of {figures.count(found.reviewed)} reviewed alerts were fraud"
        )
    if found.confirmed:
        return f"Confirmed as fraud: {figures.count(found.confirmed)}. {review.ONLY_FRAUDS.removesuffix('.')}"
    return "No alert has been reviewed yet"


def versions(found: Sequence[Registered], chosen: Registered) -> None:
    """All versions side by side, and the chosen one against the champion."""
    st.dataframe(
        pd.DataFrame(
            {
                "version": [model.version for model in found],
                "status": [model.status.words for model in found],
                "algorithm": [model.algorithm for model in found],
                "made (UTC)": [figures.instant(model.created_at, seconds=False) for model in found],
                **{
                    shown.title: [
                        figures.figure(model.manifest.get("metrics", {}).get(name)) for model in found
                    ]
                    for name, shown in SHOWN.items()
                },
                "features": [len(model.manifest.get("features", ())) for model in found],
                "learned from": [_counted(model, "rows") for model in found],
                "of them labelled": [_counted(model, "judged") for model in found],
            }
        ),
        hide_index=True,
    )
    champion = next((model for model in found if model.status is Status.CHAMPION), None)
    if champion is None:
        _promote(chosen, "No model is champion, so nothing is scored.")
    elif champion.version != chosen.version:
        _against(chosen, champion)


def _counted(model: Registered, what: str) -> str:
    """A number of transactions in a model's training history; older manifests lack some of them."""
    number = model.manifest.get("training", {}).get(what)
    return figures.NOTHING if number is None else figures.count(number)


def _against(chosen: Registered, champion: Registered) -> None:
    st.subheader("Against the champion", anchor=False)
    own, best = chosen.manifest.get("metrics", {}), champion.manifest.get("metrics", {})
    for cell, (name, shown) in zip(shell.cells(len(SHOWN), "against"), SHOWN.items(), strict=True):
        a, b = own.get(name), best.get(name)
        cell.metric(
            shown.title,
            figures.figure(a),
            None if a is None or b is None else f"{a - b:+.3f} against {b:.3f}",
            delta_color="off",  # which one is better, the sentence says
            border=True,
        )
    _promote(chosen, better(chosen.manifest, champion.manifest))


def _promote(chosen: Registered, said: str) -> None:
    shell.html(
        f'<p class="fs-text">{escaped(said)} To make it the champion: <code>fraudstream models promote {escaped(chosen.version)}</code>;'
        " <code>fraudstream models rollback</code> undoes it.</p>"
    )
