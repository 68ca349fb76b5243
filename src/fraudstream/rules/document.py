"""YAML with the position of every character.

A rules file may come from anybody who can propose a change: it is read with limits, without tags (which
could name Python objects), and without anchors (nine lines of which can expand to a billion nodes).
"""

import re
from bisect import bisect_right
from collections.abc import Iterator
from typing import Any

import yaml

DEEPEST = 4
"""Maximum levels of nesting; a list of mappings under one key has three."""

_BREAK = re.compile("\r\n|[\n\r\x85\u2028\u2029]")
"""Line breaks of YAML."""
_ESCAPES = {"x": 4, "u": 6, "U": 10}
"""Lengths of the escapes in double-quoted strings that have more than two characters."""

Node = yaml.Node


class Trouble(Exception):
    """The text is not valid YAML of this kind; `index` is the character of the error."""

    def __init__(self, message: str, index: int) -> None:
        super().__init__(message)
        self.message = message
        self.index = index


class _Loader(yaml.SafeLoader):
    """Composes only nodes; refuses what a rules file does not need."""

    depth = 0

    def compose_node(self, parent: Node | None, index: Any) -> Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        at = event.start_mark.index
        if isinstance(event, yaml.AliasEvent) or event.anchor is not None:
            raise Trouble("anchors and aliases (& and *) are not allowed; spell the value out", at)
        if getattr(event, "tag", None) is not None:
            raise Trouble(f"tags ({event.tag}) are not allowed; write the plain value", at)
        self.depth += 1
        if self.depth > DEEPEST:
            raise Trouble("nested too deeply for a list of rules", at)
        node: Node | None = super().compose_node(parent, index)
        self.depth -= 1
        return node


class Source:
    """The text of a file."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._starts = [0, *(found.end() for found in _BREAK.finditer(text))]

    def position(self, index: int) -> tuple[int, int]:
        """Line and column of a character, both from 1."""
        line = bisect_right(self._starts, index)
        return line, index - self._starts[line - 1] + 1

    def root(self) -> Node | None:
        """The document as nodes, or None if there are only comments. Raises Trouble."""
        try:
            loader = _Loader(self.text)
        except yaml.reader.ReaderError as error:
            raise Trouble("a character that YAML does not allow", error.position) from None
        try:
            return loader.get_single_node()
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            raise Trouble(f"this is not YAML: {error.problem}", mark.index if mark else 0) from None
        except (
            ValueError,
            OverflowError,
        ) as error:  # of PyYAML's own: "\\UFFFFFFFF", a version of 5,000 digits
            raise Trouble(f"this is not YAML: {error}", loader.index) from None
        finally:
            loader.dispose()

    def characters(self, node: yaml.ScalarNode) -> tuple[int, ...]:
        """For each character of a scalar's value its index in the source, and finally that of the end.

        Folding and escapes make the value differ from the source. Its visible characters keep
        their order, though, so both are walked in parallel; white space is at the current position.
        """
        return tuple(self._walk(node))

    def _walk(self, node: yaml.ScalarNode) -> Iterator[int]:
        text, style, end = self.text, node.style, node.end_mark.index
        at: int = node.start_mark.index
        if style in ("|", ">"):
            found = _BREAK.search(text, at)  # the value begins in the line after its header
            at = found.end() if found else end
        elif style in ("'", '"'):
            at += 1
        for character in node.value:
            while at < end and text[at].isspace() and not character.isspace():
                at += 1
            while style == '"' and text.startswith("\\", at) and _BREAK.match(text, at + 1):
                at += 1
                while at < end and text[at].isspace():
                    at += 1
            yield min(at, end)
            if style == '"' and text.startswith("\\", at):
                at += _ESCAPES.get(text[at + 1 : at + 2], 2)
            elif style == "'" and character == "'":
                at += 2
            elif not character.isspace() or text[at : at + 1].isspace():
                at += 1
        yield min(at, end)
