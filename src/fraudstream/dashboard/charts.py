"""One style for all charts: units in the titles, times in UTC, and one meaning per colour, in both themes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt
import pandas as pd

BLUE, ORANGE, AMBER, GREEN, GREY = "#4a8bd0", "#d8572a", "#d69e2e", "#5b9a68", "#8794a3"
"""Usual, fraud, alerts, cleared, background. Safe for colour blindness: both lightness and hue differ."""
TEXT = "#777f8a"
"""Names inside a chart, which does not know its theme: 4.0:1 on the light background and 4.5:1 on the dark one."""


_CLOCK = (
    "utcseconds(datum.value) ? '' : utchours(datum.value) || utcminutes(datum.value) ? utcFormat(datum.value, '%H:%M')"
    " : utcdate(datum.value) == 1 ? utcFormat(datum.value, '%b %Y') : utcFormat(datum.value, '%d %b')"
)
"""Label of a tick: the minute, at midnight the day, on the first the month; none between two minutes."""


def time_axis(title: str = "time (UTC)", field: str = "time", padding: float = 0) -> alt.X:
    """An axis of times in UTC, whatever the browser's time zone; `padding` in pixels keeps marks off the edges."""
    axis = alt.Axis(title=title, grid=False, labelOverlap=True, labelExpr=_CLOCK, tickCount=10)
    return alt.X(f"{field}:T", scale=alt.Scale(type="utc", padding=padding), axis=axis)


def tip(field: str, title: str, form: str = "") -> alt.Tooltip:
    """A line of a tooltip; without a format, a string."""
    return alt.Tooltip(f"{field}:{'Q' if form else 'N'}", title=title, format=form or alt.Undefined)


def y_axis(field: str, title: str, form: str = "~s", *, whole: bool = False, **scale: Any) -> alt.Y:
    """An axis of a quantity with few ticks; `whole` numbers get none in between."""
    return alt.Y(
        f"{field}:Q",
        scale=alt.Scale(**scale) if scale else alt.Undefined,
        axis=alt.Axis(title=title, format=form, tickCount=5, tickMinStep=1 if whole else alt.Undefined),
    )


def named(field: str, colours: dict[str, str]) -> alt.Color:
    """One colour for each name, in this order, with a legend above."""
    return alt.Color(
        f"{field}:N",
        scale=alt.Scale(domain=list(colours), range=list(colours.values())),
        legend=alt.Legend(title=None, orient="top", direction="horizontal"),
    )


def finished(chart: Any, about: str, height: int = 260) -> Any:
    """A chart with its size set; `about` describes it for screen readers."""
    return chart.properties(description=about, height=height)


@dataclass(frozen=True)
class Series:
    """A quantity over time: its column, title and unit."""

    value: str
    title: str
    unit: str
    form: str = "~s"
    whole: bool = False


def area(data: pd.DataFrame, series: Series, tips: Sequence[alt.Tooltip]) -> Any:
    """One quantity over time."""
    base = alt.Chart(data).encode(
        x=time_axis(),
        y=y_axis(series.value, series.unit, series.form, whole=series.whole),
        tooltip=list(tips),
    )
    drawn = base.mark_area(color=BLUE, opacity=0.25, line={"color": BLUE, "strokeWidth": 1.6})
    return _over_time(drawn + _points(base), series)


def lines(
    data: pd.DataFrame, series: Series, name: str, colours: dict[str, str], tips: Sequence[alt.Tooltip]
) -> Any:
    """Several quantities over time, distinguished by the column `name`."""
    base = alt.Chart(data).encode(
        x=time_axis(),
        y=y_axis(series.value, series.unit, series.form, whole=series.whole),
        color=named(name, colours),
        tooltip=list(tips),
    )
    return _over_time(base.mark_line(strokeWidth=2) + _points(base), series)


def _over_time(chart: Any, series: Series) -> Any:
    return finished(chart, f"{series.title}, {series.unit}, over time")


def _points(base: alt.Chart) -> Any:
    """Points that show only under the pointer, so that a tooltip appears without aiming."""
    return base.mark_point(size=180, opacity=0, filled=True)


def rule_at(value: float, text: str, colour: str = GREY) -> Any:
    """A line at a value that matters, with its name at the right end."""
    data = pd.DataFrame({"value": [value], "text": [text]})
    line = alt.Chart(data).mark_rule(color=colour, strokeDash=[5, 4], strokeWidth=1.5)
    label = alt.Chart(data).mark_text(align="right", baseline="bottom", dx=-4, dy=-3, color=TEXT, fontSize=12)
    return line.encode(y="value:Q") + label.encode(y="value:Q", x=alt.value("width"), text="text:N")
