"""What all pages share: the database, its errors as a sentence, and the style of our own HTML."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

import pandas as pd
import streamlit as st

from fraudstream.dashboard import gate
from fraudstream.dashboard.figures import escaped
from fraudstream.dashboard.launch import EMBEDDED
from fraudstream.errors import DatabaseUnreachable, FraudstreamError
from fraudstream.settings import PostgresSettings, Settings, load, load_bare, on_embedded
from fraudstream.store.labels import current_user
from fraudstream.store.migrate import migrate

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

RETRY_SECONDS = 5
"""Seconds between attempts to reach a lost database."""

STYLE = """<style>
[data-testid=stMainBlockContainer] { padding-top: 4.2rem; padding-bottom: 3rem; max-width: 1560px; }
.fs-title { font-weight: 600; font-size: .98rem; margin: .2rem 0 -.4rem; }
.fs-lead { font-size: 2.1rem; font-weight: 600; line-height: 1.15; font-variant-numeric: tabular-nums; }
.fs-lead small { font-size: 1rem; font-weight: 400; opacity: .7; }
.fs-quiet { color: color-mix(in srgb, currentColor 68%, transparent); font-size: .87rem; }
.fs-text { overflow-wrap: anywhere; white-space: pre-wrap; }
.fs-risk { position: relative; height: .5rem; border-radius: .25rem; margin: .55rem 0 .3rem;
  background: color-mix(in srgb, currentColor 12%, transparent); }
.fs-risk b { position: absolute; inset: 0 auto 0 0; border-radius: .25rem; background: #d8572a; }
.fs-risk i { position: absolute; top: -.2rem; bottom: -.2rem; width: 2px; background: currentColor; opacity: .75; }
.fs-reason { display: grid; grid-template-columns: 4.5rem 1fr; gap: .8rem; align-items: center; padding: .42rem 0;
  border-top: 1px solid color-mix(in srgb, currentColor 10%, transparent); }
.fs-reason:first-child { border-top: 0; }
.fs-reason .bar { height: .5rem; border-radius: .25rem; background: color-mix(in srgb, #d8572a 14%, transparent); }
.fs-reason .bar b { display: block; height: 100%; border-radius: .25rem; background: #d8572a; }
.fs-tag { display: inline-block; padding: .06rem .5rem; border-radius: .75rem; font-size: .78rem; font-weight: 600;
  border: 1px solid color-mix(in srgb, currentColor 30%, transparent); white-space: nowrap; }
.fs-tag.bad { color: color-mix(in srgb, #d8572a 70%, currentColor); }
.fs-tag.good { color: color-mix(in srgb, #4f9a60 70%, currentColor); }
.fs-tag.new { color: color-mix(in srgb, #4a8bd0 70%, currentColor); }
.fs-facts { display: grid; grid-template-columns: repeat(auto-fill, minmax(11.5rem, 1fr)); gap: .6rem 1.4rem; }
.fs-facts div { overflow-wrap: anywhere; } .fs-facts small { display: block; opacity: .62; font-size: .8rem; }
.fs-empty { padding: 2.2rem 1rem; text-align: center; border-radius: .5rem;
  border: 1px dashed color-mix(in srgb, currentColor 25%, transparent); }
.fs-empty strong { display: block; font-size: 1.05rem; margin-bottom: .25rem; }
.fs-bytes { font-family: "Source Code Pro", ui-monospace, monospace; font-size: .82rem; overflow-wrap: anywhere;
  white-space: pre-wrap; max-height: 9rem; overflow-y: auto; }
.st-key-queue [role=radiogroup] { gap: 0; width: 100%; }
.st-key-queue [role=radiogroup] > div { position: relative; width: 100%; padding: .5rem .6rem; border-radius: .4rem;
  border-bottom: 1px solid color-mix(in srgb, currentColor 8%, transparent); }
.st-key-queue [data-testid=stRadioOption] { position: static; }
.st-key-queue [data-testid=stRadioOption]::after { content: ""; position: absolute; inset: 0; z-index: 1; cursor: pointer; }
.st-key-queue [data-testid=stRadioOption] > div > div:first-child { display: none; }
.st-key-queue [data-testid=stRadioCaption] { margin: 0; padding: 0; }
.st-key-queue [data-testid=stRadioCaption] p { display: -webkit-box; -webkit-box-orient: vertical; -webkit-line-clamp: 3;
  overflow: hidden; overflow-wrap: anywhere; line-height: 1.35; }
.st-key-queue [role=radiogroup] > div:hover { background: color-mix(in srgb, currentColor 5%, transparent); }
.st-key-queue [role=radiogroup] > div:has(input:checked) { background: color-mix(in srgb, #4a8bd0 16%, transparent); }
.st-key-queue [role=radiogroup] > div:has(input:focus-visible) { outline: 2px solid #4a8bd0; outline-offset: -2px; }
[data-testid=stMetricValue] div, [data-testid=stMetricDelta] div { white-space: normal; overflow-wrap: anywhere; }
@media (max-width: 900px) {
  [class*=st-key-numbers] [data-testid=stHorizontalBlock], BESIDE { flex-wrap: wrap; }
  [class*=st-key-numbers] [data-testid=stColumn] { flex: 1 1 calc(50% - 1rem); min-width: calc(50% - 1rem); }
  BESIDE > [data-testid=stColumn] { flex: 1 1 100%; min-width: 100%; }
}
</style>""".replace(
    "BESIDE",
    "[data-testid=stHorizontalBlock]:not(:has(.st-key-queue)):has([data-testid=stVegaLiteChart], [data-testid=stDataFrame])",
)
"""Colours are mixed with the text's, so that they suit both themes: small text stands out by 4.5:1 or more (WCAG AA). On a
narrow page figures are in two rows, and whatever is next to a chart or a table moves below it."""


def html(body: str) -> None:
    """Show our own HTML; everything untrusted in it went through `escaped`."""
    st.html(body)


def title(name: str, about: str) -> None:
    """The head of a page."""
    st.title(name, anchor=False)
    st.caption(about)


@dataclass(frozen=True)
class Number:
    """A figure in a box: its title, value, a line below it, and its explanation."""

    name: str
    value: str
    more: str
    meaning: str


def cells(count: int, of: str) -> list[Any]:
    """Columns for figures side by side, in two rows on a narrow page; `of` names them on their page."""
    with st.container(key=f"numbers-{of}"):
        return st.columns(count)


def numbers(found: "Sequence[Number]") -> None:
    """Figures side by side."""
    for cell, number in zip(cells(len(found), "page"), found, strict=True):
        cell.metric(
            number.name,
            number.value,
            number.more,
            delta_color="off",
            delta_arrow="off",
            help=number.meaning,
            border=True,
        )


def chart(title: str, drawn: Any) -> None:
    """A chart under its title."""
    html(f'<div class="fs-title">{escaped(title)}</div>')
    st.altair_chart(drawn, width="stretch")


def empty(what: str, then: str) -> None:
    """Nothing to show yet, and the next step. `then` is HTML of ours."""
    html(f'<div class="fs-empty"><strong>{escaped(what)}</strong><span class="fs-quiet">{then}</span></div>')


def settings() -> Settings:
    """The settings in force now: `fraudstream up` may have run since we started."""
    return on_embedded(load_bare()) if EMBEDDED in sys.argv else load()


def is_closed() -> bool:
    """Whether this session has to give the password first, which a click does not wait for; the page says why."""
    try:
        return not gate.passed(settings().dashboard)
    except FraudstreamError:
        return True


def reviewer() -> str | None:
    """The reviewer's name for labels: as typed into the page, else the user who runs the server. None if that is unknown, or cleared."""
    typed = st.session_state.get("reviewer")
    return current_user() if typed is None else " ".join(str(typed).split()) or None


def _where(postgres: PostgresSettings) -> tuple[str | None, int, str, str]:
    return postgres.host, postgres.port, postgres.database, postgres.user


@st.cache_resource(max_entries=8, show_spinner=False, hash_funcs={PostgresSettings: _where})
def _up_to_date(postgres: PostgresSettings) -> None:
    migrate(postgres)


def database() -> PostgresSettings:
    """The PostgreSQL to show, with its tables up to date. Raises FraudstreamError."""
    postgres = settings().postgres
    _up_to_date(postgres)
    return postgres


def guarded(page: Callable[[PostgresSettings], None]) -> Callable[[], None]:
    """A page, or a part of one, that shows a sentence instead if an expected error occurs.

    A part that renews itself shows nothing once the password has changed, and has the page ask for it.
    """

    def shown() -> None:
        try:
            if not gate.passed(settings().dashboard):
                st.rerun()
            page(database())
        except FraudstreamError as error:
            _up_to_date.clear()  # the tables may have gone with the database
            _trouble(error)

    return shown


def _trouble(error: FraudstreamError) -> None:
    away = isinstance(error, DatabaseUnreachable)
    html(
        f'<div class="fs-empty" role="alert"><strong>{"PostgreSQL is unavailable." if away else "This page cannot be shown."}</strong>'
        f'<p class="fs-text">{escaped(error.message)}</p><p class="fs-quiet">{escaped(error.hint)}</p></div>'
    )
    _retry()


@st.fragment(run_every=RETRY_SECONDS)
def _retry() -> None:
    """A button, and a check every few seconds whether the database is back."""
    asked = st.button("Try again", key="retry", type="primary")
    looked = st.session_state.get("looked", False)
    st.session_state["looked"] = not asked
    if asked or (looked and _is_back()):
        st.session_state["looked"] = False
        st.rerun()


def _is_back() -> bool:
    try:
        database()
    except FraudstreamError:
        return False  # The error is already on the page.
    return True


def frame(kind: "type[DataclassInstance]", found: "Sequence[DataclassInstance]") -> pd.DataFrame:
    """Rows of a query as a table for a chart; without rows it still has its columns."""
    rows: list[dict[str, Any]] = [asdict(row) for row in found]
    return pd.DataFrame(rows, columns=[field.name for field in fields(kind)])
