"""What Spark's parser or analysis says about an expression, and where."""

import re

from pyspark.errors import PySparkException


def syntax_index(error: PySparkException, condition: str) -> int:
    """The index of the parser's error, from the line and position that it reports."""
    start = error._origin.start() if getattr(error, "_origin", None) else None  # type: ignore[attr-defined] # noqa: SLF001
    if start is None or not (start.line().isDefined() and start.startPosition().isDefined()):
        return 0
    lines = condition.splitlines(keepends=True)[: int(start.line().get()) - 1]
    return sum(map(len, lines)) + int(start.startPosition().get())


def context_index(error: PySparkException) -> int:
    """The index of the error that analysis found."""
    return next((context.startIndex() for context in error.getQueryContext()), 0)


def sentence(error: PySparkException) -> str:
    """Spark's message without its code, state, link and copy of the condition."""
    line = str(error).strip().splitlines()[0]
    message = re.split(r"SQLSTATE|Please", line, maxsplit=1)[0].strip()
    _, bracket, plain = message.partition("] ")
    return (plain if bracket else message).rstrip(". ")
