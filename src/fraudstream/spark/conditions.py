"""Checks a rule's condition before Spark may run it.

Spark's own parser builds the tree, which may contain comparisons, arithmetic, a few pure functions and the
columns of `rules.columns`, and nothing else. What is on these lists cannot read a file, call
Java, use random numbers, or grow without bound; everything else is refused.
"""

import math
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import BooleanType

from fraudstream.rules.columns import Kind, columns, refusal
from fraudstream.spark.sql_errors import context_index, sentence, syntax_index

ANSI: Final = "spark.sql.ansi.enabled"
_ANSI_LOCK: Final = threading.Lock()
"""ANSI mode is a setting of the whole session, in which several threads resolve rules."""
MOST_NODES: Final = 300
"""Maximum number of nodes in a condition. Spark compiles each; a readable rule has twenty."""
DEEPEST: Final = 40
"""Maximum nesting of brackets: a thousand keep the parser busy for seconds."""
MOST_WILDCARDS: Final = 3
"""Maximum number of `%` in a pattern: each multiplies the attempts of the matcher, and strings have up to 256 characters."""

OPERATORS: Final = frozenset(
    {
        *("And", "Or", "Not", "EqualTo", "EqualNullSafe", "LessThan", "LessThanOrEqual", "GreaterThan"),
        *("GreaterThanOrEqual", "In", "IsNull", "IsNotNull", "Add", "Subtract", "Multiply", "Divide"),
        *("IntegralDivide", "Remainder", "UnaryMinus", "UnaryPositive", "Like", "ILike", "Cast", "CaseWhen"),
        *("Concat", "Literal", "UnresolvedAttribute", "UnresolvedFunction"),
    }
)
"""Spark's names of the nodes allowed in a condition. No regular expressions: one of a few dozen characters can keep a task
busy for years."""
FUNCTIONS: Final = {
    **dict.fromkeys(("abs", "ceil", "ceiling", "floor", "sign", "ln", "log10", "log2", "isnan"), 1),
    **dict.fromkeys(("isnull", "isnotnull", "lower", "upper", "trim", "ltrim", "rtrim", "length"), 1),
    **dict.fromkeys(("char_length", "hour", "minute", "dayofweek", "weekday", "dayofmonth", "month"), 1),
    **dict.fromkeys(("year", "nullif", "nvl", "ifnull", "startswith", "endswith", "contains", "left"), 2),
    **dict.fromkeys(("right", "instr", "mod", "try_divide", "extract"), 2),
    **dict.fromkeys(("between", "if", "substring", "substr"), 3),
    **dict.fromkeys(("coalesce", "greatest", "least", "concat"), 20),
}
"""Functions that a condition may call, and their maximum number of arguments: `ceil(x, 2000000000)` would fill the memory.
None is random, depends on the clock or the machine, or returns NaN, which Spark treats as the largest number; nor
may a string be cast to a type that has it."""

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
_WITH_NAN: Final = ("float", "double")
"""Types as which the strings `nan` and `inf` are numbers: pandas writes `nan` for a missing value, and Spark's NaN exceeds every
number, so that a rule would match where nothing is known."""
_WITHOUT_NAN: Final = "decimal(20, 2)"
"""The type to read a string as instead: what is not a finite number becomes null, so the rule does not match."""
_DATES: Final = ("date", "timestamp", "timestamp_ntz")
_DATED: Final = re.compile(r"\s*\d{4}\s*(-|$)")
"""How a text begins that has a date; `now`, and a time alone, which is one of today, do not."""
_TYPES: Final[dict[Kind, str]] = {"text": "string", "instant": "timestamp", "float": "double"}


@dataclass(frozen=True, slots=True)
class Fault:
    """An error in a condition, and the index of its character."""

    index: int
    message: str


@contextmanager
def forgiving(spark: SparkSession) -> Iterator[None]:
    """Make expressions that are resolved inside return null where ANSI mode would raise an error.

    Spark 4 is strict by default: one division by zero would end the stream. Whether an expression raises
    is fixed when it is resolved, so this covers the stream that starts later.
    One thread at a time: a second one would read "false" as the previous value, and restore that.
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
    """The errors in a condition, by position; none if it may run. `empty` is `no_rows(spark)`."""
    if (fault := _unreadable(condition)) is not None:
        return [fault]
    parser = spark._jsparkSession.sessionState().sqlParser()  # noqa: SLF001 - Spark shows its parser nowhere else
    try:
        tree = parser.parseExpression(condition)
    except PySparkException as error:
        return [Fault(syntax_index(error, condition), sentence(error))]
    except Py4JJavaError as error:
        if "StackOverflowError" not in str(error.java_exception):
            raise
        return [Fault(0, "nested too deeply")]
    nodes, found = _looked_through(tree)
    return found or _unresolvable(empty, condition, _bare_columns(nodes))


def _unreadable(condition: str) -> Fault | None:
    """The error of a condition that must not reach the parser."""
    if "${" in condition:
        # Spark would substitute a setting or an environment variable here, including passwords.
        return Fault(condition.index("${"), "`${` is not allowed in a rule")
    depth = 0
    for index, character in enumerate(condition):
        depth += (character in "([") - (character in ")]")
        if depth > DEEPEST:
            return Fault(index, f"more than {DEEPEST} nested brackets")
    return None


def _looked_through(tree: Any) -> tuple[list[Any], list[Fault]]:
    """The nodes of a parsed condition, and the errors among them."""
    found: list[Fault] = []
    nodes = list(_walk(tree, MOST_NODES + 1, found))
    if len(nodes) > MOST_NODES:
        found = [Fault(0, f"more than {MOST_NODES} parts; split it into several rules")]
    elif not found and not any(_kind(node) == "UnresolvedAttribute" for node in nodes):
        found = [Fault(0, "refers to no column, so it is true for every transaction or for none")]
    return nodes, found


def _walk(root: Any, most: int, found: list[Fault] | None = None) -> Iterator[Any]:
    """Up to `most` nodes of a tree, parents first. With `found`, faults are added to it and their subtrees skipped."""
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


def _type(node: Any) -> str:
    return str(node.dataType().simpleString())


def _index(node: Any) -> int:
    """The index at which a node begins; 0 if Spark does not know it."""
    start = node.origin().startIndex()
    return int(start.get()) if start.isDefined() else 0


def _fault(node: Any) -> Fault | None:
    """Why this node is not allowed in a condition, or None."""
    kind = _kind(node)
    if kind not in OPERATORS:
        what = _REFUSED.get(kind, f"`{node.toString()}`"[:80])
        return Fault(_index(node), f"{what} is not allowed in a rule")
    if kind == "UnresolvedAttribute":
        name = ".".join(_texts(node.nameParts()))
        return None if name.lower() in columns() else Fault(_index(node), refusal(name))
    if kind == "UnresolvedFunction":
        return _call(node)
    if kind == "Literal" and _type(node) in _DATES:
        return _undated(_index(node), _within_quotes(node))
    if kind in ("Like", "ILike"):
        pattern = node.right()
        if _kind(pattern) != "Literal" or pattern.toString().count("%") > MOST_WILDCARDS:
            return Fault(
                _index(node), f"a pattern must be a string with at most {MOST_WILDCARDS} `%`; try `contains`"
            )
    return None


def _within_quotes(node: Any) -> str:
    """What a typed literal, such as `timestamp'now'`, has in its quotes. The parser has replaced it by what it stands for."""
    origin = node.origin()
    text = origin.sqlText().get()[_index(node) : origin.stopIndex().get() + 1]
    return str(re.split("['\"]", text, maxsplit=1)[1][:-1])


def _undated(index: int, text: str) -> Fault | None:
    """Why this text is not allowed as a date or time, or None. Without a date, Spark takes it from the clock."""
    if _DATED.match(text):
        return None
    return Fault(
        index, f"{text!r:.40} has no date, so it depends on the clock; write one, as in '2026-01-31 09:00'"
    )


def _call(node: Any) -> Fault | None:
    """Why this function call is not allowed, or None."""
    name = ".".join(_texts(node.nameParts())).lower()
    if name not in FUNCTIONS:
        return Fault(
            _index(node),
            f"the function {name} is not allowed in a rule; allowed are: {', '.join(sorted(FUNCTIONS))}",
        )
    if node.arguments().size() > FUNCTIONS[name]:
        return Fault(_index(node), f"{name} takes at most {FUNCTIONS[name]} arguments in a rule")
    return None


def _texts(parts: Any) -> list[str]:
    return [str(parts.apply(i)) for i in range(parts.size())]


def _bare_columns(nodes: list[Any]) -> dict[str, int]:
    """The columns that the condition itself never casts, and the index of each one's first mention."""
    by_hand = {_index(node.child()) for node in nodes if _kind(node) == "Cast"}
    mentions: dict[str, list[int]] = {}
    for node in nodes:
        if _kind(node) == "UnresolvedAttribute":
            mentions.setdefault(".".join(_texts(node.nameParts())).lower(), []).append(_index(node))
    return {name: places[0] for name, places in mentions.items() if by_hand.isdisjoint(places)}


def _unresolvable(empty: DataFrame, condition: str, bare: dict[str, int]) -> list[Fault]:
    """Errors that Spark's analysis finds, and its silent casts of strings to numbers."""
    try:
        with forgiving(empty.sparkSession):
            resolved = empty.select(F.expr(condition))
    except PySparkException as error:
        return [Fault(context_index(error), sentence(error))]
    kind = resolved.schema[0].dataType
    if not isinstance(kind, BooleanType):
        return [Fault(0, f"gives {kind.simpleString()} instead of true or false")]
    expression = resolved._jdf.queryExecution().analyzed().expressions().apply(0)  # noqa: SLF001
    checks = {"Cast": _cast_of_text, "In": _list_as_text}
    nodes = [node for node in _walk(expression, 10 * MOST_NODES) if _kind(node) in checks]
    return [fault for node in nodes if (fault := checks[_kind(node)](node, bare))]


def _list_as_text(node: Any, bare: dict[str, int]) -> Fault | None:
    """Why this `in` is an error, or None: beside one string, Spark reads all of it as strings, and 100.0 is not '100'."""
    children = node.children()
    for cast in (children.apply(i) for i in range(children.size())):
        # A cast that Spark adds stands where the `in` does, a written one elsewhere.
        if _kind(cast) != "Cast" or _index(cast) != _index(node) or _type(cast) != "string":
            continue
        child, name = cast.child(), "…"
        if (kind := _type(child)) == "string":
            continue
        if _kind(child) == "AttributeReference":
            name = child.name()
        elif _kind(child) == "Literal":
            name = child.toString()
        place = bare.get(name, _index(child) or _index(node))
        advice = f"give values of one type, or write cast({name} as string) if you mean it"
        return Fault(place, f"{name} is of type {kind} and is read as string here; {advice}")
    return None


def _cast_of_text(node: Any, bare: dict[str, int]) -> Fault | None:
    """Why this cast of a string, written or implicit, is an error, or None."""
    child, target = node.child(), _type(node)
    if _type(child) != "string" or target == "string":
        return None
    if _kind(child) == "Literal":
        return _cast_literal(node, target)
    if target in _DATES and child.foldable():
        return Fault(_index(child), f"this is read as {target}; write the date as one string")
    is_column = _kind(child) == "AttributeReference"
    name = child.name() if is_column else "…"
    with_nan = target in _WITH_NAN
    advice = f"write cast({name} as {_WITHOUT_NAN if with_nan else target})"
    if name in bare:
        return Fault(bare[name], f"{name} is a string and is read as {target} here; {advice} if you mean it")
    if with_nan:
        place = _index(node if is_column else child)  # a column has lost its own by now
        return Fault(place, f"a string read as {target} may be NaN or infinite; {advice}")
    return None


def _cast_literal(node: Any, target: str) -> Fault | None:
    """Why this cast of a literal string is an error, or None."""
    literal, value = node.child(), node.eval(None)
    if value is None:
        return Fault(_index(literal), f"{literal.toString()!r:.40} is not a {target}, so this is never true")
    if target in _WITH_NAN and not math.isfinite(value):
        return Fault(_index(literal), f"{literal.toString()!r:.40} is not a finite number")
    return _undated(_index(literal), literal.toString()) if target in _DATES else None
