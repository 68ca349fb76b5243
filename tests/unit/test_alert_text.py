"""An alert on the terminal: a colleague's note, whatever a stranger put into the transaction."""

import json
import shlex
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from fraudstream.cli import alert_text
from fraudstream.cli.alert_document import alert_document
from fraudstream.cli.main import run
from fraudstream.demo.view import headline
from fraudstream.reasons.explainer import Explainer
from fraudstream.store.alerts import Alert, Score
from fraudstream.store.explanation import Explanation
from fraudstream.store.glance import Glance
from fraudstream.store.history import Past
from fraudstream.store.labels import Label

AT = datetime(2026, 3, 1, 13, 5, tzinfo=UTC)
ALERT = Alert(
    transaction_id="t-1",
    user_id="u-77",
    timestamp=AT,
    amount=3204.0,
    device="iPhone 15",
    location="Paris",
    transaction_location="Lyon",
    merchant_id="m-5",
    currency="EUR",
    risk=0.934,
    rules=["travel"],
    model_version="m1",
    scored_at=AT + timedelta(seconds=1),
    sent_at=AT,
    stored_at=AT,
    reasons=[
        {
            "feature": "amount_to_user_mean",
            "contribution": 0.3,
            "value": 41.0,
            "sentence": "3,204.00 is 41 times …",
        },
        {"rule": "travel", "severity": "high", "sentence": "10,000 km in 20 minutes"},
    ],
    features={"amount": 3204.0},
    verdict=None,
    reviewed_at=None,
    reviewed_by=None,
    note=None,
    truth=None,
)
PAST = Past("t-1", "u-77", AT, 3204.0, "EUR", "iPhone 15", "Paris", "Lyon", "m-5", 0.934, True, None)
EARLIER = replace(
    PAST,
    transaction_id="t-0",
    timestamp=AT - timedelta(hours=1),
    amount=20.0,
    risk=None,
    flagged=False,
    verdict=False,
)
FLAGGED = Explanation(ALERT, ALERT, None, PAST, 0.71, [], [EARLIER, PAST])


def test_the_document_of_an_alert_keeps_the_truth_that_came_with_the_message_to_itself() -> None:
    """A simulator or a replayed file knows it; whoever reviews its alerts must not."""
    document = alert_document(replace(ALERT, truth=True))
    assert " ".join(document) == (
        "transaction_id user_id timestamp amount currency device location transaction_location merchant_id risk"
        " reasons rules model_version scored_at stored_at verdict reviewed_at reviewed_by note"
    )


def test_a_rule_is_named_in_its_sentence_and_a_reason_without_one_is_passed_over() -> None:
    """In the demo, too, whose display failed for a reason without a sentence, and did not name the rule."""
    alert = replace(ALERT, reasons=[{"feature": "user_idle", "contribution": 0.1}, *ALERT.reasons])
    assert alert.sentences == ["3,204.00 is 41 times …", "rule travel: 10,000 km in 20 minutes"]


def test_a_rule_that_left_its_file_is_named_once() -> None:
    """All that is left of it is that it matched: "rule pace: rule pace matched" said it twice."""
    decided = {"amount": 1.0, "risk": 0.1, "rules": ["pace"], "features": {}}
    ((reason,),) = Explainer("m1", threshold=0.5).reasons([decided], {})
    assert replace(ALERT, reasons=[reason]).sentences == ["rule pace matched"]


def test_an_amount_of_300_digits_is_shown_in_a_few() -> None:
    alert = replace(ALERT, amount=1.234e300)
    assert headline(alert) == "1.23e+300 EUR by u-77, risk 0.93"
    assert " paid 1.23e+300 EUR at m-5" in alert_text.opening(replace(FLAGGED, subject=alert, alert=alert))


def test_the_demos_line_about_an_alert_stays_one_line_whatever_its_strings_hold() -> None:
    """An id could move the cursor and rewrite what stands above it."""
    said = headline(replace(ALERT, user_id="u\x1b[2J\n  - all clear", currency="E\rUR"))
    assert said == r"3,204.00 E\rUR by u\x1b[2J\n  - all clear, risk 0.93"


def label(is_fraud: bool, by: str | None = "ann", note: str | None = None) -> Label:
    return Label("t-1", is_fraud, AT + timedelta(days=1), by, note)


Printed = Callable[[], str]


@pytest.fixture
def printed(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Printed:
    """What was printed, on a terminal of 100 columns."""
    monkeypatch.setenv("COLUMNS", "100")
    return lambda: capsys.readouterr().out


def test_a_flagged_transaction_reads_like_a_note(printed: Printed) -> None:
    alert_text.show(FLAGGED)
    lines = [line.rstrip() for line in printed().splitlines()]
    assert lines == [
        "Transaction t-1   risk 0.93   flagged",
        "On Sunday 1 March 2026, 13:05:00 UTC, customer u-77 paid 3,204.00 EUR at m-5 in Lyon, from iPhone",
        "15; home is Paris.",
        "",
        "Why it was flagged",
        "  1. 3,204.00 is 41 times …",
        "  2. rule travel: 10,000 km in 20 minutes",
        "",
        "On 1 Mar 13:05:01 UTC, model m1 gave it a risk of 0.934, and flags transactions with a risk of 0.710",
        "or more.",
        "",
        "The customer's payments around it",
        "  when (UTC)            amount where device    merchant risk",
        "   1 Mar 12:05:00    20.00 EUR Lyon  iPhone 15 m-5      -    legitimate",
        ">  1 Mar 13:05:00 3,204.00 EUR Lyon  iPhone 15 m-5      0.93 flagged",
        "",
        "Nobody has reviewed it yet.",
        "Next, one of:",
        "  fraudstream label t-1 --fraud",
        "  fraudstream label t-1 --legit",
    ]


def test_the_command_for_an_id_that_begins_with_a_dash_is_taken_as_it_is_shown(
    empty_environment: None,  # noqa: ARG001 - nothing is labelled
    capsys: pytest.CaptureFixture[str],
) -> None:
    subject = replace(PAST, transaction_id="-7 a")
    fraud, legit = alert_text.next_steps(replace(FLAGGED, subject=subject))
    assert (fraud, legit) == ("fraudstream label --fraud -- '-7 a'", "fraudstream label --legit -- '-7 a'")
    run(shlex.split(fraud)[1:])
    assert "No PostgreSQL is set" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("transaction_id", "explain", "label"),
    [
        ("d8bf-000000252158", "explain d8bf-000000252158", "label d8bf-000000252158 --fraud (or --legit)"),
        ("$(id); a", "explain '$(id); a'", "label '$(id); a' --fraud (or --legit)"),
        ("-7", "explain -- -7", "label --fraud -- -7 (or --legit)"),
        ("\x1b[2J\nrm", r"explain '\x1b[2J\nrm'", r"label '\x1b[2J\nrm' --fraud (or --legit)"),
    ],
)
@pytest.mark.usefixtures("empty_environment")
def test_the_demos_commands_to_copy_run_nothing_else_whatever_the_id_holds(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    transaction_id: str,
    explain: str,
    label: str,
) -> None:
    """Anybody whose payments reach the topic chooses the id, and the user pastes it into a shell."""
    alert = replace(ALERT, transaction_id=transaction_id)
    ending = SimpleNamespace(
        glance=Glance(1, 1, 5.0, 5.0, None, 0, 0, 0, 0),
        first_alert=alert,
        seconds_to_first_alert=1.0,
        interrupted=False,
    )
    monkeypatch.setattr("fraudstream.demo.story.run", lambda *_: ending)
    assert run(["demo"]) == 0
    told = capsys.readouterr().out.splitlines()
    assert f"Full explanation: fraudstream alerts {explain}" in told
    assert f"Label it: fraudstream {label}" in told


def test_what_people_said_stands_in_the_note_with_the_way_back(printed: Printed) -> None:
    alert_text.show(replace(FLAGGED, labels=[label(False, "bob"), label(True, note="card stolen")]))
    text = " ".join(printed().split())
    assert (
        "ann labelled it fraud on Monday 2 March 2026, 13:05:00 UTC: card stolen. 1 earlier label said"
        in text
    )
    assert "1 earlier label said otherwise; the latest counts." in text
    assert "Next, if that was wrong: fraudstream label t-1 --legit" in text


def test_only_labels_that_differ_are_said_to() -> None:
    """Fraud, fraud, legitimate, legitimate: two people said otherwise, the third agreed."""
    labels = [label(True), label(True), label(False), label(False, note="Called the customer!")]
    assert alert_text.verdict(replace(FLAGGED, labels=labels)).endswith(
        "UTC: Called the customer! 2 earlier labels said otherwise; the latest counts."
    )
    assert alert_text.verdict(replace(FLAGGED, labels=labels[2:])).endswith("UTC: Called the customer!")


def test_a_rule_that_flagged_alone_is_named() -> None:
    found = replace(FLAGGED, alert=replace(ALERT, risk=0.2))
    assert alert_text.decided(found) == (
        "On 1 Mar 13:05:01 UTC, model m1 gave it a risk of 0.200, and flags transactions with a risk of 0.710 or more: the model alone would have let it pass."
        " The rule travel flagged it."
    )


def test_a_transaction_that_was_not_flagged_or_not_scored_gets_a_clear_sentence() -> None:
    score = Score("t-1", "u-77", AT, 20.0, 0.2, False, [], "m1", AT)
    assert alert_text.decided(Explanation(score, None, score, PAST, None, [], [])) == (
        "It was not flagged. On 1 Mar 13:05:00 UTC, model m1 gave it a risk of 0.200. No rule matched either."
        " Reasons are computed only for flagged transactions."
    )
    near = Explanation(score, None, replace(score, risk=0.59996), PAST, 0.6, [], [])
    assert alert_text.decided(near).startswith(
        "It was not flagged. On 1 Mar 13:05:00 UTC, model m1 gave it a risk of 0.59996, and flags transactions with a risk of 0.60000 or more."
    ), "a risk that reads as the threshold would have been flagged"
    assert alert_text.decided(Explanation(PAST, None, None, PAST, None, [], [])).startswith(
        "It is stored and was not scored: it came before `fraudstream score` began"
    )


def test_an_alert_whose_transaction_is_not_stored_yet_can_be_explained(printed: Printed) -> None:
    alert_text.show(replace(FLAGGED, transaction=None, history=[]))
    text = printed()
    assert "flagged, not stored yet" in text
    assert "The customer's payments around it" not in text


def test_what_a_stranger_sent_is_shown_and_never_obeyed(printed: Printed) -> None:
    """Terminal codes, markup, text direction and a shell's own characters, in every text of a transaction."""
    evil = "[bold]x[/bold]\x1b[2J\x07\u202e[/]'; rm -rf /"
    alert = replace(
        ALERT, transaction_id=evil, user_id=evil, device=evil, location=evil, transaction_location=evil,
        merchant_id=evil, currency=evil, reasons=[{"rule": evil, "severity": "low", "sentence": evil}],
    )  # fmt: skip
    past = replace(PAST, transaction_id=evil, device=evil, transaction_location=evil, merchant_id=evil)
    alert_text.show(Explanation(alert, alert, None, past, 0.7, [label(True, evil, evil)], [past]))
    alert_text.show_list([alert])
    alert_text.show_line(alert, as_json=False)
    text = printed()
    assert "[bold]x[/bold]" in text
    assert r"\x1b[2J" in text
    assert not any(c in text for c in "\x1b\x07\u202e")
    (command,) = [line for line in text.splitlines() if line.startswith("  fraudstream label")]
    assert shlex.split(command)[:2] == ["fraudstream", "label"]
    assert shlex.split(command)[3:] == ["--legit"]


def test_an_id_is_never_broken_in_a_list(printed: Printed, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is there to be copied."""
    monkeypatch.setenv("COLUMNS", "40")
    alert_text.show_list([replace(ALERT, transaction_id="7a4f5259c43183d9-000000000101", verdict=True)])
    first = printed().splitlines()[0]
    assert (
        first == "decided 1 Mar 13:05:01 UTC  0.93  3,204.00 EUR  u-77  7a4f5259c43183d9-000000000101  fraud"
    )


def test_a_merchants_id_is_not_broken_beside_words(printed: Printed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    past = replace(PAST, merchant_id="m42-9000-01251", transaction_location="Walton-on-the-Naze, GB")
    alert_text.show(replace(FLAGGED, history=[replace(past, device="Chrome on Windows")]))
    assert "m42-9000-01251 0.93 flagged" in printed()


def test_a_line_of_a_stream_is_one_json_object(printed: Printed) -> None:
    alert_text.show_line(ALERT, as_json=True)
    (line,) = printed().splitlines()
    document = json.loads(line)
    assert {"transaction_id", "risk", "reasons", "rules", "model_version", "scored_at"} <= set(document)
    assert document["scored_at"] == "2026-03-01T13:05:01+00:00"
