"""What Spark's real-time mode does not take, looked for in the plan of a frame."""

import re
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

_FORBIDDEN = re.compile(
    r"\w*(?:Python|MapIn|Aggregate|Window|(?<!Broadcast)Exchange|NestedLoop|SortMergeJoin|Subquery)\w*"
)


def plan(frame: "DataFrame", which: Literal["executedPlan", "optimizedPlan"] = "executedPlan") -> str:
    """The plan as Spark prints it."""
    return str(getattr(frame._jdf.queryExecution(), which)().toString())


def forbidden(text: str) -> set[str]:
    """Steps of a plan that run Python, or need rows that are elsewhere, by the names that Spark gives them."""
    return set(_FORBIDDEN.findall(text))
