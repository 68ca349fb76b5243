"""Pipeline: the progress of the streams, the latency of decisions, and rejected messages."""

import re
from collections.abc import Sequence

import pandas as pd
import streamlit as st

from fraudstream.dashboard import charts, figures, shell
from fraudstream.dashboard.figures import escaped
from fraudstream.schema import FIELDS, PERSONAL
from fraudstream.settings import PostgresSettings
from fraudstream.store import pipeline as store
from fraudstream.store.findings import duration

REFRESH_SECONDS = 5
BEHIND = 10_000
"""Messages from which a stream counts as behind: more than a few seconds of a busy one."""
REASONS = 20
"""Number of reasons shown, the most frequent ones."""
PERCENTILES = {"p50": charts.BLUE, "p95": charts.AMBER, "p99": charts.ORANGE}
_SHOWN = frozenset(FIELDS) - PERSONAL
_PART = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\]:,]|\s+|[^\s"{}\[\]:,]+|".*', re.DOTALL)
"""A value in JSON, or in broken JSON."""
_NAME = re.compile(r'"([A-Za-z_]\w{0,63})"(?=\s*:)', re.ASCII)
_VALUE = re.compile(
    r'(?:"(?:[^"\\]|\\.)*"|[-+]?[0-9][0-9.eE+-]*|true|false|null|NaN|-?Infinity)(?=\s*[,}])', re.DOTALL
)
_ADDRESS = re.compile(r"[^\s\"'<>,;:]+@[^\s\"'<>,;:]+")


def page() -> None:
    """The whole page, which refreshes itself."""
    shell.title("Pipeline", "The streams as last reported. Times are UTC.")
    _renewed()


@st.fragment(run_every=REFRESH_SECONDS)
def _renewed() -> None:
    shell.guarded(_body)()


def _body(postgres: PostgresSettings) -> None:
    found = store.pipeline(postgres)
    _numbers(found)
    left, right = st.columns([5, 4], gap="medium")
    with left:
        _progress(found.progress)
    with right:
        _latency(found.latency)
    _rejected(found)


def _numbers(found: store.Pipeline) -> None:
    running, silent = _streams(found.progress)
    lag = sum(p.lag for p in found.progress)
    last = found.latency[-1] if found.latency else None
    waiting = sum(reason.waiting for reason in found.reasons)
    said = [", ".join(running)] if running else []
    if silent:
        said.append(f"not running: {', '.join(silent)}")
    shell.numbers(
        [
            shell.Number(
                "Streams running",
                figures.count(len(running)),
                "; ".join(said) or "none has run yet",
                "Each reports its position every few seconds.",
            ),
            shell.Number(
                "Messages waiting",
                figures.short(lag),
                waiting_for(found.progress),
                "Messages in Kafka that are not read yet, counted for each stream that has to read them.",
            ),
            shell.Number(
                "Decision, median",
                f"{last.p50_ms:,.0f} ms" if last else figures.NOTHING,
                f"p99 {last.p99_ms:,.0f} ms" if last else "none in the last hour",
                "From a transaction's entry into Kafka to its decision, in the last minute with decisions."
                " Of 100 decisions 99 are as fast as p99.",
            ),
            shell.Number(
                "Rejected, waiting",
                figures.count(waiting),
                f"of the newest {figures.count(sum(reason.count for reason in found.reasons))}",
                "Messages that could not be read and were not sent again.",
            ),
        ]
    )


def _streams(found: Sequence[store.Progress]) -> tuple[list[str], list[str]]:
    """Names of the streams that run, and of those that stopped reporting."""
    running = {p.stream for p in found if p.runs}
    return sorted(running), sorted({p.stream for p in found} - running)


def waiting_for(found: Sequence[store.Progress]) -> str:
    """Which streams the waiting messages are for, if those do not read them."""
    running, silent = _streams(found)
    left = sum(p.lag for p in found if p.stream in silent)
    if left:
        return f"{figures.short(left)} of them for {', '.join(silent)}, not running"
    if not running:
        return "nothing reads now"
    if stuck := sorted({p.stream for p in found if p.is_stuck}):
        return f"{', '.join(stuck)} stuck"
    return "behind" if sum(p.lag for p in found) > BEHIND else "keeping up"


def _progress(found: Sequence[store.Progress]) -> None:
    st.subheader("Lag by partition", anchor=False)
    if not found:
        shell.empty(
            "No stream has run yet.",
            "Start one with <code>fraudstream consume</code> or <code>fraudstream score</code>.",
        )
        return
    st.dataframe(
        pd.DataFrame(
            {
                "stream": [p.stream for p in found],
                "topic": [p.topic for p in found],
                "partition": [p.partition for p in found],
                "last heard": [_heard(p) for p in found],
                "waiting": [p.lag for p in found],
                "rows/s": [round(p.pace, 1) for p in found],
                "next offset": [p.next_offset for p in found],
            }
        ),
        hide_index=True,
        column_config={
            "waiting": st.column_config.ProgressColumn(
                "waiting", format="localized", width=130, min_value=0,
                max_value=max(1, *(p.lag for p in found)),
            ),
            "next offset": st.column_config.NumberColumn("next offset", format="localized"),
        },
    )  # fmt: skip


def _heard(progress: store.Progress) -> str:
    if progress.is_stuck:
        return f"stuck for {duration(progress.still_seconds or 0.0, short=True)}"
    ago = duration(progress.age_seconds, short=True)
    return f"{ago} ago" if progress.runs else f"not running, last heard {ago} ago"


def _latency(found: Sequence[store.LatencyMinute]) -> None:
    st.subheader("Latency of decisions", anchor=False)
    if not found:
        shell.empty(
            "No decision in the last hour.",
            "Run <code>fraudstream score</code>, and <code>fraudstream consume</code> to store its decisions.",
        )
        return
    data = pd.DataFrame(
        [
            {
                "time": figures.iso(m.minute), "when": figures.instant(m.minute, seconds=False),
                "what": name, "ms": value, "decisions": m.decisions,
            }
            for m in found
            for name, value in (("p50", m.p50_ms), ("p95", m.p95_ms), ("p99", m.p99_ms))
        ]
    )  # fmt: skip
    tips = [
        charts.tip("when", "minute (UTC)"), charts.tip("what", "percentile"), charts.tip("ms", "milliseconds", ",.1f"),
        charts.tip("decisions", "decisions", ",d"),
    ]  # fmt: skip
    series = charts.Series("ms", "From Kafka to the decision", "milliseconds", "~s")
    about = "half of them within p50, 95 % within p95, 99 % within p99"
    shell.chart(f"{series.title}: {about}", charts.lines(data, series, "what", PERCENTILES, tips))


def _rejected(found: store.Pipeline) -> None:
    st.subheader("Messages that could not be read", anchor=False)
    if not found.refused:
        shell.empty(
            "Every message could be read.",
            "Any that cannot be read is kept here byte for byte, with the reason.",
        )
        return
    left, right = st.columns([2, 3], gap="medium")
    most = found.reasons[:REASONS]
    left.dataframe(
        pd.DataFrame(
            {
                "reason": [reason.reason for reason in most],
                "messages": [reason.count for reason in most],
                "waiting": [reason.waiting for reason in most],
            }
        ),
        hide_index=True,
    )
    with right:
        _message(found)
    shell.html(
        '<p class="fs-quiet">After a fix, <code>fraudstream rejected replay</code> replays them.'
        " <code>fraudstream rejected list</code> shows them in full, names and e-mail addresses included.</p>"
    )


def _message(found: store.Pipeline) -> None:
    # By name, not by place: newer ones move the others down, and the choice is to stay with its message.
    by_name = {_name(message): message for message in found.refused}
    message = by_name[st.selectbox("Newest messages", list(by_name), key="refused")]
    again = "sent again" if message.replayed_at else "waits"
    shell.html(
        f'<div class="fs-text"><b>{escaped(message.reason)}</b> <span class="fs-tag">{again}</span></div>'
        f'<div class="fs-bytes">{escaped(preview(message.start, message.size, may_read=found.may_read_messages))}</div>'
    )


def _name(message: store.RejectedPreview) -> str:
    return f"{figures.instant(message.rejected_at)} · {message.topic} · partition {message.partition} · offset {message.offset}"


def preview(start: bytes | None, size: int | None, *, may_read: bool = True) -> str:
    """The start of a message, with control characters escaped and personal data hidden.

    A JSON object is shown with its field names and the values of our own fields without personal data; otherwise the size.
    """
    if not may_read:
        return "This database user may not see the messages' contents."
    if start is None or size is None:
        return "No bytes: a tombstone."
    text = _text(start, size)
    if text is None:
        return f"Not shown, as it is not a JSON object ({figures.count(size)} bytes)"
    known = re.sub(r"…(?:\s*…)+", "…", _ADDRESS.sub("…", _known(text)))
    shown = "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in known)
    return f"{shown}{' …' if size > len(start) else ''} ({figures.count(size)} bytes)"


def _text(start: bytes, size: int) -> str | None:
    """The text if it begins like a JSON object, else None. The start may end within a character, as we truncate it."""
    try:
        text = start.decode(errors="ignore" if size > len(start) else "strict")
    except UnicodeDecodeError:
        return None
    return text if text.lstrip().startswith("{") else None


def _known(text: str) -> str:
    """A JSON object, valid or broken, with all values hidden except those of our own fields."""
    shown, depth, field = [], 0, ""
    for found in _PART.finditer(text):
        part = found[0]
        if part in {"{", "}", "[", "]", ","}:
            depth += {"{": 1, "[": 1, "}": -1, "]": -1}.get(part, 0)
            field = ""
        elif not field and (name := _NAME.match(text, found.start())):
            field = name[1] if depth == 1 else ""
        elif part != ":" and not part.isspace():
            is_ours = field in _SHOWN and _VALUE.match(text, found.start())
            part, field = part if is_ours else "…", ""
        shown.append(part)
    return "".join(shown)
