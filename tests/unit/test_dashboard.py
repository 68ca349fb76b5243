"""The dashboard's words and guards, without a browser: numbers, strangers' texts, the password, who may listen where."""

import asyncio
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import streamlit
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from fraudstream.dashboard import alerts, case, comparison, figures, gate, launch, model, pipeline, shell
from fraudstream.errors import ServiceError, SettingsError
from fraudstream.settings import DashboardSettings
from fraudstream.store.alerts import Alert
from fraudstream.store.history import Past
from fraudstream.store.model_quality import Quality
from fraudstream.store.pipeline import Progress
from fraudstream.store.review import Queued, Verdicts

HOSTILE = "<img src=x onerror=alert(1)> **b** ![i](http://evil/x.png) [l](http://evil) `c` $x^2$ :smile: :red[r] #h |t| ~s~"


@pytest.mark.parametrize(
    ("number", "shown"),
    [(0, "0"), (999, "999"), (9_999, "9,999"), (12_345, "12.3 k"), (999_999, "1,000 k"), (1_234_567, "1.23 M"),
     (12_345_678_901, "12.3 B"), (1e300, "1e+300"), (-45_678, "-45.7 k")],
)  # fmt: skip
def test_large_numbers_are_short(number: float, shown: str) -> None:
    assert figures.short(number) == shown


@pytest.mark.parametrize(
    ("now", "shown"),
    [
        (112, "+12 % on the period before"),
        (88, "-12 % on the period before"),
        (99.9, "same as the period before"),
    ],
)
def test_a_change_of_nothing_has_no_sign(now: float, shown: str) -> None:
    assert figures.change(now, 100) == shown
    assert figures.change(now, 0) is None


def test_one_day_of_alerts_is_drawn_in_a_week() -> None:
    """Alone it would be a bar as wide as the page."""
    day = Quality(datetime(2026, 11, 27, tzinfo=UTC), 8, 2, 1, 2)
    found = comparison.week([day])
    assert [(found_.day.day, found_.alerts) for found_ in found] == [(21, 0), (27, 8)]
    assert comparison.week(found) == found


def test_the_last_days_of_a_retired_model_are_called_its_own() -> None:
    now = datetime(2026, 11, 29, 17, 30, tzinfo=UTC)
    assert comparison.last_days(now - timedelta(hours=3), now) == "the last 7 days"
    assert comparison.last_days(now - timedelta(days=40), now) == "its last 7 days, until 2026-10-20"


def test_a_day_that_is_not_over_says_so() -> None:
    """Its bar is small, as its alerts are still to come."""
    now = datetime(2026, 11, 29, 17, 30, tzinfo=UTC)
    assert comparison.named_day(datetime(2026, 11, 28, tzinfo=UTC), now) == "2026-11-28"
    assert comparison.named_day(datetime(2026, 11, 29, tzinfo=UTC), now) == "2026-11-29, so far"


def test_a_page_claims_no_precision_where_only_frauds_are_labelled() -> None:
    assert comparison._right(Verdicts(3, 0, legitimate_known=False)) == (
        "Confirmed as fraud: 3. Only frauds are labelled, so nothing says how many alerts were false"
    )
    assert (
        comparison._right(Verdicts(3, 0, legitimate_known=True)) == "100.0 % of 3 reviewed alerts were fraud"
    )
    assert (
        comparison._right(Verdicts(1, 3, legitimate_known=True)) == "25.0 % of 4 reviewed alerts were fraud"
    )
    assert comparison._right(Verdicts(0, 0, legitimate_known=True)) == "No alert has been reviewed yet"


def test_a_history_says_how_much_of_it_was_judged() -> None:
    """A labelled model learns from that alone; manifests of before do not say it."""
    learnt = {"rows": 1_000_000, "judged": 3_000, "frauds": 900}
    said = "a history of 1,000,000 transactions, 3,000 of them labelled (900 known frauds)"
    assert model.learned(learnt) == said
    del learnt["judged"]
    assert model.learned(learnt) == "a history of 1,000,000 transactions (900 known frauds)"


def test_amounts_name_their_currency_only_where_it_is_one() -> None:
    """A currency is a stranger's text; one that is no code is left out, as the amount stands in labels and headings."""
    assert figures.amount(3204, "EUR") == "3,204.00 EUR"
    assert (
        figures.amount(3204, None)
        == figures.amount(3204, "**EUR**")
        == figures.amount(3204, "eur")
        == "3,204.00"
    )
    assert figures.amount(1.7e308) == "1.700e+308"


def test_instants_are_utc_in_every_year_that_a_message_may_have() -> None:
    assert figures.instant(datetime(1, 1, 1, tzinfo=UTC)) == "0001-01-01 00:00:00"
    assert figures.iso(datetime(9999, 12, 31, 23, 59, 59, 999_999, UTC)) == "9999-12-31T23:59:59.999Z"


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_number_can_be_shown(value: float) -> None:
    assert figures.short(value)
    assert len(figures.amount(value)) < 30


def test_texts_in_markdown_lose_every_meaning_and_no_sign() -> None:
    shown = figures.plain(HOSTILE + "\n# second line")
    assert "\n" not in shown
    assert shown.replace("\\", "").replace("\u2060", "") == HOSTILE + " # second line"
    for sign in "<>*![]()`$:#|~_":
        assert all(shown[i - 1] == "\\" for i, found in enumerate(shown) if found == sign)


def test_reasons_are_sentences_and_what_strangers_wrote_in_them_is_text() -> None:
    shown = case.reasons(
        [
            {"rule": "pace<b>", "severity": "high", "sentence": f"five payments from {HOSTILE}"},
            {
                "feature": "amount",
                "contribution": 2.0,
                "value": 1.0,
                "sentence": "amount is 41 times the usual",
            },
            {"feature": "hour", "contribution": 1.0, "value": 3.0, "sentence": "at three in the morning"},
            {"sentence": "no reasons: the model is not registered"},
        ]
    )
    assert "<img" not in shown
    assert "<b>pace" not in shown
    assert "&lt;img src=x onerror=alert(1)&gt;" in shown
    assert "Amount is 41 times the usual" in shown
    assert shown.index("width:100%") < shown.index("width:50%")


def test_the_interval_of_a_figure_is_the_models_own_and_not_the_baselines() -> None:
    """With the figure's digits: it read 0.096, between 0.10 and 0.10."""
    assert model.beside((0.0954, 0.0967), 0.263) == "0.095 to 0.097 (95 %); amount alone 0.263"
    assert model.beside(None, 0.263) == "amount alone 0.263"


def test_the_usual_amount_is_drawn_only_of_a_customer_with_payments() -> None:
    """Of a new one it is everybody's."""
    assert "usual amount" in drawn(user_count_30d=12.0)
    assert "usual amount" not in drawn(user_count_30d=0.0)
    assert "usual amount" not in drawn()  # decided by an earlier version, which did not say


def test_a_risk_just_below_the_threshold_is_told_from_it() -> None:
    """Of an alert that a rule raised: the risk read as the one from which the model flags."""
    assert case.risks(0.59963, 0.6) == ("59.96 %", "60.00 %")
    assert case.risks(0.934, 0.6) == ("93.4 %", "60.0 %")
    assert case.risks(0.6, 0.6) == ("60.0 %", "60.0 %")


def drawn(**features: float) -> str:
    """The chart of a customer's amounts."""
    at = datetime(2026, 3, 1, tzinfo=UTC)
    alert = Alert(
        "t", "u", at, 20.0, "EUR", "ios", "Paris", "Lyon", "m-5", 0.9, [], [], "m1", at, None, at,
        features | {"user_amount_mean": 80.0}, None, None, None, None, None,
    )  # fmt: skip
    past = Past("t", "u", at, 20.0, "EUR", "ios", "Paris", "Lyon", "m-5", None, flagged=True, verdict=None)
    return str(case.history_chart([past], alert).to_json())


def test_alerts_that_look_alike_are_told_apart_in_the_queue() -> None:
    """Streamlit knows by what it shows which one was clicked."""
    at = datetime(2026, 3, 1, tzinfo=UTC)
    found = [Queued(name, "u", at, 1.0, "EUR", 0.97, at, None, None) for name in "abc"]
    shown = alerts.lines(found)
    assert len({*shown.values()}) == 3
    assert {line.replace("\u2060", "") for line in shown.values()} == {"**1.00 EUR** · risk 97.0 %"}


@pytest.mark.parametrize("trouble", [KeyError, OSError])
def test_a_reviewer_may_be_nobody_that_the_system_knows(
    monkeypatch: pytest.MonkeyPatch, trouble: type[Exception]
) -> None:
    """As in a container whose user has no entry in /etc/passwd; the page then shows an empty name."""

    def nobody(_uid: int) -> None:
        raise trouble

    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", nobody)
    assert shell.reviewer() is None
    monkeypatch.setenv("USER", "ana")
    assert shell.reviewer() == "ana"


def test_a_reviewer_who_cleared_the_name_is_not_taken_for_the_user_of_the_server(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("USER", "root")
    monkeypatch.setitem(streamlit.session_state, "reviewer", "  ")
    assert shell.reviewer() is None
    monkeypatch.setitem(streamlit.session_state, "reviewer", " Grace  Hopper ")
    assert shell.reviewer() == "Grace Hopper"


def test_bytes_of_rejected_messages_are_shown_without_names_and_addresses() -> None:
    value = b'{"user_id": "u1", "first_name": "Ada \\"Countess\\"", "email":"ada@example.com", "device": "y\x00\x1b[2J", '
    shown = pipeline.preview(value, len(value))
    assert "u1" in shown
    assert "Ada" not in shown
    assert "Countess" not in shown
    assert "example.com" not in shown
    assert "\\x00\\x1b[2J" in shown
    assert "bytes)" in shown


@pytest.mark.parametrize(
    "value",
    [b"first_name=Ada&last_name=Lovelace", b"{'full_name': 'Ada Lovelace'}", b'{"FIRST_NAME":"Ada',
     b"To: ada@example.com", '{"last_name":"Ada"}'.encode("utf-16"), b'{"email":"a\xffda@example.com"}',
     b'{"payload": "{\\"first_name\\": \\"Ada\\"}"}', b"t1,u1,Ada,Lovelace,ada@example.com",
     b'{"firstName":"Ada","lastName":"Lovelace"}', b'{"customer":{"name":"Ada Lovelace"}}', b'{"device":["Ada"]}',
     b'{"device":{"user_id":"Ada"}}', b'{"device":"x, first_name: Ada', b'{"device":"x,Ada,"location":"Paris"}',
     b'{"device":Ada}', b'{"device":"user_id":"Ada"}', b'{"user_id":"ada@example.com"}', b"{Ada Lovelace: 1}",
     b'{"Ada Lovelace": 1}', b'["Ada"]', b'}{"device":"x"},{{"user_id":"Ada"}', b'{"user_id":"x"} {"name":"Ada"}'],
)  # fmt: skip
def test_names_are_not_shown_wherever_they_stand(value: bytes) -> None:
    shown = pipeline.preview(value, len(value))
    assert "Ada" not in shown
    assert "Lovelace" not in shown
    assert "example" not in shown


def test_what_is_shown_of_a_message_tells_why_it_could_not_be_read() -> None:
    """The names of its fields, and the values of ours; numbers of others may be those of cards or telephones."""
    value = b'{"user_id": "u1", "amount": -3.5e2, "phone":4915112345678, "device" : null, "isFraud":true, "location":"Paris"}'
    assert pipeline.preview(value, len(value)) == (
        '{"user_id": "u1", "amount": -3.5e2, "phone":…, "device" : null, "isFraud":…, "location":"Paris"} (111 bytes)'
    )
    assert pipeline.preview(b"hello", 5) == "Not shown, as it is not a JSON object (5 bytes)"


def test_a_long_message_a_tombstone_and_a_closed_one_say_so() -> None:
    assert pipeline.preview('{"é'.encode()[:3], 1_000_000) == "{… … (1,000,000 bytes)"
    assert pipeline.preview(None, None) == "No bytes: a tombstone."
    assert "may not see" in pipeline.preview(None, None, may_read=False)


def test_messages_that_wait_for_a_stream_that_ended_are_told_apart() -> None:
    """The table below shows them, so the number above must not say that nothing waits."""

    def stands(stream: str, lag: int, age: float) -> Progress:
        return Progress(stream, "t", 0, 100, 100 + lag, 9.0, datetime(2026, 3, 1, tzinfo=UTC), age)

    running, dead = stands("consume", 5, 3.0), stands("score", 106, 7200.0)
    assert pipeline.waiting_for([running]) == "keeping up"
    assert pipeline.waiting_for([stands("consume", 20_000, 3.0)]) == "behind"
    assert pipeline.waiting_for([running, dead]) == "106 of them for score, not running"
    assert pipeline.waiting_for([running, stands("score", 0, 7200.0)]) == "keeping up"
    assert pipeline.waiting_for([stands("score", 0, 7200.0)]) == "nothing reads now"
    stuck = replace(running, still_seconds=300.0, patience_seconds=60.0)
    assert pipeline.waiting_for([stuck]) == "consume stuck"


def test_wrong_passwords_are_looked_at_ever_more_slowly() -> None:
    """Three are free; then each doubles the wait, and a right one inside the wait is not looked at either."""
    now = [0.0]
    throttle = gate.Throttle(clock=lambda: now[0])
    assert [throttle.attempt("a", "x", "secret") for _ in range(3)] == [0, 0, 0]
    assert throttle.attempt("a", "x", "secret") == 2
    assert throttle.attempt("a", "secret", "secret") == 2
    now[0] = 2.0
    assert throttle.attempt("a", "x", "secret") == 4
    assert throttle.attempt("b", "secret", "secret") is None, "another address does not wait"
    now[0] = 7.0
    assert throttle.attempt("a", "secret", "secret") is None
    assert throttle.attempt("a", "x", "secret") == 0, "a right one wipes the slate"
    assert gate.wait(100) == gate.LONGEST_WAIT


def test_guesses_from_ever_new_addresses_are_slow_too_and_the_right_password_waits_for_seconds_alone() -> (
    None
):
    """As with the addresses of one IPv6 network, or with a forged header behind a careless proxy."""
    now = [1000.0]
    throttle = gate.Throttle(clock=lambda: now[0])
    looked_at = 0
    for guess in range(10 * 3600):
        now[0] += 0.1
        looked_at += throttle.attempt(f"a{guess}", "x", "secret") == 0
    assert looked_at <= gate.BURST + 3600 / gate.EVERY
    waits = throttle.attempt("somebody", "secret", "secret")
    assert waits is not None
    assert 0 < waits <= gate.EVERY
    now[0] += waits
    assert throttle.attempt("somebody", "secret", "secret") is None


def test_the_server_believes_no_address_that_a_request_claims_but_from_a_proxy_that_was_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The server, uvicorn, believes whatever comes from 127.0.0.1, and each claimed address had three free guesses."""
    monkeypatch.delenv(launch.PROXIES, raising=False)
    assert address_seen("127.0.0.1", claimed="198.51.100.7") == "127.0.0.1"
    monkeypatch.setenv(launch.PROXIES, "192.0.2.1")
    assert address_seen("192.0.2.1", claimed="203.0.113.9, 198.51.100.7") == "198.51.100.7"
    assert address_seen("127.0.0.1", claimed="198.51.100.7") == "127.0.0.1"


def address_seen(peer: str, claimed: str) -> str:
    """Where a request comes from for the pages, by the server's own code in the environment that we give it."""
    # Earlier versions of Streamlit serve by Tornado, which believes nobody.
    uvicorn = pytest.importorskip("uvicorn")
    seen = []

    async def page(scope: Any, _receive: Any, _send: Any) -> None:
        seen.append(scope["client"][0])

    with pytest.MonkeyPatch.context() as environment:
        environment.setenv(launch.PROXIES, launch.variables(DashboardSettings())[launch.PROXIES])
        config = uvicorn.Config(page, interface="asgi3", log_config=None)
        config.load()
    scope = {"type": "http", "client": (peer, 1), "headers": [(b"x-forwarded-for", claimed.encode())]}
    # In a thread of its own: a browser that another test of this process opened has a running loop in this one.
    with ThreadPoolExecutor(1) as pool:
        pool.submit(lambda: asyncio.run(config.loaded_app(scope, None, None))).result()
    return str(seen[0])


def test_the_memory_of_failures_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "REMEMBERED", 3)
    throttle = gate.Throttle()
    for address in "abcde":
        throttle.attempt(address, "x", "secret")
    assert list(throttle._failures) == ["c", "d", "e"]


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "dashboard.example"])  # noqa: S104
def test_other_machines_get_in_only_with_a_password(host: str) -> None:
    with pytest.raises(SettingsError, match="can be reached from other machines") as caught:
        launch.check_closed(DashboardSettings(host=host))
    assert "FRAUDSTREAM_DASHBOARD__PASSWORD_FILE" in caught.value.hint
    launch.check_closed(DashboardSettings(host=host, password=SecretStr("x")))


def test_a_proxys_visitors_get_in_only_with_a_password() -> None:
    with pytest.raises(SettingsError, match=r"fraud\.example can be reached from other machines") as caught:
        launch.check_closed(DashboardSettings(public_host="fraud.example"))
    assert "FRAUDSTREAM_DASHBOARD__PASSWORD_FILE" in caught.value.hint
    launch.check_closed(DashboardSettings(public_host="fraud.example", password=SecretStr("x")))


@pytest.mark.parametrize(
    "name", ["https://fraud.example", "fraud.example/", "fraud.example:443", "*", "a b", "", "fräud.example"]
)
def test_the_public_name_is_a_name_alone(name: str) -> None:
    with pytest.raises(ValueError, match=r"a name such as fraud\.example\.com"):
        DashboardSettings(public_host=name)


@pytest.mark.parametrize(("host", "address"), [("0.0.0.0", "0.0.0.0"), ("::", "[::]")])  # noqa: S104
def test_a_dashboard_that_listens_everywhere_asks_nobody_for_its_address(host: str, address: str) -> None:
    """Streamlit asks a server on the internet for it, to print it, unless this is set."""
    assert launch.variables(DashboardSettings(host=host))["STREAMLIT_BROWSER_SERVER_ADDRESS"] == address


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.3.2.1"])
def test_this_machine_alone_needs_none(host: str) -> None:
    launch.check_closed(DashboardSettings(host=host))


def test_an_empty_password_is_refused() -> None:
    with pytest.raises(ValueError, match="would let everybody in"):
        DashboardSettings(password=SecretStr(""))


def test_the_environment_of_the_server_tells_nobody_and_holds_no_password() -> None:
    found = launch.variables(DashboardSettings(host="127.0.0.1", port=8600, password=SecretStr("hush-hush")))
    assert found["STREAMLIT_BROWSER_GATHER_USAGE_STATS"] == "false"
    assert (found["STREAMLIT_SERVER_ADDRESS"], found["STREAMLIT_SERVER_PORT"]) == ("127.0.0.1", "8600")
    assert "hush-hush" not in str(found)


def test_a_taken_port_is_a_sentence_with_another_one() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with (
            pytest.raises(ServiceError, match=f"Port {port} of 127.0.0.1 is in use") as caught,
            launch.started(DashboardSettings(port=port)),
        ):
            pass
    assert "--port" in caught.value.hint


def test_an_address_of_another_machine_is_a_sentence() -> None:
    settings = DashboardSettings(host="192.0.2.1", password=SecretStr("x"))
    with pytest.raises(ServiceError, match=r"cannot listen on 192\.0\.2\.1"), launch.started(settings):
        pass


def test_starting_it_imports_nothing_heavy() -> None:
    probe = "import sys, fraudstream.dashboard.launch; sys.exit(str([n for n in ('streamlit', 'pandas', 'altair') if n in sys.modules]))"
    result = subprocess.run(
        [sys.executable, "-c", probe], capture_output=True, text=True, timeout=60, check=False
    )
    assert result.stderr.strip() == "[]"


def test_its_files_are_in_the_package() -> None:
    for name in ("theme.toml", "logo.svg", "mark.svg", "app.py"):
        assert (Path(launch.__file__).parent / name).is_file()


@pytest.mark.parametrize("text", ["=HYPERLINK(1)", "+1", "-1", "@sum(1)", " =1", "\t=1"])
def test_a_strangers_text_is_no_formula_where_a_table_is_opened_as_a_spreadsheet(text: str) -> None:
    assert figures.cell(text) == "\u2060" + text


def test_other_texts_are_shown_as_they_are() -> None:
    assert [figures.cell(text) for text in ("ios", "a=b", "", None)] == ["ios", "a=b", "", ""]
