"""The figures of an evaluation and how they are called, for whoever shows them; without numpy, as `--help` needs none."""

from typing import Final, NamedTuple


class Figure(NamedTuple):
    """How a figure is called, and what it says."""

    short: str
    """For tables of 80 columns."""
    title: str
    meaning: str


FIGURES: Final = {
    "average_precision": Figure(
        "AP",
        "Average precision",
        "Area under the precision-recall curve: mean of the test windows.",
    ),
    "roc_auc": Figure(
        "AUC",
        "ROC AUC",
        "Probability that a fraud ranks above a legitimate transaction; flattering if fraud is rare.",
    ),
    "card_precision_100": Figure(
        "CP@100",
        "Card precision at 100",
        "Of the 100 customers with the highest risk on a day, the share that was compromised.",
    ),
    "recall_at_budget": Figure(
        "recall",
        "Recall at the budget",
        "The share of the fraud that the alert budget finds.",
    ),
    "alert_rate": Figure(
        "alerts",
        "Alert rate",
        "The share of the transactions that is flagged.",
    ),
}
"""By their keys in a report and a manifest, in the order of a report."""
