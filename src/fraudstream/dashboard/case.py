"""One alert as its reviewer sees it: the amount, the risk, the reasons, and the customer's other payments."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import altair as alt
import pandas as pd
import streamlit as st

from fraudstream.dashboard import charts, figures, shell, tables
from fraudstream.dashboard.figures import escaped
from fraudstream.reasons.payment import Payment
from fraudstream.reasons.phrases import percent, telling
from fraudstream.settings import PostgresSettings
from fraudstream.store import history, labels, registry, review
from fraudstream.store.alerts import Alert
from fraudstream.store.hindsight import hindsight
from fraudstream.store.history import Past
from fraudstream.store.labels import Label
from fraudstream.store.review import Verdicts

BEFORE, AFTER = 60, 20
"""Number of the customer's transactions around the alert: a few weeks of a busy customer."""
ENOUGH = 5
"""Minimum number of reviewed alerts for their share of fraud to mean anything."""
WIDE = 50.0
"""Ratio of the largest to the smallest amount from which a logarithmic scale is used."""
MARKS = {"this one": charts.ORANGE, "called fraud": "#a03a78", "flagged": charts.AMBER, "others": charts.BLUE}


def show(postgres: PostgresSettings, case: Alert, verdict: Callable[[], None]) -> None:
    """Draw everything about one alert; `verdict` draws the buttons in their place."""
    manifest = _manifest(postgres, case.model_version)
    said = labels.said(postgres, case.transaction_id)
    _head(case, manifest.get("threshold"))
    alike = review.alike(postgres, case.transaction_id, case.model_version, case.risk)
    shell.html(f"<div>{how_sure(alike, case, manifest)}</div>")
    past = history.history(postgres, case.user_id, case.timestamp, before=BEFORE, after=AFTER)
    shell.html(reasons(case.reasons) + _known_since(hindsight(case, past)))
    verdict()
    _facts(case, said)
    _history(past, case)


def _manifest(postgres: PostgresSettings, version: str) -> Mapping[str, Any]:
    found = registry.find(postgres, version)
    return found.manifest if found else {}  # A model in a directory: only the alert itself is known.


def _head(case: Alert, threshold: float | None) -> None:
    look = {None: "new", True: "bad", False: "good"}[case.verdict]
    state = f'<span class="fs-tag {look}">{labels.verdict_word(case.verdict) or "to review"}</span>'
    mark, said, risk = "", "", figures.share(case.risk)
    if isinstance(threshold, (int, float)):
        risk, limit = risks(case.risk, threshold)
        mark = f'<i style="left:{min(max(threshold, 0), 1) * 100:.2f}%"></i>'
        said = f"; the model flags transactions with a risk of {limit} or more"
    shell.html(
        f'<div style="display:flex;justify-content:space-between;align-items:start;gap:1rem"><div class="fs-lead">'
        f"{escaped(figures.amount(case.amount, case.currency))}</div>{state}</div>"
        f'<div class="fs-risk" role="img" aria-label="risk {risk}">'
        f'<b style="width:{case.risk * 100:.2f}%"></b>{mark}</div>'
        f"<div><b>Risk {risk}</b>{said}.</div>"
    )


def risks(risk: float, threshold: float) -> tuple[str, str]:
    """A risk and the threshold, with as many digits as it takes to see which one is higher."""
    digits = telling(100 * risk, 100 * threshold, 1)
    return figures.share(risk, digits), figures.share(threshold, digits)


def how_sure(alike: Verdicts, case: Alert, manifest: Mapping[str, Any]) -> str:
    """How often such a risk was fraud: among reviewed alerts that are `alike`, else in the model's evaluation."""
    if alike.reviewed >= ENOUGH and alike.precision is not None:
        return (
            f"Of {figures.count(alike.reviewed)} reviewed alerts with about this risk,"
            f" <b>{figures.count(alike.confirmed)}</b> were fraud ({percent(alike.precision)})."
        )
    tenth = min(int(case.risk * 10), 9)
    bins, what = _comparable(case.risk, tenth / 10, manifest)
    judged = next((b for b in bins if min(int(b["risk"] * 10), 9) == tenth), None)
    if judged and judged["transactions"] >= ENOUGH:
        return (
            f"In the model's evaluation, <b>{percent(judged['fraud'])}</b> of {figures.count(judged['transactions'])}"
            f" {what} with a risk of {tenth * 10} to {tenth * 10 + 10} % were fraud."
        )
    if alike.reviewed >= ENOUGH:
        return review.ONLY_FRAUDS
    return "Too few similar alerts have been reviewed to say how often they are fraud."


def _comparable(
    risk: float, edge: float, manifest: Mapping[str, Any]
) -> tuple[Sequence[Mapping[str, Any]], str]:
    """The tenths of the evaluation to compare an alert of this risk with, and what is in them; `edge` is where its tenth begins.

    Never transactions below the threshold: they are most of what its tenth has, and hardly any of them is fraud.
    """
    threshold, flagged = manifest.get("threshold"), manifest.get("calibration_flagged")
    if isinstance(threshold, (int, float)) and risk >= threshold:
        if flagged is not None:
            return flagged, "flagged transactions"
        if edge >= threshold:  # a model of an earlier version
            return manifest.get("calibration") or (), "transactions"
    return (), ""


def reasons(found: Sequence[Mapping[str, Any]]) -> str:
    """HTML of the reasons: rules first, then what raised the model's risk, the strongest as the longest bar."""
    most = max((abs(reason.get("contribution") or 0.0) for reason in found), default=0.0)
    lines = []
    for reason in found:
        if "rule" in reason:
            left = f'<span class="fs-tag bad" title="rule {escaped(reason["rule"])}">{escaped(reason.get("severity") or "rule")}</span>'
        elif most and reason.get("contribution") is not None:
            width = abs(reason["contribution"]) / most * 100
            left = f'<span class="bar" title="{escaped(reason.get("feature", ""))}"><b style="width:{width:.0f}%"></b></span>'
        else:
            left = "<span></span>"
        sentence = str(reason.get("sentence") or "no reason was given")
        lines.append(
            f'<div class="fs-reason">{left}<span class="fs-text">{escaped(sentence[:1].upper() + sentence[1:])}</span></div>'
        )
    return f"<div>{''.join(lines)}</div>"


def _known_since(said: Sequence[str]) -> str:
    return "".join(f'<div class="fs-quiet fs-text">{escaped(sentence)}</div>' for sentence in said)


def _facts(case: Alert, said: Sequence[Label]) -> None:
    facts = {
        "customer": case.user_id,
        "time (UTC)": figures.instant(case.timestamp),
        "device": case.device,
        "home": case.location,
        "place of payment": case.transaction_location,
        "merchant": case.merchant_id,
        "rules": ", ".join(case.rules) or None,
        "transaction": case.transaction_id,
        "model": case.model_version,
    }
    if case.verdict is not None and case.truth is not None:
        # Only after the verdict: a reviewer who sees the answer does not review.
        facts["the message itself says"] = labels.verdict_word(case.truth)
    items = "".join(
        f"<div><small>{name}</small>{escaped(value)}</div>"
        for name, value in facts.items()
        if value is not None
    )
    shell.html(f'<div class="fs-facts">{items}</div>')
    for label in reversed(said):
        note = f": “{escaped(label.note)}”" if label.note else "."
        shell.html(
            f'<div class="fs-quiet fs-text">{figures.instant(label.labelled_at)}'
            f" {escaped(label.who)} labelled it {labels.verdict_word(label.is_fraud)}{note}</div>"
        )


def _history(past: Sequence[Past], case: Alert) -> None:
    st.subheader("The customer's payments around it", anchor=False)
    if not past:
        shell.empty(
            "The customer's transactions are not stored yet.",
            "<code>fraudstream consume transactions</code> stores them; an alert may arrive first.",
        )
        return
    shell.chart("Amounts", history_chart(past, case))
    tables.history(past, case.transaction_id)


def history_chart(past: Sequence[Past], case: Alert) -> Any:
    """Amounts over time; highlights the alert, and other payments that were flagged or labelled fraud."""
    data = pd.DataFrame(
        {
            "time": [figures.iso(p.timestamp) for p in past],
            "when": [figures.instant(p.timestamp) for p in past],
            "amount": [p.amount for p in past],
            "shown": [figures.amount(p.amount, p.currency) for p in past],
            "what": [_mark(p, case) for p in past],
            "place": [p.transaction_location for p in past],
            "device": [p.device for p in past],
            "merchant": [p.merchant_id or "" for p in past],
        }
    )
    wide = data["amount"].max() / data["amount"].min() > WIDE
    scale = {"type": "log"} if wide else {"zero": True}
    tips = [
        charts.tip(name, title)
        for name, title in (
            ("what", "what"), ("when", "time (UTC)"), ("shown", "amount"), ("place", "place"),
            ("device", "device"), ("merchant", "merchant"),
        )
    ]  # fmt: skip
    points = (
        alt.Chart(data)
        .mark_circle(opacity=0.85)
        .encode(
            x=charts.time_axis(padding=14),
            y=charts.y_axis("amount", "amount, logarithmic" if wide else "amount", ",~r", **scale),
            color=charts.named("what", {name: MARKS[name] for name in MARKS if (data["what"] == name).any()}),
            size=alt.condition(alt.datum.what == "this one", alt.value(190), alt.value(55)),
            tooltip=tips,
        )
    )
    usual = _usual(case)
    drawn = points + charts.rule_at(usual, "usual amount") if usual and usual > 0 else points
    return charts.finished(drawn, "The customer's amounts over time, the alert among them", 230)


def _usual(case: Alert) -> float | None:
    """The customer's usual amount; None if it is unknown, or is everybody's as the customer has too few payments."""
    payment = Payment(case.amount, case.features)
    return payment.usual if payment.before is not None and payment.remembers("user") else None


def _mark(past: Past, case: Alert) -> str:
    if past.transaction_id == case.transaction_id:
        return "this one"
    return "called fraud" if past.verdict else "flagged" if past.flagged else "others"
