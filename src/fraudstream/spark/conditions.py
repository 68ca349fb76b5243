"""One condition of a rule, looked through before Spark may run it.

Spark's own parser makes the tree; the tree may hold comparisons, arithmetic, a few pure functions and the
columns of `rules.columns`, and nothing else. What is on these lists cannot read a file, call
Java, draw a chance, or grow without bound; what is not on them is refused, known or not.
"""

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812 - Spark's own custom
from pyspark.sql.types import BooleanType

from fraudstream.rules.columns import Kind, columns, refusal

ANSI: Final = "spark.sql.ansi.enabled"
_ANSI_LOCK: Final = threading.Lock()
"""ANSI is one setting of the whole session, and rules are resolved in more than one thread of it."""
MOST_NODES: Final = 300
"""Parts of one condition. Spark compiles each; a rule that a person can read has twenty."""
DEEPEST: Final = 40
"""Brackets inside each other: a thousand keep the parser busy for seconds."""
MOST_WILDCARDS: Final = 3
"""`%` in one pattern: each multiplies the ways that a matcher tries, and texts have up to 256 characters."""

OPERATORS: Final = frozenset(
    {
        *("And", "Or", "Not", "EqualTo", "EqualNullSafe", "LessThan", "LessThanOrEqual", "GreaterThan"),
        *("GreaterThanOrEqual", "In", "IsNull", "IsNotNull", "Add", "Subtract", "Multiply", "Divide"),
        *("IntegralDivide", "Remainder", "UnaryMinus", "UnaryPositive", "Like", "ILike", "Cast", "CaseWhen"),
        *("Concat", "Literal", "UnresolvedAttribute", "UnresolvedFunction"),
    }
)
"""Spark's names for the parts that a condition may have. No regular expressions: a few dozen characters of one can
keep a task busy for years."""
FUNCTIONS: Final = {
    **dict.fromkeys(("abs", "ceil", "ceiling", "floor", "sign", "ln", "log10", "log2", "isnan"), 1),
    **dict.fromkeys(("isnull", "isnotnull", "lower", "upper", "trim", "ltrim", "rtrim", "length"), 1),
    **dict.fromkeys(("char_length", "hour", "minute", "dayofweek", "weekday", "dayofmonth", "month"), 1),
    **dict.fromkeys(("year", "nullif", "nvl", "ifnull", "startswith", "endswith", "contains", "left"), 2),
    **dict.fromkeys(("right", "instr", "mod", "try_divide", "extract"), 2),
    **dict.fromkeys(("between", "if", "substring", "substr"), 3),
    **dict.fromkeys(("coalesce", "greatest", "least", "concat"), 20),
}
"""Functions that a condition may call, and how many arguments at most: `ceil(x, 2000000000)` would fill the memory.
None draws a chance, looks at a clock or at the machine, or gives NaN, which Spark takes for the largest number."""

_REFUSED: Final = {
    "ScalarSubquery": "a subquery",
    "InSubquery": "a subquery",
    "Exists": "a subquery",
    "ListQuery": "a subquery",
    "WindowExpression": "a window",
    "LambdaFunction": "a lambda",
    "RLike": "a regular expression",
    "Alias": "a name after `as`",
    "UnresolvedStar": "`*`",
    "NamedParameter": "a parameter",
    "PosParameter": "a parameter",
}
_TYPES: Final[dict[Kind, str]] = {"text": "string", "instant": "timestamp", "float": "double"}


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with a condition, and the index of the character where it shows."""

    index: int
    message: str


@contextmanager
def forgiving(spark: SparkSession) -> Iterator[None]:
    """Expressions that are resolved inside give null where ANSI mode would raise an error, for as long as they live.

    Spark 4 is strict by default: one division by zero would end the stream. Whether an expression raises
    is decided when it is resolved and travels with it, so this covers the stream that starts later.
    One thread at a time: a second one would take "false" for what was there before, and leave it there.
    """
    with _ANSI_LOCK:
        before = spark.conf.get(ANSI) or "true"
        spark.conf.set(ANSI, "false")
        try:
            yield
        finally:
            spark.conf.set(ANSI, before)


def no_rows(spark: SparkSession) -> DataFrame:
    """An empty table with every column that a condition may name."""
    return spark.createDataFrame(
        [], ", ".join(f"`{name}` {_TYPES[kind]}" for name, kind in columns().items())
    )


def faults(spark: SparkSession, empty: DataFrame, condition: str) -> list[Fault]:
    """What is wrong with a condition, in its order; nothing where it may run. `empty` is `no_rows(spark)`."""
    if (fault := _unreadable(condition)) is not None:
        return [fault]
    parser = spark._jsparkSession.sessionState().sqlParser()  # noqa: SLF001 - Spark shows its parser nowhere else
    try:
        tree = parser.parseExpression(condition)
    except PySparkException as error:
        return [Fault(_syntax_index(error, condition), _sentence(error))]
    except Py4JJavaError as error:
        if "StackOverflowError" not in str(error.java_exception):
            raise
        return [Fault(0, "nested too deeply")]
    nodes, found = _looked_through(tree)
    return found or _unresolvable(empty, condition, _bare_columns(nodes))


def _unreadable(condition: str) -> Fault | None:
    """What the parser itself must not see."""
    if "${" in condition:
        # Spark would put in a setting or a variable of the environment here, passwords included.
        return Fault(condition.index("${"), "`${` is not allowed in a rule")
    depth = 0
    for index, character in enumerate(condition):
        depth += (character in "([") - (character in ")]")
        if depth > DEEPEST:
            return Fault(index, f"more than {DEEPEST} brackets inside each other")
    return None


def _looked_through(tree: Any) -> tuple[list[Any], list[Fault]]:
    """The nodes of a parsed condition, and what may not stand there."""
    found: list[Fault] = []
    nodes = list(_walk(tree, MOST_NODES + 1, found))
    if len(nodes) > MOST_NODES:
        found = [Fault(0, f"more than {MOST_NODES} parts; make several rules of it")]
    elif not found and not any(_kind(node) == "UnresolvedAttribute" for node in nodes):
        found = [Fault(0, "refers to no column, so it is true for every transaction or for none")]
    return nodes, found


def _walk(root: Any, most: int, found: list[Fault] | None = None) -> Iterator[Any]:
    """The nodes of a tree, parents first, `most` at most. With `found`, faults go there and hide what is below them."""
    pending = [root]
    while pending and most:
        most -= 1
        node = pending.pop()
        if found is not None and (fault := _fault(node)):
            found.append(fault)
        else:
            children = node.children()
            pending += [children.apply(i) for i in reversed(range(children.size()))]
        yield node


def _kind(node: Any) -> str:
    return str(node.getClass().getSimpleName())


def _index(node: Any) -> int:
    """Where a node begins in its text; 0 where Spark does not say."""
    start = node.origin().startIndex()
    return int(start.get()) if start.isDefined() else 0


def _fault(node: Any) -> Fault | None:
    """Why this part may not stand in a condition."""
    kind = _kind(node)
    if kind not in OPERATORS:
        what = _REFUSED.get(kind, f"`{node.toString()}`"[:80])
        return Fault(_index(node), f"{what} is not allowed in a rule")
    if kind == "UnresolvedAttribute":
        name = ".".join(_texts(node.nameParts()))
        return None if name.lower() in columns() else Fault(_index(node), refusal(name))
    if kind == "UnresolvedFunction":
        return _call(node)
    if kind in ("Like", "ILike"):
        pattern = node.right()
        if _kind(pattern) != "Literal" or pattern.toString().count("%") > MOST_WILDCARDS:
            return Fault(
                _index(node), f"a pattern is a string with at most {MOST_WILDCARDS} `%`; `contains` may do"
            )
    return None


def _call(node: Any) -> Fault | None:
    """Why this function may not be called like this."""
    name = ".".join(_texts(node.nameParts())).lower()
    if name not in FUNCTIONS:
        return Fault(
            _index(node),
            f"the function {name} is not allowed in a rule; these are: {', '.join(sorted(FUNCTIONS))}",
        )
    if node.arguments().size() > FUNCTIONS[name]:
        return Fault(_index(node), f"{name} takes at most {FUNCTIONS[name]} arguments in a rule")
    return None


def _texts(parts: Any) -> list[str]:
    return [str(parts.apply(i)) for i in range(parts.size())]


def _bare_columns(nodes: list[Any]) -> dict[str, int]:
    """The columns that the condition itself casts nowhere, and where the first mention of each begins."""
    by_hand = {_index(node.child()) for node in nodes if _kind(node) == "Cast"}
    mentions: dict[str, list[int]] = {}
    for node in nodes:
        if _kind(node) == "UnresolvedAttribute":
            mentions.setdefault(".".join(_texts(node.nameParts())).lower(), []).append(_index(node))
    return {name: places[0] for name, places in mentions.items() if by_hand.isdisjoint(places)}


def _unresolvable(empty: DataFrame, condition: str, bare: dict[str, int]) -> list[Fault]:
    """What Spark's analysis finds wrong, and what it would do in silence: make numbers of strings."""
    try:
        with forgiving(empty.sparkSession):
            resolved = empty.select(F.expr(condition))
    except PySparkException as error:
        return [Fault(_context_index(error), _sentence(error))]
    kind = resolved.schema[0].dataType
    if not isinstance(kind, BooleanType):
        return [Fault(0, f"gives {kind.simpleString()} instead of true or false")]
    expression = resolved._jdf.queryExecution().analyzed().expressions().apply(0)  # noqa: SLF001
    casts = [node for node in _walk(expression, 10 * MOST_NODES) if _kind(node) == "Cast"]
    return [fault for node in casts if (fault := _silent_cast(node, bare))]


def _silent_cast(node: Any, bare: dict[str, int]) -> Fault | None:
    """Why this cast, which nobody wrote, cannot be meant."""
    child, target = node.child(), node.dataType().simpleString()
    if child.dataType().simpleString() != "string" or target == "string":
        return None
    if _kind(child) == "Literal" and node.eval(None) is None:
        return Fault(_index(child), f"{child.toString()!r:.40} is not a {target}, so this is never true")
    if _kind(child) == "AttributeReference" and child.name() in bare:
        name = child.name()
        return Fault(
            bare[name],
            f"{name} is a string and is read as {target} here; write cast({name} as {target}) if you mean it",
        )
    return None


def _syntax_index(error: PySparkException, condition: str) -> int:
    """Where the parser gave up, from the line and position that it reports."""
    start = error._origin.start() if getattr(error, "_origin", None) else None  # type: ignore[attr-defined] # noqa: SLF001
    if start is None or not (start.line().isDefined() and start.startPosition().isDefined()):
        return 0
    lines = condition.splitlines(keepends=True)[: int(start.line().get()) - 1]
    return sum(map(len, lines)) + int(start.startPosition().get())


def _context_index(error: PySparkException) -> int:
    """Where analysis found the mistake."""
    return next((context.startIndex() for context in error.getQueryContext()), 0)


def _sentence(error: PySparkException) -> str:
    """Spark's message without its code, its state, its link and its echo of the text."""
    line = str(error).strip().splitlines()[0]
    message = re.split(r"SQLSTATE|Please", line, maxsplit=1)[0].strip()
    _, bracket, plain = message.partition("] ")
    return (plain if bracket else message).rstrip(". ")
