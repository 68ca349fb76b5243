"""A stored stream for the pages of the dashboard: simulated customers, a trained model, its decisions, some verdicts.

Everything goes the way it goes in life (the sink, the training, the reasons); only Kafka and Spark are left out.
"""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import numpy as np

from fraudstream.features.training import view
from fraudstream.micros import SECOND
from fraudstream.model import artifact, packing
from fraudstream.model.artifact import Model
from fraudstream.model.training import Request, train
from fraudstream.producer.simulated import Plan, simulated
from fraudstream.settings import PostgresSettings
from fraudstream.simulate import World
from fraudstream.store import alerts, labels, registry, review, training_rows
from fraudstream.store.connection import connect
from fraudstream.store.migrate import migrate
from fraudstream.store.offsets import Source
from profile_world import messages, store
from samples import BAD

DAYS, SCORED_DAYS = 40, 4
QUICKEST = timedelta(milliseconds=7)


def seed(postgres: PostgresSettings, users: int = 120, algorithm: str = "isolation_forest") -> Model:
    """Fill the database; returns the champion. Ends with this hour, so that the last hour has decisions."""
    migrate(postgres)
    start = datetime.now(UTC) - timedelta(days=DAYS)
    plan = Plan(round(start.timestamp() * SECOND), fraud_rate=0.012, days=DAYS, rate=None)
    values = [value for batch in simulated(World(users=users), plan) for value in batch.values]
    store(postgres, [messages(values)])
    store(
        postgres,
        [messages([value for value, _ in BAD.values()])],
        source=Source("transactions-data", "bad", 1),
    )
    champion = _trained(postgres, Request(algorithm, alert_rate=0.05, label_delay_days=7))
    registry.promote(postgres, champion.version)
    _trained(
        postgres,
        Request("isolation_forest", ("amount", "device_freq", "location_change"), label_delay_days=7),
    )
    _decide(postgres, champion)
    _review(postgres)
    _progress(postgres)
    return champion


def _trained(postgres: PostgresSettings, request: Request) -> Model:
    made = train(training_rows.transactions(postgres), request)
    registry.register(postgres, made.report, packing.pack(made.files))
    return artifact.verified(made.files, "memory")


def _decide(postgres: PostgresSettings, model: Model) -> None:
    """Decisions on the last days, as the scorer gives them."""
    rows = training_rows.transactions(postgres)
    x = view(rows, 7, model.features).values
    last = np.flatnonzero(
        rows["timestamp"].cast("int64").to_numpy()
        >= (datetime.now(UTC) - timedelta(days=SCORED_DAYS)).timestamp() * SECOND
    )
    risk = model.risk(x[last])
    context = rows.select(
        [
            "transaction_id",
            "user_id",
            "amount",
            "device",
            "location",
            "transaction_location",
            "merchant_id",
            "currency",
            "timestamp",
        ]
    ).take(last)
    decisions = [
        decision(row, float(r), model, dict(zip(model.features, values, strict=True)))
        for row, r, values in zip(context.to_pylist(), risk, x[last].tolist(), strict=True)
    ]
    store(postgres, [messages(decisions)], ("scores",), Source("transactions-scored", "scored", 0))


def decision(row: dict[str, Any], risk: float, model: Model, features: dict[str, float]) -> bytes:
    """A message of the topic of decisions."""
    return msgspec.json.encode(
        row
        | {
            "risk": risk,
            "flagged": risk >= model.threshold,
            "rules": [],
            "model_version": model.version,
            "sent_at": row["timestamp"],
            "scored_at": row["timestamp"]
            + QUICKEST * float(np.random.default_rng(len(features) + round(row["amount"])).pareto(4) + 1),
            "features": features,
        }
    )


def _review(postgres: PostgresSettings) -> None:
    """Half of the older alerts were looked at; now and then somebody was wrong."""
    for place, alert in enumerate(alerts.alerts(postgres, limit=1000)[8:]):
        if place % 2 == 0:
            said = bool(alert.truth) if place % 14 else not alert.truth
            labels.label(
                postgres, alert.transaction_id, said, "ana", "called the customer" if place % 6 == 0 else None
            )


def _progress(postgres: PostgresSettings) -> None:
    with connect(postgres) as connection:
        connection.execute(
            """
            insert into shop.stream_progress (stream, topic, partition, next_offset, end_offset, rows_per_second)
            select stream, topic, p, 12000 + 31 * p, 12000 + 31 * p + lag * p, 98.5
            from (values ('consume', 'transactions-data', 3), ('score', 'transactions-data', 1)) as s (stream, topic, lag),
              generate_series(0, 3) as p"""
        )


def waiting(postgres: PostgresSettings) -> list[str]:
    """The alerts that nobody has reviewed, in the order of the queue."""
    return [alert.transaction_id for alert in review.queue(postgres, review.Wanted())]
