"""The operator's own rules: entries of a YAML file, checked before they reach the stream.

columns     the columns that a rule may use
document    YAML with the position of every character, to locate mistakes
reason      the sentence of an alert, with numbers filled in
rule        a rule, and how a file is parsed into rules
backtest    counts of what rules would have caught
example     the file that `fraudstream rules example` prints

The conditions are Spark SQL: `spark.rules` checks and evaluates them.
"""

from fraudstream.rules.reason import render
from fraudstream.rules.rule import Mistake, Rule, RuleMistakes, features_read, load_rules

__all__ = ["Mistake", "Rule", "RuleMistakes", "features_read", "load_rules", "render"]
