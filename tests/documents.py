"""What scripts may rely on: the keys that the specification promises of the documents that `--json` prints."""

import re
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parents[1] / "docs" / "design.md"


def lacking(command: str, document: Any) -> list[str]:
    """Promised keys of a command's document, `an error` included, that this one does not have."""
    table = (
        PAGE.read_text(encoding="utf-8").partition("Documents that `--json` prints")[2].partition("\n## ")[0]
    )
    rows = [line.strip("|").split(" | ") for line in table.splitlines() if line.startswith("| ")]
    (keys,) = (keys for names, keys in rows if command in names)
    return [key for key in re.findall(r"`(.+?)`", keys) if not _has(document, key.split("."))]


def _has(found: Any, path: list[str]) -> bool:
    """Whether there is such a path; `NAME` stands for any key, `[]` behind a key for the elements of its list."""
    if not path:
        return True
    key, *rest = path
    if key == "NAME":
        return bool(found) and all(_has(one, rest) for one in found.values())
    if key.endswith("[]"):
        elements = found.get(key.removesuffix("[]"))
        return isinstance(elements, list) and all(_has(one, rest) for one in elements)
    return key in found and _has(found[key], rest)
