"""Rules as Spark columns: what holds is named, what cannot be worked out does not hold, what is not harmless is refused."""

import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from environment import without_settings
from fraudstream.rules import Rule, RuleMistakes, load_rules
from fraudstream.spark.conditions import ANSI, FUNCTIONS, faults, forgiving, no_rows
from fraudstream.spark.rules import RuleSet, check
from plans import forbidden, plan


def rule(condition: str, name: str = "a") -> Rule:
    return Rule(name, condition, "because", "low")


def rows(spark: SparkSession, *transactions: dict[str, Any]) -> DataFrame:
    """Transactions with every column that a rule may name; what is not said is null."""
    empty = no_rows(spark)
    return spark.createDataFrame([tuple(t.get(c) for c in empty.columns) for t in transactions], empty.schema)


def hits(frame: DataFrame) -> list[list[str]]:
    return [row["rules"] for row in frame.collect()]


def test_a_transaction_names_the_rules_that_hold_in_the_order_of_the_file(spark: SparkSession) -> None:
    """A null row, a condition that is null, a rule on a feature; the other columns stay."""
    frame = rows(spark, {"amount": 900.0, "user_count_10m": 6.0, "device": "ios"}, {"amount": 10.0}, {})
    rules = [
        rule("user_count_10m > 5", "velocity"),
        rule("amount > 500", "large"),
        rule("device is null", "no-device"),
        rule("not (device = 'ios')", "never-null"),
    ]
    held = RuleSet(spark, rules).add(frame)
    assert held.columns == [*frame.columns, "rules"]
    assert hits(held) == [["velocity", "large"], ["no-device"], ["no-device"]]


def test_without_rules_the_column_is_empty_and_of_the_same_type(spark: SparkSession) -> None:
    frame = rows(spark, {"amount": 1.0})
    none, one = RuleSet(spark, []).add(frame), RuleSet(spark, [rule("amount > 0")]).add(frame)
    assert hits(none) == [[]]
    assert none.schema["rules"].dataType.simpleString() == one.schema["rules"].dataType.simpleString()


RAISING = (
    "1 / (amount - amount) > 0",
    "mod(amount, amount - amount) > 0",
    "length(device) div (length(device) - 3) > 0",
    "cast(device as int) > 0",
    "cast(device as timestamp) < timestamp",
    "cast(amount * 1e300 as decimal(10, 2)) > 0",
    "ln(-amount) > 0",
    "cast(device as boolean)",
)
"""Conditions that end a query in Spark's strict mode, or are null, on the row of the test below."""


def test_a_condition_that_fails_does_not_hold_and_does_not_end_the_stream(
    spark: SparkSession, tmp_path: Path
) -> None:
    """In a batch and in a stream, both run in Spark's strict mode, where the same expressions raise."""
    assert spark.conf.get(ANSI) == "true"
    frame = rows(spark, {"amount": 5.0, "device": "abc"})
    rules = [rule(condition, f"r{i}") for i, condition in enumerate(RAISING)] + [rule("amount > 1", "good")]
    assert hits(RuleSet(spark, rules).add(frame)) == [["good"]]
    assert spark.conf.get(ANSI) == "true"
    with pytest.raises(Exception, match="DIVIDE_BY_ZERO"):
        frame.filter(F.expr(RAISING[0])).collect()

    frame.write.parquet(str(tmp_path / "in"))
    stream = RuleSet(spark, rules).add(spark.readStream.schema(frame.schema).parquet(str(tmp_path / "in")))
    query = (
        stream.writeStream.format("memory").queryName("rules_held").trigger(availableNow=True)
        .option("checkpointLocation", str(tmp_path / "checkpoint")).start()
    )  # fmt: skip
    query.awaitTermination()
    assert hits(spark.table("rules_held")) == [["good"]]
    spark.catalog.dropTempView("rules_held")


def test_a_merchant_called_nan_is_no_number_that_a_rule_matches(spark: SparkSession) -> None:
    """What pandas leaves for a missing value; as a double it is larger than every number, as is what stands for infinity."""
    texts = ("nan", "NaN", "inf", "Infinity", "-inf", "", "abc", "1e300", "900001", " 900000.5 ")
    frame = rows(spark, *({"merchant_id": text, "amount": 5.0} for text in texts))
    found = hits(RuleSet(spark, [rule("cast(merchant_id as decimal(20, 2)) > 900000")]).add(frame))
    assert [text for text, names in zip(texts, found, strict=True) if names] == ["900001", " 900000.5 "]
    for condition in (
        "cast(merchant_id as double) > 900000",
        "merchant_id::float > 900000",
        "amount < merchant_id",
        "amount < lower(merchant_id)",
        "amount < cast(concat('n', 'an') as double)",
        "merchant_id between 1.5 and 2.5",
        "amount < 'nan'",
        "amount > cast('-Infinity' as double)",
    ):
        with pytest.raises(RuleMistakes):
            check(spark, [rule(condition)])


def test_two_threads_that_resolve_rules_at_once_leave_spark_as_strict_as_it_was(spark: SparkSession) -> None:
    """As a scorer does: a new champion's rules are resolved beside those of the next query."""
    resolving, resolved = threading.Event(), threading.Event()

    def other() -> None:
        with forgiving(spark):
            resolving.set()
            resolved.wait(60)

    thread = threading.Thread(target=other)
    with forgiving(spark):
        thread.start()
        resolving.wait(0.5)  # where nothing keeps the two apart, the other one comes in here
    assert resolving.wait(60)
    meanwhile = spark.conf.get(ANSI)
    resolved.set()
    thread.join()
    afterwards = spark.conf.get(ANSI)
    spark.conf.set(ANSI, "true")
    assert (meanwhile, afterwards) == ("false", "true")


def test_rules_are_plain_expressions_that_real_time_mode_allows(spark: SparkSession) -> None:
    """One projection and nothing else: no Python, no exchange, no aggregate, no subquery."""
    rules = RuleSet(spark, [rule("amount > 1"), rule("device like 'a%'", "b")])
    assert forbidden(plan(rules.add(rows(spark, {"amount": 5.0})))) == set()


def test_a_plan_that_real_time_mode_refuses_is_told_from_one_that_it_allows(spark: SparkSession) -> None:
    """What the tests of plans look for is what Spark prints: a step's whole name, with what stands around it."""
    frame = spark.range(9).select("id", F.udf(str, useArrow=False)("id").alias("text"))
    counted = frame.groupBy("text").count()
    assert any(name.endswith("EvalPython") for name in forbidden(plan(frame)))
    assert {"HashAggregate", "Exchange"} <= forbidden(plan(counted))
    assert "Aggregate" in forbidden(plan(counted, "optimizedPlan"))
    alike = frame.join(frame.withColumnRenamed("text", "other"), F.col("text") > F.col("other"))
    assert any("NestedLoop" in name for name in forbidden(plan(alike)))


WRONG = (
    ("amount > 5 and user_cnt_10m > 3", "user_cnt", "no column user_cnt_10m; did you mean user_count_10m?"),
    ("device = '😀' and amunt > 1", "amunt", "did you mean amount?"),
    ("amount >", "", "Syntax error at or near end of input"),
    ("amount > 1;", ";", "Syntax error"),
    ("(amount > 1", "", "Syntax error"),
    ("amount > 'x", "'x", "Syntax error"),
    ("amount > 1e400", "1e400", "outside the valid range"),
    ("amount > 1 /* note", "amount", "unclosed bracketed comment"),
    ("email like 'a%'", "email", "email is personal"),
    ("Full_Name = 'a'", "Full_Name", "is personal"),
    ("amount > 1 or is_fraud", "is_fraud", "the truth"),
    ("fraud_scenario = 'x'", "fraud_scenario", "the truth"),
    ("amount", "amount", "gives double instead of true or false"),
    ("amount and device", "amount", "incompatible types"),
    ("amount > interval 1 day", "amount", "incompatible types"),
    ("amount = 'much'", "'much'", "is not a double, so this is never true"),
    ("timestamp > '2025-13-01'", "'2025", "is not a timestamp"),
    ("amount > 1 and device > 5", "device", "device is a string and is read as int"),
    ("amount > 1 and device > 5.5", "device", "write cast(device as decimal(20, 2)) if you mean it"),
    ("amount < 'nan'", "'nan'", "is not a finite number"),
    ("amount > 1 and cast(device as double) > 5", "cast(", "write cast(device as decimal(20, 2))"),
    ("amount > 1 and device::float > 5", "device", "write cast(device as decimal(20, 2))"),
    ("amount > 1 and amount > lower(device)", "lower", "write cast(… as decimal(20, 2))"),
    ("amount in ('100', '200')", "amount", "amount is of type double and is read as string here"),
    (
        "device = 'a' and user_count_30d not in ('0')",
        "user_count_30d",
        "write cast(user_count_30d as string)",
    ),
    (
        "amount > 1 and timestamp in ('2026-01-01')",
        "timestamp",
        "timestamp is of type timestamp and is read as string",
    ),
    ("amount > 1 and amount in (device)", "amount", "amount is of type double and is read as string here"),
    ("device in ('a', 5)", "5", "5 is of type int and is read as string here"),
    ("device = 'a' and abs(amount) in ('100')", "abs(", "write cast(… as string) if you mean it"),
    (
        "amount > 1 and amount like '%.00'",
        "amount like",
        "amount is of type double and is read as string here",
    ),
    ("device = 'a' and endswith(amount, '.00')", "amount", "write cast(amount as string) if you mean it"),
    ("right(amount, 2) = '99'", "amount", "is read as string here"),
    ("concat(amount, '') = '500'", "amount", "is read as string here"),
    ("length(user_count_30d) > 3", "user_count_30d", "is read as string here"),
    ("coalesce(merchant_id, 0) is null", "0", "0 is of type int and is read as string here"),
    ("amount > 1 and merchant_id between 1 and 1000", "between", "… is a string and is read as int"),
    ("trim(merchant_id) = 100", "trim", "… is a string and is read as int here"),
    ("substring(merchant_id, 1) > 5", "substring", "is read as int here"),
    (
        "cast(merchant_id as decimal(20, 2)) > 5 and merchant_id > 3",
        "merchant_id > 3",
        "write cast(merchant_id as int) if you mean it",
    ),
    ("trim(device) < timestamp", "trim", "… is a string and is read as timestamp here"),
    ("hour(device) = 3", "device", "device is a string and is read as timestamp here"),
    ("amount > 1 and merchant_id = null", "merchant_id = null", "write `is null`"),
    ("merchant_id <> null", "merchant_id <>", "nothing is equal to null"),
    ("amount > null", "amount", "write `is null`"),
    ("amount in (null, 100)", "in", "nothing is equal to null"),
    ("amount > 3 * 1000000000", "3 *", "may exceed the largest int, 2,147,483,647; calculate with 1.0"),
    ("amount > 1 and cast(amount as int) * 1000 > 5", "cast(", "may exceed the largest int"),
    ("2147483647 + length(device) < 0", "2147483647 +", "may exceed the largest int"),
    ("amount > 2147483647 - -1", "2147483647", "may exceed the largest int"),
    ("user_idle < ln(1 + 70*365*24*3600)", "70*365", "may exceed the largest int"),
    ("cast(amount as smallint) = 5", "cast(", "may exceed the largest smallint, 32,767"),
    ("ceil(amount) * ceil(amount) > 5", "ceil(", "may exceed the largest bigint"),
    ("1 = 1", "1", "refers to no column"),
    ("amount in (select max(amount) from t)", "in (", "a subquery is not allowed"),
    ("exists(select 1)", "exists", "a subquery"),
    ("amount > (select 1)", "(select", "a subquery"),
    ("sum(amount) > 1", "sum", "the function sum is not allowed"),
    ("sum(amount) over (partition by user_id) > 1", "sum", "a window is not allowed"),
    ("rand() < amount", "rand", "the function rand is not allowed"),
    ("reflect('java.lang.System', 'exit', 1) = device", "reflect", "the function reflect is not allowed"),
    ("java_method('java.lang.System', 'exit', 1) = device", "java_method", "not allowed"),
    ("input_file_name() = device", "input_file_name", "not allowed"),
    ("raise_error(device)", "raise_error", "not allowed"),
    ("repeat(device, 1000000000) = ''", "repeat", "not allowed"),
    ("timestamp > now()", "now", "not allowed"),
    ("timestamp > current_timestamp", "current_timestamp", "no column"),
    ("timestamp > timestamp'now'", "timestamp'now'", "'now' has no date, so it depends on the clock"),
    ("device = '😀' and timestamp > date \"today\"", 'date "today"', "'today' has no date"),
    ("timestamp > timestamp_ntz 'yesterday Europe/Paris'", "timestamp_ntz", "has no date"),
    ("timestamp < timestamp_ltz'tomorrow'", "timestamp_ltz", "has no date"),
    ("timestamp > timestamp'epoch'", "timestamp'epoch'", "has no date"),
    ("timestamp > timestamp'09:00'", "timestamp'09:00'", "'09:00' has no date"),
    ("timestamp > '09:00'", "'09:00'", "'09:00' has no date, so it depends on the clock"),
    ("hour('T09:00') > amount", "'T09:00'", "'T09:00' has no date"),
    ("timestamp > cast(concat('no', 'w') as timestamp)", "concat", "write the date as one string"),
    ("spark_catalog.default.abs(amount) > 1", "spark", "not allowed"),
    ("exists(array(1), x -> x > amount)", "exists", "the function exists is not allowed"),
    ("device rlike '(a+)+$'", "rlike", "a regular expression is not allowed"),
    ("device like '%a%a%a%a%'", "like", "at most 3 `%`"),
    ("device like location", "like", "at most 3 `%`"),
    ("ceil(amount, 2000000000) > 1", "ceil", "ceil takes at most 1 argument"),
    ("amount > 1 as b", "amount", "a name after `as`"),
    ("amount > :limit", ":limit", "a parameter"),
    ("identifier('amount') > 1", "identifier", "is not allowed"),
    ("device = '${env:PATH}'", "${", "is not allowed"),
    ("user_id.a = 'x'", "user_id.a", "no column user_id.a"),
    ("device[0] = 'a'", "device", "is not allowed"),
    ("extract(century from timestamp) > 3", "extract", "Cannot extract"),
    ("abs(distinct amount) > 1", "abs", "DISTINCT"),
    ("(" * 100, "(" * 60, "more than 40 nested brackets"),
    ("not " * 400 + "isnull(device)", "not not", "more than 300 parts"),
)


def test_a_condition_that_may_not_run_is_shown_where_it_is_wrong(spark: SparkSession) -> None:
    """Hostile or mistyped: one sentence each, and the first character of what is meant."""
    empty = no_rows(spark)
    for condition, at, message in WRONG:
        found = faults(spark, empty, condition)
        assert found, condition
        assert message in found[0].message, (condition, found)
        assert condition[found[0].index :].startswith(at), (condition, found)


RIGHT = (
    "amount between 10 and 20 or device in ('ios', 'web')",
    "case when amount > 1 then location_change = 1 else false end",
    "if(amount > 1, device like '%x%', isnull(merchant_id))",
    "timestamp >= '2025-01-01' and hour(timestamp) < 6 and extract(year from timestamp) = 2025",
    "cast(device as decimal(20, 2)) > 3 or amount::int % 10 = 0",
    "coalesce(merchant_id, currency, '') <=> '' -- a remark",
    "timestamp > timestamp'2025-01-01 09:00' or timestamp < date'2025-02-01' or timestamp > '2025'",
    "device = \"timestamp'now'\" or contains(device, 'date ''today''') and amount > 1",
    "cast(substring(transaction_id, 3, 10) as date) < timestamp",
    "amount in (100, 200.5) or device not in ('ios', 'web') or timestamp in (date'2026-01-01')",
    "cast(amount as string) in ('100.0') or (amount :: string) not in ('1.0', device)",
    "lower(trim(device)) || '!' = concat('a', '!')",
    "left(timestamp, 10) = '2026-01-31' or timestamp like '2026-01-%'",
    "cast(amount as string) like '%.00' or amount = '100' or merchant_id <=> null",
    "(hour(timestamp) + 22) % 24 < 6 and 2 * length(device) + year(timestamp) * 100 > 5",
    "user_idle < ln(1 + 30 * 60) and floor(amount) * 100 % 7 = 0 and cast(amount as bigint) * 1000 > 5",
    "amount > 3 * 1000000000.0 and amount > 3e9 and amount > 3000000000 and cast(amount as int) % 100 = 0",
    "coalesce(case when amount > 1 then null else device end, nullif(merchant_id, '')) is not null",
    "`amount` is distinct from user_amount_mean and not isnan(amount)",
    "`Amount` > greatest(100, 3 * user_amount_mean, try_divide(amount, 0))",
)


def test_what_an_analyst_writes_is_taken(spark: SparkSession) -> None:
    check(spark, [rule(condition, f"r{i}") for i, condition in enumerate(RIGHT)])


def test_every_function_on_the_list_exists_and_gives_the_same_twice(spark: SparkSession) -> None:
    """A list that named one that Spark lacks, or one that draws a chance, would promise what does not hold."""
    for name in FUNCTIONS:
        usage = " ".join(row[0] for row in spark.sql(f"describe function extended {name}").collect())
        assert f"Function: {name}" in usage
        assert "non-deterministic" not in usage


def test_mistakes_in_conditions_have_the_line_and_column_of_the_file(
    spark: SparkSession, tmp_path: Path
) -> None:
    """Over several lines, quoted with doubled quotes, folded; all of them in one error."""
    path = tmp_path / "rules.yaml"
    path.write_text(
        "- name: one\n"
        "  condition: |\n"
        "    amount > 5\n"
        "      and user_cnt_10m > 3\n"
        "  reason: x\n"
        "  severity: low\n"
        "- {name: two, reason: x, severity: low,\n"
        "   condition: 'device = ''a'' and amunt > 1'}\n"
        "- name: three\n"
        "  condition: amount > 5\n"
        "    and amount >\n"
        "    email\n"
        "  reason: x\n"
        "  severity: low\n"
    )
    with pytest.raises(RuleMistakes) as caught:
        check(spark, load_rules(path))
    found = [(m.rule, m.line, m.column) for m in caught.value.mistakes]
    assert found == [("one", 4, 11), ("two", 8, 35), ("three", 12, 5)]
    assert caught.value.message.startswith(str(path))


def test_rules_are_checked_here_whatever_cluster_is_set(tmp_path: Path, filled_cache: Path) -> None:
    """One whose streams hold all slots let the check, and the backtest, wait without a word."""
    (tmp_path / "rules.yaml").write_text(
        "- {name: large, condition: amount > 5, reason: much, severity: low}\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "fraudstream", "rules", "check", "rules.yaml", "--json"],
        env=without_settings() | {
            "FRAUDSTREAM_SPARK__MASTER": "spark://127.0.0.1:1",
            "FRAUDSTREAM_HOME": str(tmp_path),
            "FRAUDSTREAM_JARS": str(filled_cache),
        },
        cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert (done.returncode, json.loads(done.stdout)["ok"]) == (0, True), done.stderr


def test_nothing_unchecked_reaches_the_stream(spark: SparkSession) -> None:
    with pytest.raises(RuleMistakes, match="rule a: the function reflect is not allowed"):
        RuleSet(spark, [rule("reflect('java.lang.System', 'exit', 1) = device")])
