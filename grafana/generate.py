"""Writes grafana/dashboards/*.json, which Grafana reads. `--check` only says whether they are up to date.

    python grafana/generate.py [--check]

The panels are in transactions.py, alerts.py and pipeline.py. The SDK is the newest for Grafana's classic schema of
dashboards; the Grafana that compose.yaml pins is newer and reads that schema, as every release since does.
"""

import json
import sys
from pathlib import Path

import alerts
import pipeline
import transactions
from grafana_foundation_sdk.builders.dashboard import Dashboard, DashboardLink
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import DashboardCursorSync, DashboardLinkType
from panels import Page

DASHBOARDS = Path(__file__).with_name("dashboards")
TAG = "fraudstream"


def documents() -> dict[Path, str]:
    """The text of each dashboard by its file."""
    pages = (transactions.PAGE, alerts.PAGE, pipeline.PAGE)
    return {DASHBOARDS / f"{page.uid.removeprefix(f'{TAG}-')}.json": _text(page) for page in pages}


def _text(page: Page) -> str:
    others = DashboardLink("fraudstream").type(DashboardLinkType.DASHBOARDS).tags([TAG]).keep_time(True)
    built = Dashboard(page.title).uid(page.uid).description(page.description).tags([TAG]).link(others)
    built = built.time(page.time, "now").refresh(page.refresh).timezone("utc")
    built = built.readonly().tooltip(DashboardCursorSync.CROSSHAIR)
    for variable in page.variables:
        built = built.with_variable(variable)
    for number, panel in enumerate(page.panels, start=1):
        built = built.with_panel(panel.id(number))
    return json.dumps(built.build(), cls=JSONEncoder, indent=2, sort_keys=True) + "\n"


def main() -> int:
    """Write what differs; with `--check` name it and return 1."""
    differing = [
        (file, text) for file, text in documents().items() if not file.exists() or file.read_text() != text
    ]
    for file, text in differing:
        if "--check" in sys.argv:
            print(f"{file} is not what grafana/generate.py writes", file=sys.stderr)
        else:
            file.write_text(text)
            print(file)
    return int(bool(differing) and "--check" in sys.argv)


if __name__ == "__main__":
    sys.exit(main())
