"""The operator's rules as Spark columns: the same expressions live, in micro-batches and in backtests."""

from collections.abc import Sequence

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from fraudstream.rules import Mistake, Rule, RuleMistakes
from fraudstream.spark.conditions import faults, forgiving, no_rows

COLUMN = "rules"


def check(spark: SparkSession, rules: Sequence[Rule]) -> None:
    """Raise RuleMistakes with every invalid condition, its line and its column.

    A condition is a boolean expression over the fields and features of `rules.columns`.
    """
    empty = no_rows(spark)
    mistakes = []
    for rule in rules:
        for fault in faults(spark, empty, rule.condition):
            line, column = rule.place.at(fault.index) if rule.place else (None, None)
            mistakes.append(Mistake(fault.message, line, column, rule.name))
    if mistakes:
        raise RuleMistakes(rules[0].file, mistakes)


class RuleSet:
    """Rules that are checked once, for frames that are built repeatedly."""

    def __init__(self, spark: SparkSession, rules: Sequence[Rule]) -> None:
        """Raises RuleMistakes like `check`."""
        check(spark, rules)
        self.spark = spark
        self.rules = tuple(rules)

    def add(self, rows: DataFrame) -> DataFrame:
        """Add the column `rules` to `rows`: the names of the rules that hold, in their order; never null.

        `rows` has the fields of a transaction and the features of `rules.features_read`. A condition that is null, or
        cannot be evaluated (a division by zero, a string that is not a number), does not hold: it never ends a
        stream. No other thread may start a query meanwhile.
        """
        if not self.rules:
            return rows.withColumn(COLUMN, F.array().cast("array<string>"))
        with forgiving(self.spark):
            hits = [F.when(F.expr(rule.condition), F.lit(rule.name)) for rule in self.rules]
            return rows.withColumn(COLUMN, F.array_compact(F.array(*hits)))
