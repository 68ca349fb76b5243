"""What Grafana does with the SQL of a panel before PostgreSQL sees it, and the panels to do it with.

The macros are those of Grafana's own engine (pkg/tsdb/grafana-postgresql-datasource/macros.go), its pattern included:
an argument ends at the first closing bracket, which is why `$__timeFilter(date_trunc('day', t))` breaks there.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

GRAFANA = Path(__file__).parents[1] / "grafana"
_MACRO = re.compile(r"\$([_a-zA-Z0-9]+)\(([^)]*)\)")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


@dataclass(frozen=True)
class Query:
    """The SQL of one panel, or of a variable, as it stands in the dashboard."""

    dashboard: str
    panel: str
    sql: str
    format: str
    interval: str
    """The shortest step of the panel."""

    def __str__(self) -> str:
        return f"{self.dashboard}: {self.panel}"

    def expanded(self, since: datetime, until: datetime, interval: str = "", model: str = ".*") -> str:
        """As PostgreSQL gets it; `interval` is what Grafana chose for the width of the screen."""
        step = interval or self.interval
        sql = self.sql.replace("${model:regex}", model)
        if step:
            sql = sql.replace("$__interval_ms", str(1000 * _seconds(step))).replace("$__interval", step)
        expanded = _MACRO.sub(lambda found: _macro(found[1], found[2].split(","), since, until), sql)
        assert "$" not in expanded.replace(")$'", ""), f"Grafana leaves this in {self}: {expanded}"
        return expanded


def _macro(name: str, arguments: list[str], since: datetime, until: datetime) -> str:
    first, *rest = (argument.strip() for argument in arguments)
    match name:
        case "__timeFilter":
            return f"{first} BETWEEN '{_instant(since)}' AND '{_instant(until)}'"
        case "__timeFrom":
            return f"'{_instant(since)}'"
        case "__timeTo":
            return f"'{_instant(until)}'"
        case "__timeGroup" | "__timeGroupAlias":
            seconds = _seconds(rest[0].strip("'"))
            alias = ' AS "time"' if name.endswith("Alias") else ""
            return f"floor(extract(epoch from {first})/{seconds})*{seconds}{alias}"
    raise AssertionError(f"unknown macro {name}")


def _seconds(step: str) -> int:
    return int(step[:-1]) * _SECONDS[step[-1]]


def _instant(instant: datetime) -> str:
    return instant.astimezone(UTC).isoformat().replace("+00:00", "Z")


def dashboards() -> list[Mapping[str, Any]]:
    """The documents that Grafana reads."""
    return [json.loads(path.read_text()) for path in sorted((GRAFANA / "dashboards").glob("*.json"))]


def queries() -> Iterator[Query]:
    """Every query of every dashboard."""
    for dashboard in dashboards():
        for variable in dashboard.get("templating", {}).get("list", []):
            yield Query(dashboard["title"], f"${variable['name']}", variable["query"], "table", "")
        for panel in dashboard["panels"]:
            for target in panel["targets"]:
                yield Query(
                    dashboard["title"],
                    f"{panel['id']} {panel['title']}",
                    target["rawSql"],
                    target["format"],
                    panel.get("interval", ""),
                )
