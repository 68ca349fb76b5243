"""Model: how well it finds fraud, which features matter, whether its risks are calibrated, and whether they drift."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import streamlit as st

from fraudstream.dashboard import comparison, evaluation, figures, shell
from fraudstream.dashboard.figures import escaped
from fraudstream.settings import PostgresSettings
from fraudstream.store import model_quality, registry
from fraudstream.store.registry import Registered, Status


def page() -> None:
    """The whole page."""
    shell.title("Model", "How each model was evaluated on later transactions, and how it performs now.")
    shell.guarded(_body)()


def _body(postgres: PostgresSettings) -> None:
    found = registry.models(postgres)
    if not found:
        shell.empty(
            "There is no model yet.",
            "Train one on the stored transactions with <code>fraudstream train</code>; the first one becomes champion automatically.",
        )
        return
    model = _choose(found)
    manifest = model.manifest
    _about(model)
    if model.trouble:
        shell.empty(model.trouble, f"{registry.RESTORE} The other versions can be chosen above.")
        return
    _figures(manifest)
    detection, features, calibration, now, versions = st.tabs(
        ["Detection", "Features", "Calibration", "At work", "Versions"]
    )
    work = model_quality.at_work(postgres, model.version)
    with detection:
        evaluation.detection(manifest)
    with features:
        evaluation.features(manifest)
    with calibration:
        evaluation.calibration(manifest, work.reviewed)
    with now:
        comparison.at_work(work, manifest)
    with versions:
        comparison.versions(found, model)


def _choose(found: list[Registered]) -> Registered:
    champion = next((model for model in found if model.status is Status.CHAMPION), found[0])
    names = {model.version: f"{model.version} · {model.status.words} · {model.algorithm}" for model in found}
    # With a key, and no `index`, which may change: whoever reads a version keeps it when another one is promoted.
    if st.session_state.get("version") not in names:
        st.session_state["version"] = champion.version
    chosen = st.selectbox("Version", list(names), format_func=names.__getitem__, key="version", width=460)
    return next(model for model in found if model.version == chosen)


def _about(model: Registered) -> None:
    manifest, learnt = model.manifest, model.manifest.get("training", {})
    tag = {Status.CHAMPION: "good", Status.CANDIDATE: "new"}.get(model.status, "")
    parts = [escaped(model.algorithm)]
    if "rows" in learnt:
        parts.append(
            f"learned from {learned(learnt)}, {_day(learnt.get('from'))} to {_day(learnt.get('until'))}"
        )
    if "threshold" in manifest:
        parts.append(f"flags transactions with a risk of {figures.share(manifest['threshold'], 2)} or more")
    parts.append(f"created {figures.instant(model.created_at, seconds=False)} UTC")
    shell.html(
        f'<span class="fs-tag {tag}">{model.status.words}</span> <span class="fs-quiet">{" · ".join(parts)}</span>'
    )
    for note in manifest.get("notes", ()):
        shell.html(f'<div class="fs-quiet fs-text">{escaped(note)}</div>')


def learned(learnt: Mapping[str, Any]) -> str:
    """A training history, and how much of it was labelled: labelled models learn from that alone."""
    judged = f", {figures.count(learnt['judged'])} of them labelled" if "judged" in learnt else ""
    frauds = figures.count(learnt.get("frauds", 0))
    return f"a history of {figures.count(learnt['rows'])} transactions{judged} ({frauds} known frauds)"


def _day(text: object) -> str:
    try:
        return f"{datetime.fromisoformat(str(text)):%Y-%m-%d}"
    except ValueError:
        return figures.NOTHING


def _figures(manifest: Mapping[str, Any]) -> None:
    own, amount = manifest.get("metrics", {}), manifest.get("baselines", {}).get("amount", {})
    shell.numbers(
        [
            shell.Number(
                shown.title,
                figures.figure(own.get(name)),
                beside(own.get(f"{name}_interval"), amount.get(name)),
                shown.meaning,
            )
            for name, shown in comparison.SHOWN.items()
        ]
    )


def beside(interval: Sequence[float] | None, amount: float | None) -> str:
    """The line below a figure of the model: its interval, then the baseline's figure."""
    own = f"{figures.figure(interval[0])} to {figures.figure(interval[1])} (95 %); " if interval else ""
    return f"{own}amount alone {figures.figure(amount)}"
