"""A look into Spark's expression trees, as its parser or its analysis leaves them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Fault:
    """An error in an expression, and the index of its character."""

    index: int
    message: str


def walk(root: Any, most: int, enters: Callable[[Any], bool] = lambda _: True) -> Iterator[Any]:
    """Up to `most` nodes of a tree, parents first; subtrees that `enters` is false for end at their root."""
    pending = [root]
    while pending and most:
        most -= 1
        node = pending.pop()
        if enters(node):
            pending += reversed(children(node))
        yield node


def children(node: Any) -> list[Any]:
    """The children of a node."""
    found = node.children()
    return [found.apply(i) for i in range(found.size())]


def kind(node: Any) -> str:
    """Spark's name of the node, such as `Cast`."""
    return str(node.getClass().getSimpleName())


def type_of(node: Any) -> str:
    """The type of a node's value, such as `decimal(20,2)`."""
    return str(node.dataType().simpleString())


def index(node: Any) -> int:
    """The index at which a node begins; 0 if Spark does not know it."""
    start = node.origin().startIndex()
    return int(start.get()) if start.isDefined() else 0


def texts(parts: Any) -> list[str]:
    """A sequence of Scala's, for example the parts of a name."""
    return [str(parts.apply(i)) for i in range(parts.size())]
