"""A rules file says what it means or what is wrong with it, at which line and column."""

import math
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from fraudstream.errors import ExitCode, InputError
from fraudstream.rules import Rule, RuleMistakes, features_read, load_rules, render
from fraudstream.rules.columns import columns
from fraudstream.rules.document import Source
from fraudstream.schema import PERSONAL, TRUTH

GOOD = """\
# what the night shift asked for
- name: velocity
  condition: user_count_10m > 5
  reason: "{user_count_10m:.0f} payments in about ten minutes"
  severity: high
- name: far-away
  condition: |
    location <> transaction_location
      and amount > 500
  reason: >
    paid {amount} at {transaction_location},
    away from home
  severity: low
"""


def written(text: str | bytes, directory: Path) -> Path:
    path = directory / "rules.yaml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def wrong(text: str | bytes, directory: Path) -> RuleMistakes:
    with pytest.raises(RuleMistakes) as caught:
        load_rules(written(text, directory))
    assert caught.value.exit_code is ExitCode.FAILED
    return caught.value


def test_a_file_becomes_rules_in_its_order(tmp_path: Path) -> None:
    first, second = load_rules(written(GOOD, tmp_path))
    assert first == Rule(
        "velocity", "user_count_10m > 5", "{user_count_10m:.0f} payments in about ten minutes", "high"
    )
    assert (second.name, second.severity) == ("far-away", "low")
    assert second.condition == "location <> transaction_location\n  and amount > 500\n"
    assert second.reason == "paid {amount} at {transaction_location}, away from home"


def test_a_place_inside_a_condition_is_a_line_and_column_of_the_file(tmp_path: Path) -> None:
    """Also below a block header, and after the indentation that YAML takes away."""
    first, second = load_rules(written(GOOD, tmp_path))
    assert first.place is not None
    assert second.place is not None
    assert first.place.at(first.condition.index("> 5")) == (3, 29)
    assert second.place.at(second.condition.index("location")) == (8, 5)
    assert second.place.at(second.condition.index("amount")) == (9, 11)
    assert second.place.at(10_000) == second.place.at(len(second.condition))


@pytest.mark.parametrize(
    "condition",
    [
        "|\n    amount > 1 -- much\n    and amount < 9",
        ">\n    amount > 1\n    and device <> '-- no remark'\n    and amount < 9",
        ">\n    amount > 1 /* -- much */\n    and amount < 9 -- much",
        "amount > 1 -- much",
        "|\n    amount > 1 -- the customer's\n    and device <> 'it\\'s --'\n    and amount < 9",
    ],
)
def test_a_remark_that_ends_with_its_line_is_taken(condition: str, tmp_path: Path) -> None:
    assert load_rules(written(RULE.replace("amount > 1", condition), tmp_path))


@pytest.mark.parametrize("text", ["", "# nothing yet\n", "[]", "rules: []\n", "---\n"])
def test_a_file_without_rules_is_no_mistake(text: str, tmp_path: Path) -> None:
    assert load_rules(written(text, tmp_path)) == ()


def test_rules_may_stand_under_one_key(tmp_path: Path) -> None:
    indented = "rules:\n" + "".join(f"  {line}\n" for line in GOOD.splitlines())
    assert load_rules(written(indented, tmp_path)) == load_rules(written(GOOD, tmp_path))


RULE = "- name: a\n  condition: amount > 1\n  reason: much\n  severity: low\n"


@pytest.mark.parametrize(
    ("text", "line", "column", "message"),
    [
        (RULE.replace("severity: low", "severity: hgh"), 4, 13, "not one of low, medium, high"),
        (RULE.replace("severity", "severty"), 4, 3, "did you mean severity?"),
        (RULE + "  extra: 3\n", 5, 3, "'extra' is not a key of a rule; the keys are name, condition"),
        (RULE.replace("  reason: much\n", ""), 1, 3, "reason is missing"),
        (RULE.replace("reason: much", "reason:"), 3, 10, "reason is empty"),
        (RULE.replace("reason: much", "reason: [a, b]"), 3, 11, "reason is not a string"),
        (RULE.replace("reason: much", "reason: 'it''s {amont}'"), 3, 19, "did you mean amount?"),
        (RULE.replace("reason: much", "reason: of {email}"), 3, 15, "email is personal"),
        (RULE.replace("reason: much", "reason: a {is_fraud}"), 3, 14, "rules cannot use it"),
        (RULE.replace("reason: much", "reason: a {amount.__class__}"), 3, 13, "is neither {name}"),
        (RULE.replace("reason: much", "reason: a {amount!r}"), 3, 13, "is neither {name}"),
        (RULE.replace("reason: much", "reason: a {amount:99999999.2f}"), 3, 13, "is neither {name}"),
        (RULE.replace("reason: much", "reason: a {device:.2f}"), 3, 14, "device is not a number"),
        (RULE.replace("reason: much", "reason: 50 } of"), 3, 14, "is neither {name}"),
        (RULE.replace("reason: much", 'reason: "a\\e[31m"'), 3, 13, "invisible character"),
        (RULE.replace("name: a", "name: ../a"), 1, 9, "begin with a letter"),
        (RULE.replace("name: a", "name: " + "a" * 65), 1, 9, "65 characters; at most 64"),
        (RULE.replace("amount > 1", "x" * 2001), 2, 14, "2,001 characters; at most 2,000"),
        (
            RULE.replace("amount > 1", ">\n    amount > 1 -- much\n    and amount < 9"),
            3,
            16,
            "write `condition: |`",
        ),
        (RULE.replace("amount > 1", "amount > 1 -- '\n    and amount < 9"), 2, 25, "belongs to this remark"),
        (RULE.replace("amount > 1", '"amount > 1 --\n    \'"'), 2, 26, "belongs to this remark"),
        (RULE.replace("amount > 1", "|\n    amount > 1 -- \\\n    and amount < 9"), 3, 16, "remark"),
        (
            RULE.replace("reason: much", 'reason: "\\U00110000"'),
            3,
            14,
            "this is not YAML: chr() arg not in range",
        ),
        ("%YAML 1." + "5" * 5_000 + "\n---\n" + RULE, 1, 9, "this is not YAML: Exceeds the limit"),
        (RULE + RULE, 5, 9, "another rule is already called a"),
        (RULE + "  severity: low\n", 5, 3, "severity appears twice"),
        (RULE * 201, 801, 3, "201 rules; at most 200"),
        ("- velocity\n", 1, 3, "expected a rule with name"),
        ("velocity: amount > 1\n", 1, 1, "expected a list of rules"),
        ("- name: [\n", 2, 1, "this is not YAML: expected the node content"),
        ("- name: a\n condition: b\n", 2, 2, "this is not YAML: expected <block end>"),
        ("- name: a: b\n", 1, 10, "mapping values are not allowed"),
        ("\t- name: a\n", 1, 1, "found character '\\t'"),
        ("- name: a\x07\n", 1, 10, "a character that YAML does not allow"),
        (RULE + "---\n" + RULE, 5, 1, "but found another document"),
        ("- &a name\n- *a\n", 1, 3, "anchors and aliases"),
        ("- *a\n", 1, 3, "anchors and aliases"),
        ("- !!python/object/apply:os.system [id]\n", 1, 3, "tags (tag:yaml.org,2002:python/object/apply"),
        ("[" * 5_000, 1, 5, "nested too deeply"),
        ("- {a: {b: {c: {d: 1}}}}\n", 1, 12, "nested too deeply"),
    ],
)
def test_a_mistake_is_shown_where_it_stands(
    text: str, line: int, column: int, message: str, tmp_path: Path
) -> None:
    mistake = wrong(text, tmp_path).mistakes[0]
    assert message in mistake.message
    assert (mistake.line, mistake.column) == (line, column)


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    """In the order of the file, in one sentence each, for people and for scripts."""
    error = wrong(RULE.replace("low", "no") + RULE.replace("low", "{}"), tmp_path)
    assert [m.line for m in error.mistakes] == [4, 5, 8]
    assert "3 mistakes" in error.message
    assert "line 4, column 13: rule a: severity 'no'" in error.message
    document = error.document()["error"]
    assert document["code"] == "rules"
    assert document["mistakes"][0] == {
        "rule": "a", "line": 4, "column": 13, "message": "severity 'no' is not one of low, medium, high",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"- name: \xff\n", "line 1: not UTF-8"),
        (b"#" * 200_000, "larger than 131,072 bytes"),
        (None, "cannot be read"),
    ],
)
def test_a_file_that_cannot_be_read_is_told_in_a_sentence(
    content: bytes | None, message: str, tmp_path: Path
) -> None:
    path = tmp_path if content is None else written(content, tmp_path)
    with pytest.raises(InputError, match=message):
        load_rules(path)


@given(
    condition=st.text("abc><= '\"\\\n\t#:{}äé😀", min_size=1, max_size=60),
    style=st.sampled_from(["'", '"', "|", ">", None]),
    width=st.integers(10, 40),
)
def test_every_visible_character_is_found_in_the_file(condition: str, style: str | None, width: int) -> None:
    """Whatever the style, the folding and the escapes."""
    text = yaml.dump([{"condition": condition}], default_style=style, width=width, allow_unicode=True)
    source = Source(text)
    root = source.root()
    assert root is not None
    node = root.value[0].value[0][1]
    assert node.value == condition
    places = source.characters(node)
    assert list(places) == sorted(places)
    for index, character in enumerate(condition):
        if not character.isspace():
            assert text[places[index]] in (character, "\\")


@given(st.binary(max_size=300))
def test_no_file_breaks_the_reader(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzzed.yaml"
    path.write_bytes(content)
    with suppress(InputError):
        load_rules(path)


def test_no_rule_sees_names_or_the_truth() -> None:
    assert not set(columns()) & (PERSONAL | TRUTH)
    assert {"amount", "timestamp", "user_count_10m", "merchant_risk_30d"} <= set(columns())


def test_the_features_of_rules_are_found_in_conditions_and_reasons() -> None:
    rule = Rule("a", "User_Count_10m > 5 and amount > 1 -- user_idle", "{amount_to_user_mean}", "low")
    assert features_read([rule]) == ("amount", "user_count_10m", "user_idle", "amount_to_user_mean")
    assert features_read([]) == ()


def reason(text: str, **values: object) -> str:
    return render(Rule("a", "amount > 1", text, "low"), values)


@pytest.mark.parametrize(
    ("text", "value", "shown"),
    [
        ("{amount:.0f} payments", 6.2, "6 payments"),
        ("{amount}", 6.0, "6"),
        ("{amount}", 3204.5, "3,204.50"),
        ("{amount}", 0.031234, "0.0312"),
        ("{amount:.1%}", 0.031234, "3.1%"),
        ("{amount:,.2f}", 1234567.891, "1,234,567.89"),
        ("{amount:.2f}", 1.7e308, "1.7e+308"),
        ("{amount}", 10**400, "unknown"),
        ("{amount}", math.nan, "unknown"),
        ("{amount:.2f}", -math.inf, "unknown"),
        ("{amount}", None, "unknown"),
        ("{amount:.2f}", "{amount} \x1b[31m\u202e\n", "{amount} �[31m��"),
        ("{amount}", "x" * 5_000, "x" * 80 + "…"),
        ("{amount}", datetime(2025, 1, 2, 3, 4, tzinfo=UTC), "2025-01-02 03:04 UTC"),
        ("{{{amount}}}", 1.0, "{1}"),
        ("50 } of {a.b} {0} {amount!r}", 1.0, "50 } of {a.b} {0} {amount!r}"),
    ],
)
def test_a_reason_is_filled_in_plainly(text: str, value: object, shown: str) -> None:
    """Whatever the value is: no attribute is reached, no control character shown, and nothing raises."""
    assert reason(text, amount=value) == shown


def test_a_value_that_nobody_has_reads_unknown() -> None:
    assert reason("{amount} at {merchant_id}") == "unknown at unknown"


@given(st.text(max_size=80), st.text() | st.floats() | st.integers() | st.none() | st.booleans())
def test_rendering_never_raises(text: str, value: object) -> None:
    assert isinstance(reason(text, amount=value, device=value), str)
