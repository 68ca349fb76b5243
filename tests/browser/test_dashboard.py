"""What an analyst sees and does, page by page, in a real browser over real data."""

import json
import re
import signal
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import psutil
import pytest
from psycopg.types.json import Jsonb

from dashboard_browser import Server, Visit, launched
from dashboard_world import waiting
from fraudstream.settings import PostgresSettings
from fraudstream.store import alerts, registry, review
from fraudstream.store.connection import connect
from rows import query
from waiting import HANG_SECONDS

if TYPE_CHECKING:
    from playwright.sync_api import Locator

PAGES = ("", "alerts", "model", "pipeline")


def test_the_overview_counts_what_is_stored(dashboard: str, seeded: PostgresSettings, visit: Visit) -> None:
    visit.go(dashboard, "Newest alerts")
    visit.charts(3)
    ((alerts, confirmed, dismissed),) = query(
        seeded,
        "select count(*), count(*) filter (where verdict), count(*) filter (where not verdict) from shop.alert_reviews",
    )
    assert re.search(rf"Alerts\s+{alerts} · ", visit.text), visit.text
    assert f"{confirmed} confirmed, {dismissed} dismissed" in visit.text
    visit.page.get_by_role("radio", name="Money").click()
    visit.charts(3)


def test_an_alert_says_how_much_how_sure_and_why(
    dashboard: str, seeded: PostgresSettings, visit: Visit
) -> None:
    """With the customer's history, and not with the truth that came with the message: it would be the verdict."""
    first = alerts.alert(seeded, waiting(seeded)[0])
    assert first is not None
    visit.go(f"{dashboard}/alerts", "The customer's payments around it")
    visit.charts(1)
    for reason in first.reasons:
        sentence = reason["sentence"]
        assert sentence[:1].upper() + sentence[1:] in visit.text
    for fact in (first.user_id, first.transaction_id, first.device, first.model_version):
        assert str(fact) in visit.text
    assert f"{first.timestamp:%Y-%m-%d %H:%M:%S}" in visit.text, "UTC, although the browser is in Tokyo"
    assert "the message itself says" not in visit.text
    assert f"Risk {first.risk * 100:.1f} %" in visit.text


def test_a_click_is_a_label_and_the_next_alert_comes(
    dashboard: str, seeded: PostgresSettings, visit: Visit
) -> None:
    first, second, *_ = waiting(seeded)
    visit.go(f"{dashboard}/alerts", first)
    visit.page.get_by_label("Reviewed by").fill("Grace")
    visit.page.get_by_label("Your verdict: note (optional)").fill("phoned: never was there")
    visit.page.get_by_role("button", name="Confirm fraud").click()
    visit.see(re.compile("labelled fraud by Grace"))
    visit.see(second)
    assert query(
        seeded, "select is_fraud, labelled_by, note from shop.labels where transaction_id = %s", first
    ) == [(True, "Grace", "phoned: never was there")]
    assert first not in waiting(seeded)
    visit.page.get_by_role("button", name="Reopen").click()
    visit.see("Change the verdict: note (optional)")
    visit.see(re.compile("Grace labelled it fraud: “phoned: never was there”"))
    visit.see("the message itself says")
    line = visit.page.locator(".st-key-queue [data-testid=stRadioCaption]").nth(1)
    line.click(force=True)  # on the words below: the whole of it is the button, which lies above them
    visit.see(waiting(seeded)[1])


def test_the_queue_is_worked_through_with_the_keyboard(
    dashboard: str, seeded: PostgresSettings, visit: Visit
) -> None:
    """N and P move, D dismisses; a d in a note is a letter."""
    first, second, third, *_ = waiting(seeded)
    visit.go(f"{dashboard}/alerts", first)
    visit.page.get_by_role("button", name="Next").wait_for()
    visit.settled()
    visit.page.keyboard.press("n")
    visit.see(second)
    visit.settled()
    visit.page.keyboard.press("p")
    visit.see(first)
    visit.settled()
    note = visit.page.get_by_label("Your verdict: note (optional)")
    note.fill("")
    note.press_sequentially("dddnf")
    visit.page.keyboard.press("Tab")
    visit.settled()
    assert query(seeded, "select count(*) from shop.labels where transaction_id = %s", first) == [(0,)]
    visit.page.locator("h1").click()
    visit.page.keyboard.press("d")
    visit.see(re.compile("labelled legitimate by"))
    visit.see(second)
    assert query(seeded, "select is_fraud, note from shop.labels where transaction_id = %s", first) == [
        (False, "dddnf")
    ]
    visit.settled()
    visit.page.get_by_role("radio", checked=True).and_(visit.page.locator(".st-key-queue input")).focus()
    visit.page.keyboard.press("ArrowDown")
    visit.see(third)


def test_an_alert_has_an_address_and_filters_find_it(
    dashboard: str, seeded: PostgresSettings, visit: Visit
) -> None:
    ((name, customer),) = query(
        seeded,
        "select transaction_id, user_id from shop.alert_reviews where verdict order by scored_at limit 1",
    )
    visit.go(f"{dashboard}/alerts?alert={name}", name)
    visit.see("Change the verdict: note (optional)")
    visit.page.get_by_role("radio", name="Reviewed").click()
    box = visit.page.get_by_label("Customer or transaction")
    box.fill(customer)
    box.press("Enter")
    lines = visit.page.locator(".st-key-queue input[type=radio]")
    visit.count(lines, len(review.queue(seeded, review.Wanted("reviewed", text=customer))))
    box.fill("nobody")
    box.press("Enter")
    visit.see("No other alert matches these filters.")


def test_a_queue_of_more_than_a_hundred_alerts_can_be_seen_to_its_end(
    dashboard: str, seeded: PostgresSettings, visit: Visit
) -> None:
    """Of a customer with 101 alerts the oldest comes by a button; after that nothing is said to follow."""
    with connect(seeded) as connection:
        connection.execute(
            """
            insert into shop.alerts (transaction_id, user_id, timestamp, amount, risk, rules, model_version, scored_at,
              reasons, features)
            select 'busy-' || n, 'busy', now(), 5, 0.8, '{}', 'm', now() - make_interval(days => 1, secs => n), '[]', '{}'
            from generate_series(1, 101) as n"""
        )
    try:
        visit.go(f"{dashboard}/alerts", "The customer's payments around it")
        visit.page.get_by_role("radio", name="All", exact=True).click()
        box = visit.page.get_by_label("Customer or transaction")
        box.fill("busy")
        box.press("Enter")
        visit.see("The first 100 alerts; there are more.")
        lines = visit.page.locator(".st-key-queue [data-testid=stRadioCaption]")
        visit.count(lines, 100)
        visit.page.get_by_role("button", name="Show 100 more").click()
        visit.page.get_by_text("there are more").wait_for(state="detached")
        visit.count(lines, 101)
        lines.last.click(force=True)
        visit.see("busy-101")
    finally:
        with connect(seeded) as connection:
            connection.execute("delete from shop.alerts where user_id = 'busy'")


def test_the_model_page_draws_how_it_was_judged_and_how_it_does(
    dashboard: str, seeded: PostgresSettings, visit: Visit
) -> None:
    candidate, champion = (model.version for model in registry.models(seeded))
    visit.go(f"{dashboard}/model", "Precision against recall")
    visit.charts(2)
    manifest = registry.get(seeded, champion).manifest
    assert f"{manifest['metrics']['average_precision']:.3f}" in visit.text
    learnt = manifest["training"]
    assert (
        f"learned from a history of {learnt['rows']:,} transactions, {learnt['judged']:,} of them labelled"
        f" ({learnt['frauds']:,} known frauds)"
    ) in visit.text
    for tab, sign, charts in (
        ("Features", "How risk depends on", 2),
        ("Calibration", "its risk is a ranking, not a probability", 1),
        ("At work", "Alerts by verdict", 3),
        ("Detection", "Test windows", 2),
    ):
        visit.page.get_by_role("tab", name=tab).click()
        visit.page.get_by_text(re.compile(sign)).first.wait_for(state="visible")
        visit.charts(charts)
    visit.page.get_by_role("combobox", name=re.compile("Version")).click()
    visit.page.get_by_role("option", name=re.compile(candidate)).click()
    visit.page.get_by_role("tab", name="Versions").click()
    visit.page.get_by_text(f"fraudstream models promote {candidate}").wait_for(state="visible")


def test_a_model_whose_manifest_cannot_be_read_is_named_and_the_others_are_shown(
    dashboard: str, seeded: PostgresSettings, visit: Visit
) -> None:
    """The page of all models was a traceback."""
    candidate, champion = (model.version for model in registry.models(seeded))
    kept = registry.get(seeded, candidate).manifest
    change = "update shop.models set manifest = %s where version = %s"
    with connect(seeded) as connection:
        connection.execute(change, (Jsonb({"metrics": "good"}), candidate))
    try:
        visit.go(f"{dashboard}/model", "Precision against recall")
        visit.page.get_by_role("tab", name="Versions").click()
        visit.page.get_by_role("combobox", name=re.compile("Version")).click()
        visit.page.get_by_role("option", name=re.compile(candidate)).click()
        visit.see(f"The manifest of model {candidate} in the registry cannot be read")
        visit.see("Train the model again, or restore shop.models from a backup.")
        visit.page.get_by_role("combobox", name=re.compile("Version")).click()
        visit.page.get_by_role("option", name=re.compile(champion)).click()
        visit.see("Precision against recall")
    finally:
        with connect(seeded) as connection:
            connection.execute(change, (Jsonb(kept), candidate))


def test_the_pipeline_page_shows_lag_latency_and_rejected_messages(
    dashboard: str, seeded: PostgresSettings, visit: Visit
) -> None:
    ((rejected,),) = query(seeded, "select count(*) from shop.rejected")
    visit.go(f"{dashboard}/pipeline", "Lag by partition")
    visit.charts(1)
    assert re.search(rf"Rejected, waiting\s+{rejected}\s", visit.text), visit.text
    assert visit.page.locator(".fs-bytes").inner_text().endswith("bytes)")


def test_on_a_narrow_screen_no_figure_is_cut_and_charts_have_the_whole_width(
    dashboard: str, visit: Visit
) -> None:
    """Figures stand in two rows, and what stood beside a chart or a table stands below it."""
    visit.page.set_viewport_size({"width": 800, "height": 1000})
    for page, ready, charts in (
        ("", "Newest alerts", 3),
        ("model", "Test windows", 2),
        ("pipeline", "Lag by", 1),
    ):
        visit.go(f"{dashboard}/{page}", re.compile(ready))
        visit.charts(charts)
        figures = visit.page.locator("[data-testid=stMetric]:visible")
        rows = {round(box["y"]) for box in map(_box, figures.all())}
        assert len(rows) == 2, page
        cut = "found => found.filter(e => e.scrollWidth > e.clientWidth).map(e => e.innerText)"
        texts = figures.locator("[data-testid=stMetricValue] div, [data-testid=stMetricDelta] div")
        assert texts.evaluate_all(cut) == [], page
        drawn = visit.page.locator("[data-testid=stVegaLiteChart]:visible, [data-testid=stDataFrame]:visible")
        assert all(_box(one)["width"] > 700 for one in drawn.all()), page


def _box(found: "Locator") -> Any:
    box = found.bounding_box()
    assert box
    return box


@pytest.mark.parametrize("visit", ["light", "dark"], indirect=True)
def test_light_and_dark_follow_the_browser(
    dashboard: str, visit: Visit, request: pytest.FixtureRequest
) -> None:
    """In both, the text stands out from its background, in our own HTML, too."""
    visit.go(f"{dashboard}/alerts", "The customer's payments around it")
    app, lead, reason, tag = (
        _pixel(visit.page.locator(name).first, key)
        for name, key in [
            ("[data-testid=stApp]", "backgroundColor"),
            (".fs-lead", "color"),
            (".fs-reason", "color"),
            (".fs-tag", "color"),
        ]
    )
    background = sum(app) / 765
    assert (background > 0.9) is (request.node.callspec.params["visit"] == "light")
    assert all(abs(sum(text) / 765 - background) > 0.6 for text in (lead, reason)), (app, lead, reason)
    light, dark = sorted(map(luminance, (tag, app)), reverse=True)
    assert (light + 0.05) / (dark + 0.05) >= 4.5, "WCAG AA, for small text"


def _pixel(found: "Locator", key: str) -> list[int]:
    """Red, green and blue of a colour of this element, once it is there: the page's parts appear in any order."""
    colour: list[int] = found.evaluate(
        """(element, key) => { const canvas = new OffscreenCanvas(1, 1).getContext('2d');
             canvas.fillStyle = getComputedStyle(element)[key]; canvas.fillRect(0, 0, 1, 1);
             return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3); }""",
        key,
    )
    return colour


def luminance(colour: list[int]) -> float:
    """Relative luminance of red, green and blue of 0 to 255, by WCAG 2."""
    linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in (n / 255 for n in colour)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


HOSTILE = '<img src=http://evil.example/x.png onerror="window.hacked=1"><script>window.hacked=2</script>'
MARKDOWN = "![i](http://evil.example/y.png) [click](javascript:window.hacked=3) **b** `c` $x$ :smile: :red[r]"


def _insert(postgres: PostgresSettings, name: str, **changes: object) -> None:
    """An alert and its transaction whose texts a stranger chose."""
    row: dict[str, object] = {
        "transaction_id": name, "user_id": MARKDOWN, "timestamp": datetime.now(UTC), "amount": 1e308, "device": HOSTILE,
        "location": MARKDOWN, "transaction_location": HOSTILE, "merchant_id": MARKDOWN, "currency": HOSTILE,
    } | changes  # fmt: skip
    names, marks = ", ".join(row), ", ".join(["%s"] * len(row))
    reasons = [{"feature": HOSTILE, "contribution": 1.0, "value": 1.0, "sentence": f"paid from {HOSTILE} {MARKDOWN}"},
               {"rule": HOSTILE, "severity": MARKDOWN, "sentence": MARKDOWN}]  # fmt: skip
    with connect(postgres) as connection:
        connection.execute(
            f"insert into shop.transactions ({names}) values ({marks})".encode(), [*row.values()]
        )
        connection.execute(
            f"insert into shop.alerts ({names}, risk, rules, model_version, scored_at, reasons, features)"
            f" values ({marks}, 1.0, %s, %s, now() + interval '1 hour', %s, '{{}}')".encode(),
            [*row.values(), [HOSTILE], MARKDOWN, json.dumps(reasons)],
        )
        connection.execute(
            'insert into shop.rejected (topic, topic_id, partition, "offset", value, reason) values (%s, %s, 0, 0, %s, %s)',
            (MARKDOWN, name[:20], json.dumps({"device": HOSTILE + MARKDOWN}).encode(), HOSTILE),
        )


@pytest.fixture
def hostile(seeded: PostgresSettings) -> Iterator[tuple[str, str]]:
    """The ids of two alerts of strangers, one of the first year and one of the last."""
    names = (f"1 {HOSTILE}", f"9999 {HOSTILE}")
    for year, name in zip((1, 9999), names, strict=True):
        _insert(seeded, name, timestamp=datetime(year, 12, 31, 23, 59, 59, tzinfo=UTC))
    yield names
    with connect(seeded) as connection:
        for table in ("alerts", "transactions", "labels"):
            connection.execute(
                f"delete from shop.{table} where transaction_id = any(%s)".encode(), ([*names],)
            )
        connection.execute("delete from shop.rejected where topic = %s", (MARKDOWN,))


def test_strangers_texts_are_data(
    seeded: PostgresSettings, dashboard: str, visit: Visit, hostile: tuple[str, str]
) -> None:
    """HTML, Markdown and scripts in every field, an amount of 1e308, the first and last year: shown as they came."""
    first, last = hostile
    pages = {
        "": 3,
        f"alerts?alert={quote(first)}": 1,
        f"alerts?alert={quote(last)}": 1,
        "model": 2,
        "pipeline": 1,
    }
    for page, charts in pages.items():
        visit.go(f"{dashboard}/{page}", re.compile("Times|UTC"))
        visit.charts(charts)
        if page.startswith("alerts"):
            name = last if "9999" in page else first
            texts = (
                name,
                HOSTILE,
                MARKDOWN,
                f"Paid from {HOSTILE} {MARKDOWN}",
                f"{name.split()[0]:0>4}-12-31 23:59:59",
            )
            for text in texts:
                assert text in visit.text.replace("\u2060", ""), text
            caption = visit.page.locator(".st-key-queue [data-testid=stRadioCaption]").first.inner_text()
            assert f"paid from {HOSTILE} {MARKDOWN}" in caption.replace("\u2060", "")
        if page == "pipeline":
            assert json.dumps({"device": HOSTILE + MARKDOWN}) in visit.text
        assert visit.page.locator("img[src*=evil], a[href*=evil], a[href^=javascript]").count() == 0
        assert visit.page.evaluate("window.hacked") is None
    visit.go(f"{dashboard}/alerts?alert={quote(last)}", last)
    visit.page.get_by_role("button", name="Confirm fraud").click()
    visit.see(re.compile("labelled fraud by"))
    assert query(seeded, "select is_fraud from shop.labels where transaction_id = %s", last) == [(True,)]


def test_an_empty_database_a_lost_one_and_a_password(
    server: Server, tmp_path: Path, visit: Visit, new_visit: Callable[[], Visit]
) -> None:
    """The pages ask for the password, say what to do first, and outlive their database; a killed program leaves no server."""
    postgres = server.database()
    with launched(postgres, tmp_path, PASSWORD="open sesame") as running:  # noqa: S106
        for page in PAGES:
            visit.go(f"{running.url}/{page}", "Password")
            assert "Overview" not in visit.text
        visit.settled()  # else the page that comes last is drawn over what is typed
        box = visit.page.locator("input[type=password]")
        box.fill("open barley")
        box.press("Enter")
        visit.see(re.compile("Wrong password"))
        assert "open sesame" not in visit.page.content()
        box.fill("open sesame")
        box.press("Enter")
        visit.see("Every message could be read.")
        command = " ".join(" ".join(p.cmdline()) for p in _family(running.process.pid))
        assert "sesame" not in command
        for link, sign in (
            ("Overview", "Nothing has come through the stream yet."), ("Alerts", "No alerts are awaiting review."),
            ("Model", "There is no model yet."), ("Pipeline", "No stream has run yet."),
        ):  # fmt: skip
            visit.page.get_by_role("link", name=link).click()
            visit.see(sign)
            visit.read("fraudstream ")  # the next step is a command
        other = new_visit()
        other.go(running.url, "Password")
        server.stop()
        try:
            for link in ("Alerts", "Model", "Pipeline", "Overview"):
                visit.page.get_by_role("link", name=link).click()
                visit.see("PostgreSQL is unavailable.")
                visit.page.get_by_role("button", name="Try again").first.wait_for()
        finally:
            server.start()
        visit.see("Nothing has come through the stream yet.")
        # After kill -9 it has no chance to tidy up; the server notices that its parent is gone.
        _, *children = _family(running.process.pid)
        assert children
        running.process.send_signal(signal.SIGKILL)
        _, alive = psutil.wait_procs(children, HANG_SECONDS)
        assert not alive


def test_a_page_that_nobody_touches_closes_when_the_password_changes(
    server: Server, tmp_path: Path, visit: Visit
) -> None:
    """It went on to show the stream to whoever knew the old one."""
    file = tmp_path / "password"
    file.write_text("open sesame")
    with launched(server.database(), tmp_path, PASSWORD_FILE=str(file)) as running:
        visit.go(f"{running.url}/pipeline", "Password")
        visit.settled()
        box = visit.page.locator("input[type=password]")
        box.fill("open sesame")
        box.press("Enter")
        visit.see("Every message could be read.")
        file.write_text("open barley")
        box.wait_for()
        visit.settled()
        assert "Every message could be read." not in visit.text
        box.fill("open barley")
        box.press("Enter")
        visit.see("Every message could be read.")


def _family(pid: int) -> list[psutil.Process]:
    process = psutil.Process(pid)
    return [process, *process.children(recursive=True)]
