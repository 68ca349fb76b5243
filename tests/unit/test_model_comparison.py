"""The Model page calls a model better than the champion only where the evaluation can tell."""

from typing import Any

import pytest

from fraudstream.dashboard.contest import better


def manifest(
    value: float | None, *interval: float, day: int = 1, judged: int = 900, frauds: int = 20
) -> dict[str, Any]:
    """Of a model that was evaluated in two windows from this day of May on."""
    folds = [
        {"test_from": f"2026-05-{start:02}T00:00:00+00:00", "test_until": f"2026-05-{start + 7:02}T00:00:00+00:00",
         "transactions": 1_000, "judged": judged, "frauds": frauds}
        for start in (day, day + 7)
    ]  # fmt: skip
    return {
        "metrics": {"average_precision": value, "average_precision_interval": list(interval) or None},
        "folds": folds if value is not None else [],
    }


def test_a_model_is_better_or_worse_where_the_intervals_of_the_same_windows_lie_apart() -> None:
    good, bad = manifest(0.80, 0.76, 0.83), manifest(0.60, 0.55, 0.65)
    assert better(good, bad) == (
        "It found fraud better than the champion in the same test windows. Average precision (95 % interval):"
        " 0.800 (0.760 to 0.830), 2026-05-01 to 2026-05-15; champion: 0.600 (0.550 to 0.650), 2026-05-01 to 2026-05-15."
    )
    assert better(bad, good).startswith(
        "It found fraud less well than the champion in the same test windows."
    )


def test_a_difference_within_the_intervals_may_be_chance() -> None:
    for one, other in ((0.71, 0.70), (0.70, 0.71)):
        said = better(manifest(one, one - 0.05, one + 0.05), manifest(other, other - 0.05, other + 0.05))
        assert said.startswith(
            "Which of the two finds fraud better cannot be told: the difference may be chance."
        )


@pytest.mark.parametrize("other", [{"day": 8}, {"judged": 300}, {"frauds": 5}])
def test_figures_of_other_weeks_or_other_labels_are_not_compared(other: dict[str, int]) -> None:
    """As many labels may say something else, if a verdict was overruled in between."""
    said = better(manifest(0.80, 0.76, 0.83), manifest(0.60, 0.55, 0.65, **other))
    assert said.startswith(
        "Which of the two finds fraud better cannot be told: they were not evaluated on the same labelled transactions."
    )


@pytest.mark.parametrize(
    ("labels", "why"),
    [
        ({"frauds": 4}, "only 8 frauds were known in these windows"),
        ({"judged": 400}, "hardly any ordinary payments of these windows were labelled"),
    ],
)
def test_a_handful_of_frauds_or_labels_of_alerts_alone_tell_nothing(labels: dict[str, int], why: str) -> None:
    """Intervals over customers are too narrow with so few, and whose alerts were reviewed looks worse than an equal model."""
    said = better(manifest(0.80, 0.76, 0.83, **labels), manifest(0.60, 0.55, 0.65, **labels))
    assert said.startswith(f"Which of the two finds fraud better cannot be told: {why}.")


def test_models_without_intervals_or_figures_are_not_called_better() -> None:
    assert "cannot be told" in better(manifest(0.9), manifest(0.5))
    assert better(manifest(None), manifest(0.5, 0.4, 0.6)) == (
        "One of the two could not be evaluated, so they cannot be compared."
    )
