"""Overview: transactions, fraud, money at stake, and the newest alerts."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pandas as pd
import streamlit as st

from fraudstream.dashboard import charts, figures, shell, tables
from fraudstream.dashboard.desk import desk
from fraudstream.settings import PostgresSettings
from fraudstream.store import overview as store
from fraudstream.store import review

REFRESH_SECONDS = 15
NEWEST = 8
PICKED = "picked on the overview"
"""Session key: the alert that was clicked, until its page opens."""


@dataclass(frozen=True)
class _Range:
    length: timedelta
    steps: tuple[store.Step, ...]
    """Steps that suit the period, the usual one first."""


RANGES = {
    "24 hours": _Range(timedelta(days=1), ("hour",)),
    "7 days": _Range(timedelta(days=7), ("hour", "day")),
    "30 days": _Range(timedelta(days=30), ("day", "hour")),
    "90 days": _Range(timedelta(days=90), ("day", "hour")),
    "1 year": _Range(timedelta(days=365), ("day",)),
}
USUAL_RANGE = "7 days"
SERIES = {"known fraud": charts.ORANGE, "alerts": charts.AMBER}


def page(alerts_page: Any) -> None:
    """The whole page, which refreshes itself."""
    shell.title("Overview", "What comes through the stream. Times are the transactions' own, in UTC.")
    left, middle, right = st.columns([4, 2, 2], vertical_alignment="bottom")
    chosen = left.segmented_control("Range", list(RANGES), default=USUAL_RANGE, key="range") or USUAL_RANGE
    steps = RANGES[chosen].steps
    step = middle.segmented_control(
        "By", steps, default=steps[0], key=f"step of {chosen}", disabled=len(steps) == 1
    )
    measure = right.segmented_control(
        "Show", ["Transactions", "Money"], default="Transactions", key="measure"
    )
    _renewed(RANGES[chosen].length, step or steps[0], measure == "Money", alerts_page)


@st.fragment(run_every=REFRESH_SECONDS)
def _renewed(length: timedelta, step: store.Step, money: bool, alerts_page: Any) -> None:
    if st.session_state.pop(PICKED, False):
        st.switch_page(alerts_page)

    def body(postgres: PostgresSettings) -> None:
        found = store.overview(postgres, length, step)
        if found is None:
            shell.empty(
                "Nothing has come through the stream yet.",
                "Send transactions with <code>fraudstream produce</code> and store them with"
                " <code>fraudstream consume</code>, or let <code>fraudstream demo</code> do everything.",
            )
            return
        _numbers(found)
        _trend(found, step, money=money)
        _newest(postgres)

    shell.guarded(body)()


def _numbers(found: store.Overview) -> None:
    now = found.totals
    everything = now["transactions"].count + now["fraud"].count
    rate = now["alerts"].count / now["scores"].count if now["scores"].count else None
    stakes = found.stakes
    caught = stakes.caught_amount / stakes.scored_fraud_amount if stakes.scored_fraud_amount else None
    fraud_share = f" · {figures.share(now['fraud'].count / everything, 2)}" if everything else ""
    shell.numbers(
        [
            shell.Number(
                "Transactions",
                figures.short(everything),
                _change(found.compared),
                "All transactions in this period. The hours in it that are complete are compared with as many before them.",
            ),
            shell.Number(
                "Known fraud",
                figures.short(now["fraud"].count) + fraud_share,
                f"{figures.short(now['fraud'].amount)} in money",
                "According to the messages themselves, if a simulator or a replayed file includes it.",
            ),
            shell.Number(
                "Alerts",
                figures.short(now["alerts"].count)
                + (f" · {figures.share(rate, 2)}" if rate is not None else ""),
                f"{figures.count(stakes.confirmed)} confirmed, {figures.count(stakes.dismissed)} dismissed",
                "Flagged transactions, and their share of all scored ones.",
            ),
            shell.Number(
                "Money at stake",
                figures.short(stakes.waiting_amount),
                f"{figures.count(stakes.waiting)} awaiting review"
                + (f"; {figures.share(caught, 0)} of fraud money caught" if caught is not None else ""),
                "The total of alerts that nobody has reviewed; and of the money in the newest known frauds that were"
                " scored, the share that was flagged. Amounts are added up regardless of currency.",
            ),
        ]
    )


def _change(compared: store.Compared | None) -> str:
    if compared is None:
        return "no complete period before"
    return figures.change(compared.now, compared.before) or "none in the period before"


def _trend(found: store.Overview, step: store.Step, *, money: bool) -> None:
    data = _filled(found, step)
    value, unit = ("amount", f"money per {step}") if money else ("count", f"transactions per {step}")
    usual = data[data["kind"] == "transactions"]
    tips = [
        charts.tip("when", "from (UTC)"), charts.tip("count", "transactions", ",d"), charts.tip("amount", "money", ",.2f"),
    ]  # fmt: skip
    legitimate = charts.Series(value, "Legitimate, or not known", unit, whole=not money)
    shell.chart(legitimate.title, charts.area(usual, legitimate, tips))
    left, right = st.columns(2)
    bad = data[data["kind"].isin(["fraud", "alerts"])].assign(
        series=lambda rows: rows["kind"].map({"fraud": "known fraud", "alerts": "alerts"})
    )
    tips = [charts.tip("series", "what"), *tips]
    both = charts.Series(value, "Fraud and alerts", unit, whole=not money)
    with left:
        shell.chart(both.title, charts.lines(bad, both, "series", SERIES, tips))
    with right:
        _alert_rate(data)


def _alert_rate(data: pd.DataFrame) -> None:
    rates = _rates(data)
    if rates["scores"].sum() == 0:
        shell.empty(
            "Nothing was scored in this period.", "Score the stream with <code>fraudstream score</code>."
        )
        return
    tips = [
        charts.tip("when", "from (UTC)"), charts.tip("rate", "alert rate", ".3%"), charts.tip("alerts", "alerts", ",d"),
        charts.tip("scores", "scored", ",d"),
    ]  # fmt: skip
    series = charts.Series("rate", "Alert rate", "share of scored transactions", "~%")
    drawn = charts.lines(rates.dropna(), series, "name", {"alert rate": charts.AMBER}, tips)
    shell.chart(series.title, drawn)


def _filled(found: store.Overview, step: store.Step) -> pd.DataFrame:
    """Every kind at every step: an empty hour is zero, not a gap that a line jumps over. What may still grow says so."""
    first = found.since.replace(hour=0) if step == "day" else found.since
    times = pd.date_range(first, found.until, freq="D" if step == "day" else "h", inclusive="left")
    index = pd.MultiIndex.from_product([store.KINDS, times], names=["kind", "time"])
    data = shell.frame(store.Bucket, found.buckets)
    data["time"] = pd.to_datetime(data["time"], utc=True)
    data = data.set_index(["kind", "time"]).reindex(index, fill_value=0).reset_index()
    when = data["time"].dt.strftime("%Y-%m-%d %H:%M")
    may_grow = data["time"] + pd.Timedelta(1, step) > found.complete
    return data.assign(when=when.mask(may_grow, when + ", so far"))


def _rates(data: pd.DataFrame) -> pd.DataFrame:
    wide = data.pivot_table(
        index=["time", "when"], columns="kind", values="count", aggfunc="sum"
    ).reset_index()
    return wide.assign(rate=(wide["alerts"] / wide["scores"]).where(wide["scores"] > 0), name="alert rate")


def _newest(postgres: PostgresSettings) -> None:
    st.subheader("Newest alerts", anchor=False)
    found = review.queue(postgres, review.Wanted("all"), NEWEST)
    if not found:
        shell.empty("No alerts yet.", "Flagged transactions appear here and on the Alerts page.")
        return
    tables.queue(found, pick=_pick)
    st.caption("Select a row to review it.")


def _pick(transaction_id: str) -> None:
    desk().open(transaction_id)
    st.session_state[PICKED] = True
