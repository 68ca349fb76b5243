"""docs/features.md says what the code does."""

import re
from pathlib import Path

from fraudstream.features import catalogue
from fraudstream.features.definitions import FEATURES

PAGE = (Path(__file__).parents[2] / "docs" / "features.md").read_text(encoding="utf-8")


def test_the_page_lists_every_feature_as_it_is_defined() -> None:
    """When this fails, put the table of the failure's message into the page."""
    lines = [
        "| feature | what it says | fields beyond time and amount | learns from labels |",
        "|---|---|---|---|",
    ]
    for f in FEATURES.values():
        labels = "yes" if f.uses_labels else ""
        lines.append(f"| `{f.name}` | {f.meaning} | {', '.join(f.needs)} | {labels} |")
    table = "\n".join(lines) + "\n"
    assert table in PAGE, table


def test_the_page_names_every_entity_with_its_counters() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| .* \| (.*) \|$", PAGE, re.MULTILINE))
    for entity in catalogue.ENTITIES.values():
        every = set(entity.counters) == set(catalogue.COUNTERS)
        assert rows[entity.name] == (
            "every counter" if every else ", ".join(f"`{c}`" for c in entity.counters)
        )
