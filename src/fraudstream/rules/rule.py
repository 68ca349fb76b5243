"""A rule, and how a file is parsed into rules: finds every mistake that needs no Spark, with its line and column."""

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Final, Literal, get_args

import yaml

from fraudstream.errors import InputError
from fraudstream.rules import reason
from fraudstream.rules.document import Node, Source, Trouble

Severity = Literal["low", "medium", "high"]
SEVERITIES: Final[tuple[Severity, ...]] = get_args(Severity)

LARGEST_FILE: Final = 128 * 1024
"""Maximum size in bytes: two hundred rules with long comments."""
MOST_RULES: Final = 200
"""Maximum number of rules: each is an expression that is evaluated for every transaction."""
LONGEST: Final = {"name": 64, "condition": 2_000, "reason": 500, "severity": 10}
"""Maximum length of each field; these are all fields of a rule, in the order in which they are written."""
_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_.-]*")
_REMARK: Final = re.compile(
    r"""'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*"|`[^`]*`|/\*.*?\*/|(?P<remark>--(?:\\\n|[^\n])*)""", re.DOTALL
)
"""A string, a name or a remark of SQL. Only a remark after `--` ends with the line."""


@dataclass(frozen=True, slots=True)
class Place:
    """The positions of a string's characters in a file, to locate mistakes inside it."""

    positions: tuple[tuple[int, int], ...]
    """Line and column, from 1, of each character, and finally of the end."""

    def at(self, index: int) -> tuple[int, int]:
        """Line and column of a character."""
        return self.positions[min(max(index, 0), len(self.positions) - 1)]


@dataclass(frozen=True, slots=True)
class Rule:
    """One of the operator's rules: what to flag, and why."""

    name: str
    condition: str
    """Spark SQL over the fields of a transaction and every feature; true flags the transaction."""
    reason: str
    """The sentence of an alert; `{name}` is replaced by a value, see `reason.render`."""
    severity: Severity
    place: Place | None = field(default=None, compare=False, repr=False)
    """The position of the condition in its file; None for a rule without a file."""
    file: str | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Mistake:
    """An error in a rules file, at a line and a column (both from 1; None if the rule has no file)."""

    message: str
    line: int | None
    column: int | None
    rule: str | None = None

    def __str__(self) -> str:
        """The error in the style of a compiler."""
        place = f"line {self.line}, column {self.column}: " if self.line is not None else ""
        return f"{place}{f'rule {self.rule}: ' if self.rule else ''}{self.message}"


class RuleMistakes(InputError):
    """Invalid rules, with every mistake that was found."""

    code: ClassVar[str] = "rules"

    def __init__(self, file: str | None, mistakes: Sequence[Mistake]) -> None:
        where = file or "The rules"
        few = mistakes[:20]
        more = [f"… and {len(mistakes) - len(few)} more"] if len(mistakes) > len(few) else []
        text = (
            f"{where}, {few[0]}"
            if len(mistakes) == 1
            else "\n  ".join([f"{where}: {len(mistakes)} mistakes.", *map(str, few), *more])
        )
        super().__init__(text, hint="Nothing was changed. docs/rules.md describes what a rule may use.")
        self.mistakes = tuple(mistakes)

    def document(self) -> dict[str, Any]:
        """The error, with the position of every mistake."""
        document = super().document()
        document["error"]["mistakes"] = [
            {"rule": m.rule, "line": m.line, "column": m.column, "message": m.message} for m in self.mistakes
        ]
        return document


def load_rules(path: Path) -> tuple[Rule, ...]:
    """The rules of a YAML file, in its order: a list of mappings with name, condition, reason and severity.

    Raises RuleMistakes (an InputError) with the line and column of every mistake that can be found
    without Spark; `spark.rules.check` checks the conditions. Raises InputError if the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST_FILE + 1)
    except OSError as error:
        raise InputError(
            f"The rules {path} cannot be read: {error.strerror or error}.", hint="Check the path."
        ) from None
    if len(content) > LARGEST_FILE:
        raise InputError(f"{path} is larger than {LARGEST_FILE:,} bytes.", hint="Keep the rules you use.")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InputError(f"{path}, line {line}: not UTF-8.", hint="Save the file as UTF-8.") from None
    return _parsed(Source(text), str(path))


def features_read(rules: Sequence[Rule]) -> tuple[str, ...]:
    """Names of the features that the conditions and reasons of these rules may use, in the order of definition.

    Found as words: one inside a string literal is included, too, which costs a column but is harmless.
    """
    from fraudstream.features.definitions import FEATURES

    words = {word.lower() for rule in rules for word in re.findall(r"\w+", rule.condition)}
    words.update(name for rule in rules for name in reason.names(rule.reason))
    return tuple(name for name in FEATURES if name in words)


def _parsed(source: Source, file: str) -> tuple[Rule, ...]:
    try:
        root = source.root()
    except Trouble as trouble:
        raise RuleMistakes(file, [Mistake(trouble.message, *source.position(trouble.index))]) from None
    reader = _Reader(source, file)
    rules = [rule for node in reader.items(root) if (rule := reader.rule(node))]
    if reader.mistakes:
        raise RuleMistakes(file, sorted(reader.mistakes, key=lambda m: (m.line or 0, m.column or 0)))
    return tuple(rules)


class _Reader:
    """Converts nodes to rules and collects the mistakes in them."""

    def __init__(self, source: Source, file: str) -> None:
        self._source = source
        self._file = file
        self._names: set[str] = set()
        self.mistakes: list[Mistake] = []

    def _wrong(self, message: str, index: int, rule: str | None = None) -> None:
        self.mistakes.append(Mistake(message, *self._source.position(index), rule))

    def items(self, root: Node | None) -> list[Node]:
        """The nodes of the rules: a list, or one under the key `rules`. An empty file has none."""
        if root is None or (isinstance(root, yaml.ScalarNode) and not root.value):
            return []
        if isinstance(root, yaml.MappingNode) and [key.value for key, _ in root.value] == ["rules"]:
            root = root.value[0][1]
        if not isinstance(root, yaml.SequenceNode):
            self._wrong("expected a list of rules, each beginning with `- name:`", root.start_mark.index)
            return []
        if len(root.value) > MOST_RULES:
            self._wrong(
                f"{len(root.value)} rules; at most {MOST_RULES} are allowed",
                root.value[MOST_RULES].start_mark.index,
            )
            return []
        return list(root.value)

    def rule(self, node: Node) -> Rule | None:
        """The rule of a node; None if it has a mistake."""
        before = len(self.mistakes)
        if not isinstance(node, yaml.MappingNode):
            self._wrong(f"expected a rule with {', '.join(LONGEST)}", node.start_mark.index)
            return None
        fields = self._fields(node)
        texts = {key: value for key, value in fields.items() if isinstance(value, yaml.ScalarNode)}
        name = texts["name"].value if "name" in texts else None
        for key, value in fields.items():
            if key not in texts:
                self._wrong(f"{key} is not a string", value.start_mark.index, name)
        for missing in LONGEST.keys() - fields.keys():
            self._wrong(f"{missing} is missing", node.start_mark.index, name)
        for key, text in texts.items():
            self._text(key, text, name)
        if "condition" in texts:
            self._remarks(texts["condition"], name)
        if len(self.mistakes) > before:
            return None
        places = map(self._source.position, self._source.characters(texts["condition"]))
        return Rule(
            texts["name"].value,
            texts["condition"].value,
            " ".join(texts["reason"].value.split()),
            texts["severity"].value,
            Place(tuple(places)),
            self._file,
        )

    def _fields(self, node: yaml.MappingNode) -> Mapping[str, Node]:
        """The nodes of a mapping by key; a misspelt key is reported, and treated as the intended one."""
        found: dict[str, Node] = {}
        for key, value in node.value:
            name = key.value if isinstance(key, yaml.ScalarNode) else ""
            if name not in LONGEST:
                close = difflib.get_close_matches(name, LONGEST, n=1)
                known = f"did you mean {close[0]}?" if close else f"the keys are {', '.join(LONGEST)}"
                self._wrong(f"{name[:40]!r} is not a key of a rule; {known}", key.start_mark.index)
                name = close[0] if close else name
            elif name in found:
                self._wrong(f"{name} appears twice", key.start_mark.index)
            if name in LONGEST:
                found.setdefault(name, value)
        return found

    def _text(self, key: str, node: yaml.ScalarNode, rule: str | None) -> None:
        """Check one field."""
        at, text = node.start_mark.index, node.value
        hidden = next((i for i, c in enumerate(text) if not (c.isprintable() or c in " \n\t")), None)
        if not text.strip():
            self._wrong(f"{key} is empty", at, rule)
        elif hidden is not None:
            self._wrong(f"{key} contains an invisible character", self._source.characters(node)[hidden])
        elif len(text) > LONGEST[key]:
            self._wrong(f"{key} has {len(text):,} characters; at most {LONGEST[key]:,} are allowed", at)
        elif key == "severity" and text not in SEVERITIES:
            self._wrong(f"severity {text!r} is not one of {', '.join(SEVERITIES)}", at, rule)
        elif key == "name" and not _NAME.fullmatch(text):
            self._wrong(
                f"the name {text!r} may contain only letters, digits, _ . and -, and must begin with a letter",
                at,
            )
        elif key == "name" and text in self._names:
            self._wrong(f"another rule is already called {text}", at)
        elif key == "name":
            self._names.add(text)
        elif key == "reason":
            places = self._source.characters(node)
            for index, message in reason.mistakes(text):
                self._wrong(message, places[index], rule)

    def _remarks(self, node: yaml.ScalarNode, rule: str | None) -> None:
        """Check that each remark ends with its line: if YAML folds lines, the rest of the condition becomes part of it."""
        places = self._source.characters(node)
        for found in _REMARK.finditer(node.value):
            if (remark := found["remark"]) is None:
                continue
            first, last = places[found.start()], places[found.start() + len(remark.rstrip()) - 1]
            if self._source.position(first)[0] != self._source.position(last)[0]:
                self._wrong(
                    "what follows in the next line belongs to this remark: write `condition: |`, or /* … */",
                    first,
                    rule,
                )
