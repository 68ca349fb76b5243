"""The operator's own rules: lines of a YAML file, checked before they reach the stream.

columns     what a rule may look at
document    YAML with the place of every character, so that a mistake can be pointed at
reason      what an alert says, with numbers filled in
rule        a rule, and how a file becomes rules
backtest    what rules would have caught, counted
example     the file that `fraudstream rules example` prints

The conditions are Spark SQL: `spark.rules` checks and evaluates them.
"""

from fraudstream.rules.reason import render
from fraudstream.rules.rule import Mistake, Place, Rule, RuleMistakes, features_read, load_rules

__all__ = ["Mistake", "Place", "Rule", "RuleMistakes", "features_read", "load_rules", "render"]
