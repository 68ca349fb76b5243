"""Checks a rule's condition before Spark may run it.

Spark's own parser builds the tree, which may contain comparisons, arithmetic, a few pure functions and the
columns of `rules.columns`, and nothing else. What is on these lists cannot read a file, call
Java, use random numbers, or grow without bound; everything else is refused.
"""

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import BooleanType

from fraudstream.rules.columns import Kind, columns, refusal
from fraudstream.spark.coercions import DATES, overflows, silent_casts, undated
from fraudstream.spark.expression_tree import Fault, children, index, kind, texts, type_of, walk
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

_COMPARISONS: Final = frozenset(
    {
        *(
            "EqualTo",
            "LessThan",
            "LessThanOrEqual",
            "GreaterThan",
            "GreaterThanOrEqual",
            "In",
            "Like",
            "ILike",
        ),
    }
)
"""What is null if one side is null; `<=>` is not."""
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
        [], ", ".join(f"`{name}` {_TYPES[what]}" for name, what in columns().items())
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
    return found or _unresolvable(empty, condition, _mentions(nodes))


def _unreadable(condition: str) -> Fault | None:
    """The error of a condition that must not reach the parser."""
    if "${" in condition:
        # Spark would substitute a setting or an environment variable here, including passwords.
        return Fault(condition.index("${"), "`${` is not allowed in a rule")
    depth = 0
    for place, character in enumerate(condition):
        depth += (character in "([") - (character in ")]")
        if depth > DEEPEST:
            return Fault(place, f"more than {DEEPEST} nested brackets")
    return None


def _looked_through(tree: Any) -> tuple[list[Any], list[Fault]]:
    """The nodes of a parsed condition, and the errors among them."""
    found: list[Fault] = []

    def enters(node: Any) -> bool:
        fault = _fault(node)
        found.extend([fault] if fault else [])
        return fault is None

    nodes = list(walk(tree, MOST_NODES + 1, enters))
    if len(nodes) > MOST_NODES:
        found = [Fault(0, f"more than {MOST_NODES} parts; split it into several rules")]
    elif not found and not any(kind(node) == "UnresolvedAttribute" for node in nodes):
        found = [Fault(0, "refers to no column, so it is true for every transaction or for none")]
    return nodes, found


def _fault(node: Any) -> Fault | None:
    """Why this node is not allowed in a condition, or None."""
    what, at = kind(node), index(node)
    if what not in OPERATORS:
        return Fault(at, f"{_REFUSED.get(what, f'`{node.toString()}`'[:80])} is not allowed in a rule")
    if what == "UnresolvedAttribute":
        name = ".".join(texts(node.nameParts()))
        return None if name.lower() in columns() else Fault(at, refusal(name))
    if what == "UnresolvedFunction":
        return _call(node)
    if what == "Literal" and type_of(node) in DATES:
        return undated(at, _within_quotes(node))
    return _comparison(node) if what in _COMPARISONS else None


def _comparison(node: Any) -> Fault | None:
    """Why this comparison is not allowed, or None."""
    if any(kind(side) == "Literal" and type_of(side) == "void" for side in children(node)):
        return Fault(
            index(node), "nothing is equal to null, or larger, so this is never true; write `is null`"
        )
    if kind(node) in ("Like", "ILike"):
        pattern = node.right()
        if kind(pattern) != "Literal" or pattern.toString().count("%") > MOST_WILDCARDS:
            return Fault(
                index(node), f"a pattern must be a string with at most {MOST_WILDCARDS} `%`; try `contains`"
            )
    return None


def _within_quotes(node: Any) -> str:
    """What a typed literal, such as `timestamp'now'`, has in its quotes. The parser has replaced it by what it stands for."""
    origin = node.origin()
    text = origin.sqlText().get()[index(node) : origin.stopIndex().get() + 1]
    return str(re.split("['\"]", text, maxsplit=1)[1][:-1])


def _call(node: Any) -> Fault | None:
    """Why this function call is not allowed, or None."""
    name = ".".join(texts(node.nameParts())).lower()
    if name not in FUNCTIONS:
        return Fault(
            index(node),
            f"the function {name} is not allowed in a rule; allowed are: {', '.join(sorted(FUNCTIONS))}",
        )
    if node.arguments().size() > FUNCTIONS[name]:
        return Fault(index(node), f"{name} takes at most {FUNCTIONS[name]} arguments in a rule")
    return None


def _mentions(nodes: list[Any]) -> dict[str, list[int]]:
    """The columns of a parsed condition, and the index of each mention that it does not cast itself."""
    cast_by_hand = {index(node.child()) for node in nodes if kind(node) == "Cast"}
    found: dict[str, list[int]] = {}
    for node in nodes:
        if kind(node) == "UnresolvedAttribute":
            places = found.setdefault(".".join(texts(node.nameParts())).lower(), [])
            places += {index(node)} - cast_by_hand
    return found


def _unresolvable(empty: DataFrame, condition: str, mentions: dict[str, list[int]]) -> list[Fault]:
    """Errors that Spark's analysis finds, and what it silently makes of the condition."""
    try:
        with forgiving(empty.sparkSession):
            resolved = empty.select(F.expr(condition))
    except PySparkException as error:
        return [Fault(context_index(error), sentence(error))]
    result = resolved.schema[0].dataType
    if not isinstance(result, BooleanType):
        return [Fault(0, f"gives {result.simpleString()} instead of true or false")]
    expression = resolved._jdf.queryExecution().analyzed().expressions().apply(0)  # noqa: SLF001
    nodes = list(walk(expression, 10 * MOST_NODES))
    return [*silent_casts(empty.sparkSession, nodes, mentions), *overflows(expression)]
