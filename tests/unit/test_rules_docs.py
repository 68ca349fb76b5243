"""docs/rules.md says what the code does."""

import re
from pathlib import Path

from fraudstream.rules import rule
from fraudstream.rules.columns import columns
from fraudstream.schema import FIELDS
from fraudstream.spark import conditions

PAGE = (Path(__file__).parents[2] / "docs" / "rules.md").read_text(encoding="utf-8")


def named(beginning: str, end: str) -> set[str]:
    """What stands in code quotes between two phrases of the page."""
    return set(re.findall(r"`(\w+)`", PAGE.split(beginning, 1)[1].split(end, 1)[0]))


def test_the_page_names_every_function_that_a_condition_may_call() -> None:
    assert named("these functions:", "Everything else") == set(conditions.FUNCTIONS)


def test_the_page_names_every_field_that_a_condition_may_look_at() -> None:
    assert named("**Fields**:", "**Every feature**") == set(FIELDS) & set(columns())


def test_the_page_states_the_limits_that_hold() -> None:
    for limit in (
        f"up to {rule.LONGEST['condition']:,} characters",
        f"1 to {rule.LONGEST['name']} letters",
        f"at most {rule.LARGEST_FILE // 1024} KiB and {rule.MOST_RULES} rules",
        f"more than {conditions.MOST_NODES} parts or {conditions.DEEPEST} brackets",
    ):
        assert limit in PAGE
    assert conditions.MOST_WILDCARDS == 3
    assert "at most three `%`" in PAGE
