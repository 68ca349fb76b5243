"""What `produce` sent against the topics, and the topics against the tables, id by id."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
from confluent_kafka import Consumer, TopicPartition

from campaign.sent import missing
from feature_world import NUMBERS
from fraudstream import kafka
from fraudstream.decision import TRANSACTION_FIELDS
from fraudstream.decode import Decoder
from fraudstream.features.profiles import combine, fold, fold_labels
from fraudstream.schema import FIELDS
from fraudstream.settings import Settings
from fraudstream.store.connection import connect
from fraudstream.store.label_folding import fold_known
from fraudstream.store.training_rows import transactions
from profile_world import stored_profiles

Rejected = tuple[bytes | None, str]
"""A message that is no transaction, and why."""
UNREAD = set(FIELDS) - set(TRANSACTION_FIELDS)
"""The truth and personal fields: a message that is rejected for these alone is decided all the same."""


@dataclass
class Verdict:
    """What was compared, and what was wrong."""

    rows: dict[str, int] = field(default_factory=dict)
    """Rows checked, by table."""
    lost: int = 0
    doubled: int = 0
    changed: int = 0
    """Rows that are there and say something else."""
    findings: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether all is well."""
        return not (self.lost or self.doubled or self.changed or self.findings)

    def same(self, table: str, sent: dict[str, Any], stored: list[tuple[str, Any]]) -> None:
        """Compare what should be in a table with its rows of (id, content)."""
        self.rows[table] = len(stored)
        found = dict(stored)
        lost = sent.keys() - found.keys()
        foreign = found.keys() - sent.keys()
        changed = [name for name in sent.keys() & found.keys() if sent[name] != found[name]]
        self.lost += len(lost)
        self.doubled += len(stored) - len(found)
        self.changed += len(changed) + len(foreign)
        for what, names in (("lost", lost), ("never sent", foreign), ("changed", changed)):
            if names:
                self.findings.append(f"{table}: {len(names)} {what}, for example {min(names)}")


def messages(settings: Settings, name: str) -> list[tuple[int, int, bytes | None]]:
    """Everything that a topic holds: partition, offset, value."""
    topic = kafka.find_topic(settings.kafka, name)
    if topic is None:
        return []
    found: list[tuple[int, int, bytes | None]] = []
    bounds = kafka.bounds(settings.kafka, topic)
    left = {partition for partition, bound in bounds.items() if bound.end > bound.first}
    consumer = Consumer(
        kafka.client_config(settings.kafka)
        | {"group.id": "verdict", "enable.auto.commit": False, "isolation.level": "read_committed"}
    )
    consumer.assign([TopicPartition(name, partition, bounds[partition].first) for partition in left])
    while left:
        for message in consumer.consume(10_000, 30):
            error, partition, offset = message.error(), message.partition(), message.offset()
            if error is not None or partition is None or offset is None:
                raise RuntimeError(f"{name} cannot be read: {error}")
            found.append((partition, offset, message.value()))
        left -= {
            place.partition
            for place in consumer.position([TopicPartition(name, partition) for partition in left])
            if place.offset >= bounds[place.partition].end
        }
    consumer.close()
    return sorted(found)


def judge(settings: Settings, produced: Sequence[dict[str, Any]]) -> Verdict:
    """Compare everything; `produced` is what runs of `produce` reported. Streams are at rest and have caught up."""
    verdict = Verdict()
    sent = messages(settings, settings.kafka.transactions_topic)
    decoded = Decoder().decode([value for _, _, value in sent])
    rows = decoded.rows.to_pylist()
    bad = {reject.position for reject in decoded.rejects}
    places = [partition for at, (partition, _, _) in enumerate(sent) if at not in bad]
    _sent(verdict, [(p, row["transaction_id"]) for p, row in zip(places, rows, strict=True)], produced)
    _tables(verdict, settings, rows)
    _rejected(verdict, settings, [sent[reject.position] for reject in decoded.rejects])
    rejected = [(sent[reject.position][2], reject.reason) for reject in decoded.rejects]
    _scores(verdict, settings, {row["transaction_id"] for row in rows}, rejected)
    _sums(verdict, settings)
    _profiles(verdict, settings)
    return verdict


def _sent(verdict: Verdict, held: list[tuple[int, str]], produced: Sequence[dict[str, Any]]) -> None:
    """The topic has every message that was acknowledged: all that `produce` reported, and no gap in what it numbered."""
    acknowledged = sum(document.get("sent", 0) for document in produced)
    failed = sum(document.get("failed", 0) for document in produced)
    verdict.rows["acknowledged to produce"] = acknowledged
    gone = missing(held, len({partition for partition, _ in held}))
    if len(gone) > failed:
        verdict.lost += len(gone)
        verdict.findings.append(f"the topic lacks {len(gone)} of its numbers, for example {min(gone)}")
    if len(held) < acknowledged:
        verdict.lost += acknowledged - len(held)
        verdict.findings.append(f"the topic holds {len(held)} of {acknowledged} that were acknowledged")


def _query(settings: Settings, query: str) -> list[tuple[Any, ...]]:
    with connect(settings.postgres) as connection:
        return connection.execute(query.encode()).fetchall()


def _tables(verdict: Verdict, settings: Settings, rows: list[dict[str, Any]]) -> None:
    for table, is_fraud in (("transactions", False), ("fraud_transactions", True)):
        wanted = {
            row["transaction_id"]: (row["user_id"], row["timestamp"], row["amount"], row["email"])
            for row in reversed(rows)
            if bool(row["is_fraud"]) is is_fraud
        }
        stored = _query(
            settings, f"select transaction_id, user_id, timestamp, amount, email from shop.{table}"
        )
        verdict.same(table, wanted, [(row[0], row[1:]) for row in stored])


def _rejected(verdict: Verdict, settings: Settings, bad: list[tuple[int, int, bytes | None]]) -> None:
    stored = _query(settings, 'select partition, "offset", value from shop.rejected')
    verdict.same(
        "rejected",
        {f"{partition}/{offset}": value for partition, offset, value in bad},
        [(f"{row[0]}/{row[1]}", None if row[2] is None else bytes(row[2])) for row in stored],
    )


def _scores(verdict: Verdict, settings: Settings, ids: set[str], rejected: Sequence[Rejected]) -> None:
    """Every transaction has an answer in the topic; the table has the first one, the alerts those that flag."""
    first: dict[str, dict[str, Any]] = {}
    answers = 0
    # A customer's messages share a partition, and so do the answers: the first is the one with the lowest offset.
    for _, _, value in messages(settings, settings.kafka.scored_topic):
        decision = json.loads(value or b"{}")
        if "transaction_id" in decision:
            answers += 1
            first.setdefault(decision["transaction_id"], decision)
    verdict.rows["answers in the topic"] = answers
    compare_answers(verdict, ids, rejected, set(first))
    stored = _query(settings, "select transaction_id, risk, flagged, model_version from shop.scores")
    wanted = {name: (d["risk"], d["flagged"], d["model_version"]) for name, d in first.items()}
    verdict.same("scores", wanted, [(row[0], row[1:]) for row in stored])
    alerts = _query(settings, "select transaction_id, jsonb_array_length(reasons) > 0 from shop.alerts")
    verdict.same("alerts", {name: True for name, d in first.items() if d["flagged"]}, [*alerts])


def compare_answers(
    verdict: Verdict, ids: set[str], rejected: Iterable[Rejected], answered: set[str]
) -> None:
    """Each transaction is answered, and nothing else but messages that are rejected for what the scorer never reads."""
    beside = {
        json.loads(value)["transaction_id"] for value, reason in rejected if value and _is_decided(reason)
    }
    verdict.rows["answers to rejected ones"] = len((beside - ids) & answered)
    for what, names in (
        ("no answer to {}, for example {}", (ids | beside) - answered),
        ("{} answers to no transaction, for example {}", answered - ids - beside),
    ):
        if names:
            verdict.findings.append(what.format(len(names), min(names)))
    verdict.lost += len((ids | beside) - answered)


def _is_decided(reason: str) -> bool:
    """Whether a message is rejected for nothing but fields that the scorer does not read.

    >>> _is_decided("is_fraud: Input should be 0; email: contains a NUL character")
    True
    >>> _is_decided("is_fraud: Input should be 0; amount: Input should be greater than 0")
    False
    """
    return {problem.partition(":")[0] for problem in reason.split("; ")} <= UNREAD


def _sums(verdict: Verdict, settings: Settings) -> None:
    tables = {
        "transactions": "transactions",
        "fraud": "fraud_transactions",
        "scores": "scores",
        "alerts": "alerts",
    }
    counted = {
        f"{kind} {hour}": count
        for kind, table in tables.items()
        for hour, count in _query(
            settings, f"select date_trunc('hour', timestamp)::text, count(*) from shop.{table} group by 1"
        )
    }
    stored = _query(settings, "select kind || ' ' || hour::text, count from shop.hourly")
    verdict.same("hourly", counted, [*stored])


def _profiles(verdict: Verdict, settings: Settings) -> None:
    """Every profile equals one that is worked out anew from the tables, to 1e-9."""
    fold_known(settings.postgres, datetime.now(UTC), timedelta(days=settings.model.label_delay_days))
    rows = transactions(settings.postgres)
    # Not up to now less the delay: a consumer whose clock had jumped ahead may have folded what is known later still.
    ((watermark,),) = _query(settings, "select reached from shop.watermarks where name = 'truth'")
    known = transactions(settings.postgres, until=watermark + timedelta(microseconds=1))
    expected = combine([fold(rows), fold_labels(known)])
    found = stored_profiles(settings.postgres)
    verdict.rows["profiles"] = found.num_rows
    if _keys(found) != _keys(expected):
        verdict.findings.append(f"profiles: {found.num_rows} stored, {expected.num_rows} worked out")
        return
    for name in NUMBERS:
        ours, theirs = found[name].to_numpy(), expected[name].to_numpy()
        off = ~np.isclose(ours, theirs, rtol=1e-9, atol=1e-90)
        if off.any():
            verdict.changed += int(off.sum())
            verdict.findings.append(f"profiles: {int(off.sum())} differ in {name}")


def _keys(table: pa.Table) -> list[tuple[str, str]]:
    return list(zip(table["entity"].to_pylist(), table["key"].to_pylist(), strict=True))
