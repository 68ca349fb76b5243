"""The tables of the schema `shop` in SQLAlchemy Core.

The migrations create them; a test proves that both agree. Columns of transactions come from
`schema.KINDS` and those of profiles from `features.catalogue`, so each is declared once in the whole program.
"""

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Double,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.types import TypeEngine

from fraudstream.features.catalogue import COLUMNS, KEY_COLUMNS
from fraudstream.schema import ID_LENGTH, KINDS, NOTE_LENGTH, REQUIRED, TEXT_LENGTH, Kind
from fraudstream.store.connection import SCHEMA

metadata = MetaData(schema=SCHEMA)


def _column_type(kind: Kind) -> TypeEngine[Any]:
    types: dict[Kind, TypeEngine[Any]] = {
        "text": Text(),
        "instant": DateTime(timezone=True),
        "float": Double(),
        "truth": Boolean(),
    }
    return types[kind]


def _instant(name: str, **options: Any) -> Column[Any]:
    return Column(name, DateTime(timezone=True), **options)


def _number(name: str, kind: type[Integer] = Integer, **options: Any) -> Column[Any]:
    """An integer of a primary key; SQLAlchemy would let the database number the rows."""
    return Column(name, kind, primary_key=True, autoincrement=False, **options)


SPANS = {"timestamp": "timestamptz_minmax_multi_ops"}
"""Several spans for each block range: with one, a payment in 5,000 that comes a week late made a query read every range, in
400 ms instead of 1."""


def _transactions(name: str) -> Table:
    return Table(
        name,
        metadata,
        *(
            Column(
                field,
                _column_type(kind),
                primary_key=field == "transaction_id",
                nullable=field not in REQUIRED,
            )
            for field, kind in KINDS.items()
        ),
        # Messages arrive nearly in time order, so a block-range index finds a day in 10,000,000 rows
        # and costs the writer next to nothing; a B-tree would cost it a fifth of its rate.
        Index(f"{name}_timestamp", "timestamp", postgresql_using="brin", postgresql_ops=SPANS),
        # Bloom filters of block ranges: a customer's month among 10,000,000 rows in 0.05 s instead of 3 s, for 21 MB.
        # Writes cost nothing, as vacuum builds the summaries later; until then the newest rows are scanned, so vacuum
        # must not wait until a fifth of the table is new, as it does by default.
        Index(
            f"{name}_user_id",
            "user_id",
            postgresql_using="brin",
            # Rows of this table in 16 pages: each may be of another customer.
            postgresql_ops={"user_id": "text_bloom_ops(n_distinct_per_range=1200)"},
            postgresql_with={"pages_per_range": 16},
        ),
        postgresql_with={
            "autovacuum_vacuum_insert_scale_factor": 0,
            "autovacuum_vacuum_insert_threshold": 500_000,
        },
    )


transactions = _transactions("transactions")
"""Every transaction whose message does not say that it is fraud: `is_fraud` is false or null."""
fraud_transactions = _transactions("fraud_transactions")
"""Every transaction whose message says that it is fraud."""

stream_offsets = Table(
    "stream_offsets",
    metadata,
    Column("target", Text, primary_key=True),
    Column("topic", Text, nullable=False),
    Column(
        "topic_id",
        Text,
        primary_key=True,
        comment="The broker's UUID: a topic made anew starts at its own zero.",
    ),
    _number("partition"),
    Column(
        "next_offset",
        BigInteger,
        nullable=False,
        comment="Every message below is in the target, and none at or above.",
    ),
    _instant("updated_at", nullable=False, server_default=func.now()),
)

rejected = Table(
    "rejected",
    metadata,
    Column("topic", Text, nullable=False),
    Column("topic_id", Text, primary_key=True),
    _number("partition"),
    _number("offset", BigInteger),
    Column("key", LargeBinary),
    Column("value", LargeBinary, comment="The message, byte for byte; null for a tombstone."),
    Column("reason", Text, nullable=False),
    _instant("rejected_at", nullable=False, server_default=func.now()),
    _instant("replayed_at", comment="When it was sent to the topic again."),
    Index("rejected_rejected_at", "rejected_at"),
)

_COMMENTS = {
    "last_at": "The latest transaction; counters hold at it.",
    "last_gap": "Seconds between the latest two transactions, at most a year.",
    "amount_second": "The second largest amount.",
}

profiles = Table(
    "profiles",
    metadata,
    *(
        Column(
            name,
            _column_type(kind),
            primary_key=name in KEY_COLUMNS,
            nullable=False,
            comment=_COMMENTS.get(name),
        )
        for name, kind in COLUMNS.items()
    ),
    postgresql_with={"fillfactor": 70},
)
"""The profile of each user, device, place and merchant."""

labels = Table(
    "labels",
    metadata,
    Column("label_id", BigInteger, Identity(always=True), primary_key=True),
    Column("transaction_id", Text, nullable=False),
    Column("is_fraud", Boolean, nullable=False),
    _instant("labelled_at", nullable=False, server_default=func.now()),
    Column("labelled_by", Text),
    Column("note", Text),
    _instant("folded_at", comment="When it was folded into the profiles."),
    Column(
        "recorded_by",
        Text,
        server_default=text("session_user"),
        comment="The login that wrote it, as the database knows it.",
    ),
    # The latest label counts: one in the future could not be corrected.
    CheckConstraint("labelled_at <= now()", name="labels_not_of_the_future"),
    # PostgreSQL allows infinity and years before 1, which Python cannot represent.
    CheckConstraint("labelled_at >= '0001-01-01 00:00:00+00'", name="labels_of_a_year"),
    CheckConstraint(
        f"length(transaction_id) <= {ID_LENGTH} and length(labelled_by) <= {TEXT_LENGTH}"
        f" and length(note) <= {NOTE_LENGTH}",
        name="labels_of_a_length",
    ),
    Index("labels_transaction_id", "transaction_id"),
    Index("labels_waiting", "labelled_at", postgresql_where=text("folded_at is null")),
    # Every precision shown needs to know whether anything was labelled legitimate in its period.
    Index("labels_legitimate", "labelled_at", postgresql_where=text("not is_fraud")),
)
"""Labels: rows are added and never changed, except `folded_at`; the latest of a transaction counts."""

label_files = Table(
    "label_files",
    metadata,
    Column(
        "sha256", Text, primary_key=True, comment="Of the file's bytes and of how its columns were mapped."
    ),
    Column("name", Text, nullable=False),
    Column("added", BigInteger, nullable=False),
    _instant("read_at", nullable=False, server_default=func.now()),
)
"""Files of labels that were read: importing one again adds only labels that were in the future, whatever was said since."""

watermarks = Table(
    "watermarks",
    metadata,
    Column("name", Text, primary_key=True),
    _instant("reached", nullable=False),
)
"""How far something has progressed in transaction time."""

models = Table(
    "models",
    metadata,
    Column("version", Text, primary_key=True),
    Column("status", Text, nullable=False),
    _instant("created_at", nullable=False, server_default=func.now()),
    _instant("promoted_at", comment="When it last became champion by promotion."),
    Column("algorithm", Text, nullable=False),
    Column("manifest", JSONB, nullable=False),
    Column("artifact", LargeBinary, nullable=False),
    Column("sha256", Text, nullable=False, comment="Of the artifact's bytes."),
    CheckConstraint("status in ('candidate', 'champion', 'retired', 'rolled_back')", name="models_status"),
    Index("models_one_champion", "status", unique=True, postgresql_where=text("status = 'champion'")),
)
"""Trained models, and which of them scores: the champion."""


scores = Table(
    "scores",
    metadata,
    Column("transaction_id", Text, primary_key=True),
    Column("user_id", Text, nullable=False),
    _instant("timestamp", nullable=False),
    Column("amount", Double, nullable=False),
    Column("risk", Double, nullable=False),
    Column("flagged", Boolean, nullable=False),
    Column("rules", ARRAY(Text), nullable=False),
    Column("model_version", Text, nullable=False),
    _instant("scored_at", nullable=False),
    _instant("sent_at", comment="When the transaction's message entered Kafka."),
    Index("scores_timestamp", "timestamp", postgresql_using="brin", postgresql_ops=SPANS),
    Index("scores_scored_at", "scored_at", postgresql_using="brin"),
)
"""The first decision on every transaction."""

alerts = Table(
    "alerts",
    metadata,
    Column("transaction_id", Text, primary_key=True),
    Column("user_id", Text, nullable=False),
    _instant("timestamp", nullable=False),
    Column("amount", Double, nullable=False),
    *(
        Column(name, Text)
        for name in ("device", "location", "transaction_location", "merchant_id", "currency")
    ),
    Column("risk", Double, nullable=False),
    Column("rules", ARRAY(Text), nullable=False),
    Column("model_version", Text, nullable=False),
    _instant("scored_at", nullable=False),
    _instant("sent_at"),
    _instant("stored_at", nullable=False, server_default=func.now()),
    Column(
        "reasons", JSONB, nullable=False, comment="What contributed most: feature, contribution, sentence."
    ),
    Column("features", JSONB, nullable=False, comment="As the decision saw them."),
    Index("alerts_scored_at", "scored_at"),
    Index("alerts_stored_at", "stored_at"),
    Index("alerts_timestamp", "timestamp"),
    Index("alerts_user_id", "user_id", "timestamp"),
    # The orders of the review queue, whose first rows would else be sorted out of all alerts.
    Index("alerts_risk", "risk", "scored_at", "transaction_id"),
    Index("alerts_amount", "amount", "scored_at", "transaction_id"),
)
"""Decisions that flagged, with their reasons."""

hourly = Table(
    "hourly",
    metadata,
    Column("kind", Text, primary_key=True, comment="transactions, fraud, scores or alerts."),
    _instant("hour", primary_key=True, comment="Of the transactions' own time."),
    Column("count", BigInteger, nullable=False),
    Column("amount", Double, nullable=False),
)
"""Rows and money per hour: a chart of months reads hundreds of rows, not millions."""

risk_bins = Table(
    "risk_bins",
    metadata,
    Column("model_version", Text, primary_key=True),
    _instant("hour", primary_key=True, comment="Of scored_at."),
    _number("bin", comment="In the manifest's score_reference."),
    Column("count", BigInteger, nullable=False),
)
"""Risks per hour in the bins of each model's own reference, from which drift is computed."""

latency_bins = Table(
    "latency_bins",
    metadata,
    _instant("minute", primary_key=True, comment="Of scored_at."),
    _number("bin", comment="50 times the logarithm of seconds."),
    Column("count", BigInteger, nullable=False),
)
"""Latency of decisions, from a transaction's entry into Kafka."""

stream_progress = Table(
    "stream_progress",
    metadata,
    Column("stream", Text, primary_key=True, comment="Which command: consume, score, …"),
    Column("topic", Text, primary_key=True),
    _number("partition"),
    Column("next_offset", BigInteger, nullable=False),
    Column("end_offset", BigInteger, nullable=False, comment="Of the partition; lag is the difference."),
    Column("rows_per_second", Double, nullable=False, comment="Of the whole stream."),
    _instant("updated_at", nullable=False, server_default=func.now()),
    _instant("moved_at", comment="When next_offset last changed, or nothing waited."),
    Column("patience_seconds", Double, comment="So long after moved_at it is stuck, if messages wait."),
)
"""The last reported position of each stream."""
