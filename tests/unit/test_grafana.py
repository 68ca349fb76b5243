"""What Grafana refuses or shows to the wrong people, seen in the files before Grafana sees them."""

import json
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import yaml

from fraudstream.demo.crowd import Crowd, Stage
from fraudstream.schema import PERSONAL
from grafana_panels import GRAFANA, dashboards, queries

SOURCES = yaml.safe_load((GRAFANA / "provisioning" / "datasources" / "postgres.yaml").read_text())
PROVIDERS = yaml.safe_load((GRAFANA / "provisioning" / "dashboards" / "fraudstream.yaml").read_text())


def test_the_dashboards_are_what_the_generator_writes() -> None:
    command = [sys.executable, str(GRAFANA / "generate.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_every_panel_asks_the_data_source_that_is_provisioned() -> None:
    (source,) = SOURCES["datasources"]
    reference = {"type": source["type"], "uid": source["uid"]}
    for dashboard in dashboards():
        for panel in dashboard["panels"]:
            assert panel["datasource"] == reference
            assert [target["datasource"] for target in panel["targets"]] == [reference]
        for variable in dashboard.get("templating", {}).get("list", []):
            assert variable["datasource"] == reference


def test_no_dashboard_is_called_like_its_folder() -> None:
    """Grafana refuses that, and nothing but its log says so."""
    folders = {provider["folder"].lower() for provider in PROVIDERS["providers"]}
    titles = [dashboard["title"].lower() for dashboard in dashboards()]
    assert sorted(titles) == ["alerts and model quality", "pipeline health", "transactions"]
    assert folders.isdisjoint(titles)
    assert len({dashboard["uid"] for dashboard in dashboards()}) == len(titles)


def test_panels_have_numbers_of_their_own_and_do_not_lie_on_each_other() -> None:
    for dashboard in dashboards():
        ids = [panel["id"] for panel in dashboard["panels"]]
        assert len(set(ids)) == len(ids)
        taken: set[tuple[int, int]] = set()
        for panel in dashboard["panels"]:
            place = panel["gridPos"]
            cells = {
                (x, y)
                for x in range(place["x"], place["x"] + place["w"])
                for y in range(place["y"], place["y"] + place["h"])
            }
            assert max(x for x, _ in cells) < 24, panel["title"]
            assert taken.isdisjoint(cells), panel["title"]
            taken |= cells


def test_no_panel_asks_for_names_or_addresses() -> None:
    """The login of Grafana could not read them either; this says it before anything runs."""
    personal = re.compile("|".join(rf"\b{column}\b" for column in PERSONAL))
    for query in queries():
        assert not personal.search(query.sql), query
        assert "select *" not in query.sql, query


def test_figures_of_many_alerts_ask_no_view_that_looks_up_each() -> None:
    """Of a million they took two minutes, and began again every minute. A list of twenty may."""
    asking = {query.panel.partition(" ")[2] for query in queries() if "shop.alert_reviews" in query.sql}
    assert asking == {"Newest alerts"}
    refreshed = {dashboard["title"]: dashboard["refresh"] for dashboard in dashboards()}
    assert refreshed["Alerts and model quality"] == "5m"


def test_a_day_stands_at_its_own_date_wherever_the_reader_is() -> None:
    """Days begin at midnight UTC: west of Greenwich, a browser's own time puts each on the evening before."""
    assert [dashboard["timezone"] for dashboard in dashboards()] == ["utc"] * 3


def test_what_is_read_by_the_payments_own_time_opens_where_the_demo_has_them() -> None:
    """Its customers live a week ago, and their history before that: the last seven days would be empty at any hour."""
    of_payments = [
        dashboard
        for dashboard in dashboards()
        if any(
            "shop.hourly" in target["rawSql"] for panel in dashboard["panels"] for target in panel["targets"]
        )
    ]
    assert len(of_payments) == 2
    for hour in range(24):
        now = datetime(2026, 3, 1, hour, 30, tzinfo=UTC)
        live = datetime.fromtimestamp(Stage(Crowd(users=50), now)._live / 1e6, UTC)
        for dashboard in of_payments:
            (days,) = re.fullmatch(r"now-(\d+)d", dashboard["time"]["from"]).groups()  # type: ignore[union-attr]
            assert now - timedelta(days=int(days)) < live, f"{dashboard['title']} at {hour} h"


def test_no_secret_and_no_host_stands_in_a_provisioned_file() -> None:
    """They come from the environment of Grafana."""
    (source,) = SOURCES["datasources"]
    told = {
        "url": source["url"],
        "user": source["user"],
        "database": source["jsonData"]["database"],
        "sslmode": source["jsonData"]["sslmode"],
        **source["secureJsonData"],
    }
    for name, value in told.items():
        assert re.fullmatch(r"\$\{GF_FRAUDSTREAM_[A-Z]+\}", value), name
    assert "password" not in json.dumps(source["jsonData"])
