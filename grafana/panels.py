"""The few kinds of panels that the dashboards are made of, each over one query to PostgreSQL.

`grafana-foundation-sdk` knows what Grafana's panels take, but no PostgreSQL query; `Query` is that.
"""

from dataclasses import dataclass
from textwrap import dedent
from typing import Literal, TypeVar

from grafana_foundation_sdk.builders import barchart, bargauge, common, dashboard, stat, table, timeseries
from grafana_foundation_sdk.cog import builder, variants
from grafana_foundation_sdk.models.common import (
    BarGaugeDisplayMode,
    BigValueGraphMode,
    GraphDrawStyle,
    GraphThresholdsStyleMode,
    StackingMode,
    VizOrientation,
)
from grafana_foundation_sdk.models.dashboard import (
    DataSourceRef,
    DynamicConfigValue,
    Threshold,
    ThresholdsMode,
)

SOURCE = DataSourceRef("grafana-postgresql-datasource", "fraudstream")
"""As provisioning/datasources/postgres.yaml names it."""

RED, GREEN, BLUE, GREY = "red", "green", "blue", "text"

AnyPanel = timeseries.Panel | stat.Panel | table.Panel | barchart.Panel | bargauge.Panel
P = TypeVar("P", timeseries.Panel, stat.Panel, table.Panel, barchart.Panel, bargauge.Panel)
Columns = dict[str, dict[str, object]]
"""By column: field options such as `unit`, `decimals` and `color`."""


@dataclass(frozen=True)
class Query(variants.Dataquery, builder.Builder[variants.Dataquery]):
    """SQL as PostgreSQL's query editor in Grafana keeps it."""

    sql: str
    format: Literal["time_series", "table"]

    def build(self) -> variants.Dataquery:
        """Itself: there is nothing to set step by step."""
        return self

    def to_json(self) -> dict[str, object]:
        """What stands below `targets` in a dashboard."""
        return {
            "refId": "A",
            "datasource": SOURCE,
            "editorMode": "code",
            "rawQuery": True,
            "format": self.format,
            "rawSql": dedent(self.sql).strip(),
        }


@dataclass(frozen=True)
class Page:
    """A dashboard: its panels in the order in which they are read, and over which time at first."""

    uid: str
    title: str
    """Not that of the folder: Grafana refuses a dashboard that is called like its folder."""
    description: str
    time: str
    refresh: str
    panels: tuple[AnyPanel, ...]
    variables: tuple[dashboard.QueryVariable, ...] = ()


@dataclass(frozen=True)
class Look:
    """Where a panel stands and what its numbers mean; 24 columns are a row."""

    title: str
    meaning: str
    width: int = 12
    height: int = 8
    unit: str = "short"


def within(column: str, step: str) -> str:
    """Condition on the beginnings of steps that overlap the chosen time.

    `$__timeFilter` leaves out the step in which that begins, and of the last fifteen minutes every hour.
    """
    return (
        f"{column} > $__timeFrom()::timestamptz - interval '{step}' and {column} <= $__timeTo()::timestamptz"
    )


def over_time(
    look: Look, sql: str, columns: Columns | None = None, *, interval: str = "1h", bars: bool = False
) -> timeseries.Panel:
    """Lines, or stacked bars, of a query whose first column is `time`; no step is shorter than `interval`."""
    panel = _panel(timeseries.Panel(), look, Query(sql, "time_series"), columns).interval(interval)
    if bars:
        stacked = common.StackingConfig().mode(StackingMode.NORMAL)
        return panel.draw_style(GraphDrawStyle.BARS).fill_opacity(70).stacking(stacked)
    return panel.fill_opacity(10).span_nulls(True)


def limits(panel: timeseries.Panel, *steps: tuple[float, str]) -> timeseries.Panel:
    """Draw where a figure begins to matter."""
    style = common.GraphThresholdsStyleConfig().mode(GraphThresholdsStyleMode.DASHED)
    return panel.thresholds_style(style).thresholds(_steps(GREEN, steps))


def numbers(look: Look, sql: str, columns: Columns | None = None, *, color: str = BLUE) -> stat.Panel:
    """Every column of one row as a large number."""
    panel = _panel(stat.Panel(), look, Query(sql, "table"), columns).graph_mode(BigValueGraphMode.NONE)
    panel = panel.reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
    return panel.thresholds(_steps(color, ())).no_value("none")


def gauges(look: Look, sql: str, *steps: tuple[float, str]) -> bargauge.Panel:
    """A bar for every row: its name in the first column, its number in the second."""
    panel = _panel(bargauge.Panel(), look, Query(sql, "table"), None).orientation(VizOrientation.HORIZONTAL)
    every_row = common.ReduceDataOptions().values(True)
    panel = panel.display_mode(BarGaugeDisplayMode.BASIC).reduce_options(every_row).min(0)
    return panel.thresholds(_steps(GREEN, steps)).no_value("none")


def bars(look: Look, sql: str, columns: Columns | None = None) -> barchart.Panel:
    """A bar, or a group of bars, for every row: its name in the first column."""
    return _panel(barchart.Panel(), look, Query(sql, "table"), columns)


def rows(look: Look, sql: str, columns: Columns | None = None) -> table.Panel:
    """A table."""
    return _panel(table.Panel(), look, Query(sql, "table"), columns).no_value("")


def _panel(panel: P, look: Look, query: Query, columns: Columns | None) -> P:
    panel = panel.title(look.title).description(look.meaning).datasource(SOURCE).unit(look.unit)
    panel = panel.span(look.width).height(look.height).with_target(query)
    for column, options in (columns or {}).items():
        panel = panel.override_by_name(column, [_option(name, value) for name, value in options.items()])
    return panel


def _option(name: str, value: object) -> DynamicConfigValue:
    if name == "color":
        return DynamicConfigValue("color", {"mode": "fixed", "fixedColor": value})
    return DynamicConfigValue(name, value)


def _steps(color: str, steps: tuple[tuple[float, str], ...]) -> dashboard.ThresholdsConfig:
    found = [Threshold(None, color), *(Threshold(value, other) for value, other in steps)]
    return dashboard.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(found)
