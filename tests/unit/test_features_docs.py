"""docs/features.md says what the code does."""

import re
from pathlib import Path

from fraudstream.features import catalogue, definitions

PAGE = (Path(__file__).parents[2] / "docs" / "features.md").read_text(encoding="utf-8")


def test_the_page_lists_every_feature_as_it_is_defined() -> None:
    """When this fails, put the output of `definitions.as_markdown()` into the page."""
    assert definitions.as_markdown() in PAGE


def test_the_page_names_every_entity_with_its_counters() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| .* \| (.*) \|$", PAGE, re.MULTILINE))
    for entity in catalogue.ENTITIES.values():
        every = set(entity.counters) == set(catalogue.COUNTERS)
        assert rows[entity.name] == (
            "every counter" if every else ", ".join(f"`{c}`" for c in entity.counters)
        )
