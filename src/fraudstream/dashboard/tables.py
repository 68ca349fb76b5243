"""Tables of alerts and transactions. Cells are drawn as data, so untrusted text in them is never interpreted."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import pandas as pd
import streamlit as st

from fraudstream.dashboard import figures
from fraudstream.store.history import Past
from fraudstream.store.labels import verdict_word
from fraudstream.store.review import Queued

if TYPE_CHECKING:
    from streamlit.elements.lib.column_types import ColumnConfig


def queue(found: Sequence[Queued], pick: Callable[[str], None]) -> None:
    """Draw alerts as lines; `pick` gets the id of the one that was just selected.

    The browser identifies a line by its number. So every list is a table of its own, and its selection is looked up in the
    alerts that were drawn there: by the time of the click there may be newer ones.
    """
    key = f"queue {hash(tuple(alert.transaction_id for alert in found))}"

    def selected() -> None:
        event = st.session_state.get(key)
        for line in event.selection.rows if event else ():
            pick(found[line].transaction_id)

    data = pd.DataFrame(
        {
            "scored": [figures.instant(alert.scored_at) for alert in found],
            "risk": [_percent(alert.risk) for alert in found],
            "amount": [figures.amount(alert.amount, alert.currency) for alert in found],
            "customer": [figures.cell(alert.user_id) for alert in found],
            "why": [figures.cell(alert.reason) for alert in found],
            "verdict": [verdict_word(alert.verdict) or "not reviewed" for alert in found],
        }
    )
    st.dataframe(
        data,
        key=key,
        hide_index=True,
        on_select=selected,
        selection_mode="single-row",
        column_config={
            "scored": st.column_config.TextColumn("scored (UTC)", width=150),
            "risk": _risk(130),
            "amount": _amount(130),
            "customer": st.column_config.TextColumn("customer", width=120),
            "why": st.column_config.TextColumn("strongest reason", width=620),
            "verdict": st.column_config.TextColumn("verdict", width=80),
        },
    )  # fmt: skip


def history(found: Sequence[Past], subject: str) -> None:
    """A customer's transactions, the newest first; `subject` is the one that is reviewed."""
    data = pd.DataFrame(
        {
            "": ["this one" if past.transaction_id == subject else "" for past in found],
            "time": [figures.instant(past.timestamp) for past in found],
            "amount": [figures.amount(past.amount, past.currency) for past in found],
            "device": [figures.cell(past.device) for past in found],
            "place": [figures.cell(past.transaction_location) for past in found],
            "merchant": [figures.cell(past.merchant_id) for past in found],
            "risk": [_percent(past.risk) for past in found],
            "flagged": ["flagged" if past.flagged else "" for past in found],
            "verdict": [verdict_word(past.verdict) for past in found],
        }
    ).iloc[::-1]
    st.dataframe(
        data,
        hide_index=True,
        height=min(38 * len(data) + 40, 380),
        column_config={
            "time": st.column_config.TextColumn("time (UTC)"),
            "amount": _amount(),
            "risk": _risk(),
        },
    )


def _percent(risk: float | None) -> float | None:
    return None if risk is None else risk * 100


def _risk(width: int | None = None) -> "ColumnConfig":
    return st.column_config.ProgressColumn(
        "risk", format="%.1f %%", min_value=0.0, max_value=100.0, width=width
    )


def _amount(width: int | None = None) -> "ColumnConfig":
    """A text column, as currencies differ, but with aligned digits."""
    column = st.column_config.TextColumn("amount", width=width)
    column["alignment"] = "right"
    return column
