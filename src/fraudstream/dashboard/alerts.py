"""Alerts: the review queue. Shows one alert at a time, with all that a verdict needs, then opens the next one."""

from collections import Counter
from collections.abc import Collection, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial

import streamlit as st

from fraudstream.dashboard import figures, shell
from fraudstream.dashboard.case import show
from fraudstream.dashboard.desk import Said, desk
from fraudstream.errors import FraudstreamError
from fraudstream.schema import NOTE_LENGTH
from fraudstream.settings import PostgresSettings
from fraudstream.store import alerts, labels, review
from fraudstream.store.review import Order, Queued, State, Wanted

LIMIT = 100
"""Lines of the queue at first, and added by each click on Show more."""
STATES: dict[State, str] = {"waiting": "To review", "reviewed": "Reviewed", "all": "All"}
ORDERS: dict[Order, str] = {
    "newest": "Newest first",
    "risk": "Highest risk first",
    "amount": "Largest amount first",
}
SPANS = {"24 hours": 1, "7 days": 7, "30 days": 30, "Any time": None}
PICKED, NAME, LINES, CHOSEN = "picked", "reviewer's name", "lines", "filters"
"""Keys of the list, of the name field, of the list's length, and of the filters that were chosen last."""
FILTERS: dict[str, object] = {
    "state": "waiting",
    "order": "newest",
    "span": "30 days",
    "text": "",
    "min_amount": 0.0,
    "min_risk": 0,
}
"""The filters' keys, and what each is at first."""

ONE_PRESS = """<script>
if (!window.fraudstreamOnePress) {
  window.fraudstreamOnePress = true;
  window.addEventListener("keydown", event => {
    const typing = event.target.closest?.("input:not([type=radio]), textarea, [contenteditable=true]");
    if (event.repeat && !typing && /^[fd]$/i.test(event.key)) event.stopImmediatePropagation();
  }, true);
}
</script>"""
"""Hides the repetitions of a held key from Streamlit: only the browser can tell them from separate presses."""


def page() -> None:
    """The whole page."""
    shell.title("Alerts", "Flagged transactions to review. Times are UTC.")
    shell.guarded(_body)()
    st.html(ONE_PRESS, unsafe_allow_javascript=True)  # last, as its place is a gap


def _body(postgres: PostgresSettings) -> None:
    with desk().writing:
        pass  # the page shows what a verdict that is being written leaves
    wanted = _filters()
    _tally(review.tally(postgres, wanted.since))
    _said()
    limit: int = st.session_state.get(LINES, LIMIT)
    # One more than is shown, to know whether there are more.
    found = review.queue(postgres, wanted, limit + 1)
    found, more = found[:limit], len(found) > limit
    chosen = _chosen(found)
    if chosen is None:
        _nothing(wanted)
        return
    left, right = st.columns([3, 8], gap="medium")
    with left:
        _queue(found, more=more)
    with right:
        case = alerts.alert(postgres, chosen)
        if case is None:
            shell.empty("This alert is no longer stored.", "Choose another one from the list.")
            return
        show(postgres, case, lambda: _verdict(postgres, case))


def _filters() -> Wanted:
    """The filters. Streamlit forgets them when a run draws none, as on another page, or while the database is away."""
    for key, value in (FILTERS | st.session_state.get(CHOSEN, {})).items():
        st.session_state.setdefault(key, value)
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        state = st.segmented_control("Show", list(STATES), format_func=STATES.__getitem__, key="state")
        order = st.selectbox("Order", list(ORDERS), format_func=ORDERS.__getitem__, key="order", width=180)
        span = st.selectbox("Scored within", list(SPANS), key="span", width=130)
        text = st.text_input("Customer or transaction", placeholder="the whole id", key="text", width=220)
        with st.popover("More filters"):
            least = st.number_input("Amount from", min_value=0.0, step=50.0, key="min_amount")
            risk = st.slider("Risk from, %", 0, 100, key="min_risk")
    st.session_state[CHOSEN] = {key: st.session_state[key] for key in FILTERS}
    days = SPANS[span]
    # To the minute, so that a click does not shift the window, and with it the queue.
    now = datetime.now(UTC).replace(second=0, microsecond=0)
    since = now - timedelta(days=days) if days else None
    return Wanted(state or "all", order, since, least, risk / 100, figures.typed(text))


def _tally(found: review.Tally) -> None:
    precision = found.precision
    right = f", {figures.share(precision, 0)} of them fraud" if precision is not None else ""
    why = f". {review.ONLY_FRAUDS}" if found.reviewed and precision is None else ""
    shell.html(
        f'<div class="fs-quiet"><b>{figures.count(found.waiting)}</b> awaiting review,'
        f" <b>{figures.short(found.waiting_amount)}</b> in total"
        f" · <b>{figures.count(found.reviewed)}</b> reviewed{right}{why}</div>"
    )


def _said() -> None:
    """The last verdict, with a button that reopens its alert."""
    said = desk().said
    if said is None:
        return
    with st.container(horizontal=True, vertical_alignment="center"):
        shell.html(
            f'<span class="fs-tag {"good" if said.is_saved else "bad"}">{"saved" if said.is_saved else "not saved"}</span>'
        )
        shell.html(f'<span class="fs-text">{figures.escaped(said.words)}</span>')
        st.button(
            "Reopen",
            key="back",
            shortcut="B",
            type="tertiary",
            on_click=_open,
            args=(said.transaction_id,),
        )


def _chosen(found: Sequence[Queued]) -> str | None:
    """The open alert: the one chosen by click or address, else the next one of the queue."""
    place, asked = desk(), figures.typed(st.query_params.get("alert", ""))
    if asked:
        place.open(asked)
    st.query_params.pop("alert", None)
    return place.settle([alert.transaction_id for alert in found])


def _queue(found: Sequence[Queued], *, more: bool) -> None:
    """The list, and a button if there are more. Arrow keys move in it; its labels contain no untrusted text."""
    by_id = lines(found)
    chosen = desk().chosen
    # Set here rather than as `index`, which would make it a new list, and the keyboard would lose its focus.
    st.session_state[PICKED] = chosen if chosen in by_id else None
    with st.container(height=760, border=True, key="queue"):
        if not found:
            st.caption("No other alert matches these filters.")
            return
        st.radio(
            "Queue",
            list(by_id),
            index=None,
            key=PICKED,
            format_func=by_id.__getitem__,
            captions=[_caption(alert) for alert in found],
            label_visibility="collapsed",
            on_change=lambda: _pick(by_id),
        )
        if more:
            st.caption(f"The first {len(found):,} alerts; there are more.")
            st.button(
                f"Show {LIMIT} more", key="more", type="tertiary", on_click=_lengthen, args=(len(found),)
            )


def _pick(listed: Collection[str]) -> None:
    """Open the alert that was clicked.

    Any other key press also sends the browser's state of the list, which may name a line that is gone by now.
    """
    picked = st.session_state[PICKED]
    if picked in listed:
        _open(picked)


def _lengthen(shown: int) -> None:
    st.session_state[LINES] = shown + LIMIT


def lines(found: Sequence[Queued]) -> dict[str, str]:
    """The list's line for each alert, by its id.

    Streamlit identifies the clicked line by its text, so equal lines are made unique with word joiners, which are
    invisible.
    """
    seen: Counter[str] = Counter()
    shown = {}
    for alert in found:
        line = _line(alert)
        shown[alert.transaction_id] = line + "\u2060" * seen[line]
        seen[line] += 1
    return shown


def _line(alert: Queued) -> str:
    amount = figures.amount(alert.amount, alert.currency)
    line = f"**{amount}** · risk {figures.share(alert.risk)}"
    return f"{line} · {labels.verdict_word(alert.verdict)}" if alert.verdict is not None else line


def _caption(alert: Queued) -> str:
    reason = figures.plain(alert.reason or "")
    return f"{figures.instant(alert.scored_at)}  \n{reason}"


def _nothing(wanted: Wanted) -> None:
    if wanted == Wanted("waiting", wanted.order, wanted.since):
        shell.empty(
            "No alerts are awaiting review.",
            "New alerts appear here as soon as <code>fraudstream score</code> flags and <code>fraudstream consume</code>"
            " stores them. Choose <b>Reviewed</b> or <b>Any time</b> to see earlier ones.",
        )
    else:
        shell.empty("No alerts match these filters.", "Remove a filter, or choose <b>Any time</b>.")


def _open(transaction_id: str) -> None:
    desk().open(transaction_id)


def _verdict(postgres: PostgresSettings, case: alerts.Alert) -> None:
    """The buttons. Their keys work unless the cursor is in a text field."""
    asked = "Change the verdict" if case.verdict is not None else "Your verdict"
    place = desk()
    note = f"note {case.transaction_id}"
    st.session_state.setdefault(note, place.draft)
    with st.container(border=True):
        with st.container(horizontal=True, vertical_alignment="bottom"):
            place.draft = st.text_input(f"{asked}: note (optional)", key=note, max_chars=NOTE_LENGTH)
            st.text_input(
                "Reviewed by",
                value=shell.reviewer() or "",
                key=NAME,
                max_chars=100,
                width=160,
                on_change=_remember_name,
            )
        with st.container(horizontal=True):
            say = partial(_say, postgres, case)
            # Named after the alert, so that a late key press is for the alert that was read, not for the next one.
            name = case.transaction_id
            st.button(
                "Confirm fraud",
                key=f"confirm {name}",
                shortcut="F",
                type="primary",
                on_click=say,
                args=(True,),
            )
            st.button("Dismiss", key=f"dismiss {name}", shortcut="D", on_click=say, args=(False,))
            st.button("Previous", key="previous", shortcut="P", on_click=_step, args=(-1,))
            st.button("Next", key="next", shortcut="N", on_click=_step, args=(1,))
    place.shown()
    if place.is_hasty:
        st.caption("Nothing was saved for this alert: it had only just appeared. Press the key again.")


def _step(by: int) -> None:
    desk().step(by)


def _remember_name() -> None:
    """Streamlit forgets a field when its page is left."""
    st.session_state["reviewer"] = st.session_state[NAME]


def _say(postgres: PostgresSettings, case: alerts.Alert, is_fraud: bool) -> None:
    """Write the label and open the next alert."""
    if shell.is_closed():
        return
    note = " ".join(str(st.session_state.get(f"note {case.transaction_id}") or "").split())
    by, place = shell.reviewer(), desk()
    with place.writing:
        if not place.takes(case.transaction_id):
            return
        place.said = _label(postgres, case, is_fraud, by, note)
        if place.said.is_saved:
            place.forward()
        else:
            place.draft = note


def _label(postgres: PostgresSettings, case: alerts.Alert, is_fraud: bool, by: str | None, note: str) -> Said:
    what = f"{figures.amount(case.amount, case.currency)} of {case.user_id}"
    try:
        said = labels.label(postgres, case.transaction_id, is_fraud, by, note or None)
    except FraudstreamError as error:
        return Said(case.transaction_id, f"{what}: {error.message} {error.hint}", is_saved=False)
    words = f"{what} labelled {labels.verdict_word(is_fraud)} by {said.label.who}."
    if said.before is not None:
        earlier = labels.verdict_word(said.before.is_fraud)
        words += f" Previously {earlier}, by {said.before.who}."
    return Said(case.transaction_id, words, is_saved=True)
