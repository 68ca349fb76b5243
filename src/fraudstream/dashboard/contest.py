"""Which of two models finds fraud better, as far as their evaluations tell."""

from collections.abc import Mapping
from typing import Any

from fraudstream.model.coverage import Coverage
from fraudstream.model.versus import FEW_DEFRAUDED, sentence


def better(own: Mapping[str, Any], champion: Mapping[str, Any]) -> str:
    """Whether a model found fraud better than the champion, as far as their manifests tell.

    Best by the comparison that was made when it was trained, if this champion was there. Otherwise, average precision moves
    from week to week and with who is labelled, by more than good models differ: only figures of the same windows are
    compared, and only intervals that lie apart tell one from another.
    """
    if (direct := own.get("champion")) and direct["version"] == champion.get("version"):
        return sentence(direct)  # on the same payments, customer by customer
    found = [_evaluated(manifest) for manifest in (own, champion)]
    if None in found:
        return "One of the two could not be evaluated, so they cannot be compared."
    compared = f"Average precision (95 % interval): {found[0]}; champion: {found[1]}."
    (low, high), (champions_low, champions_high) = (_interval(manifest) for manifest in (own, champion))
    why = (
        "they were not evaluated on the same labelled transactions"
        if _windows(own) != _windows(champion)
        else _silent(own)
    )
    if why is None and low <= champions_high and champions_low <= high:
        why = "the difference may be chance"
    if why is not None:
        return f"Which of the two finds fraud better cannot be told: {why}. {compared}"
    verdict = "better" if low > champions_high else "less well"
    return f"It found fraud {verdict} than the champion in the same test windows. {compared}"


def _interval(manifest: Mapping[str, Any]) -> tuple[float, float]:
    """Of the average precision, 95 %; all that is possible where the model does not know it."""
    low, high = manifest["metrics"].get("average_precision_interval") or (0.0, 1.0)
    return low, high


def _windows(manifest: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    """When the test windows were, of how many transactions the truth was known, and how many of them it called fraud.

    A verdict that was overruled between two trainings changes the last figure alone.
    """
    return [
        tuple(fold.get(name) for name in ("test_from", "test_until", "transactions", "judged", "frauds"))
        for fold in manifest.get("folds") or ()
    ]


def _silent(manifest: Mapping[str, Any]) -> str | None:
    """Why the labels of a model's test windows tell nothing, for the reasons of `versus`."""
    folds = manifest.get("folds") or ()
    rows, judged, frauds = (
        sum(fold.get(name) or 0 for fold in folds) for name in ("transactions", "judged", "frauds")
    )
    if frauds < FEW_DEFRAUDED:
        return f"only {frauds} frauds were known in these windows"
    if Coverage(rows, frauds, judged - frauds).one_sided:
        return "hardly any ordinary payments of these windows were labelled"
    return None


def _evaluated(manifest: Mapping[str, Any]) -> str | None:
    """The average precision with its interval and the time that it is of; None where there is none."""
    value = manifest.get("metrics", {}).get("average_precision")
    if value is None:
        return None
    interval = manifest["metrics"].get("average_precision_interval")
    folds = manifest.get("folds") or ()
    between = f" ({interval[0]:.3f} to {interval[1]:.3f})" if interval else ""
    when = f", {str(folds[0]['test_from'])[:10]} to {str(folds[-1]['test_until'])[:10]}" if folds else ""
    return f"{value:.3f}{between}{when}"
