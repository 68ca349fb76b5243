"""The tables of the schema `shop`, as SQLAlchemy Core knows them.

The migrations make them; a test proves that both agree. Columns of transactions come from
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
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.types import TypeEngine

from fraudstream.features.catalogue import COLUMNS, KEY_COLUMNS
from fraudstream.schema import KINDS, REQUIRED, Kind

SCHEMA = "shop"
metadata = MetaData(schema=SCHEMA)


def _column_type(kind: Kind) -> TypeEngine[Any]:
    types: dict[Kind, TypeEngine[Any]] = {
        "text": Text(),
        "instant": DateTime(timezone=True),
        "float": Double(),
        "truth": Boolean(),
    }
    return types[kind]


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
        Index(f"{name}_timestamp", "timestamp", postgresql_using="brin"),
    )


transactions = _transactions("transactions")
"""Every transaction that nobody has called fraud: `is_fraud` is false or null."""
fraud_transactions = _transactions("fraud_transactions")
"""Every transaction whose message says `is_fraud`."""

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
    Column("partition", Integer, primary_key=True, autoincrement=False),
    Column(
        "next_offset",
        BigInteger,
        nullable=False,
        comment="Every message below is in the target, and none at or above.",
    ),
    Column("updated_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
)

rejected = Table(
    "rejected",
    metadata,
    Column("topic", Text, nullable=False),
    Column("topic_id", Text, primary_key=True),
    Column("partition", Integer, primary_key=True, autoincrement=False),
    Column("offset", BigInteger, primary_key=True, autoincrement=False),
    Column("key", LargeBinary),
    Column("value", LargeBinary, comment="The message, byte for byte; null for a tombstone."),
    Column("reason", Text, nullable=False),
    Column("rejected_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("replayed_at", DateTime(timezone=True), comment="When it was sent to the topic again."),
)

profiles = Table(
    "profiles",
    metadata,
    *(
        Column(
            name,
            _column_type(kind),
            primary_key=name in KEY_COLUMNS,
            nullable=False,
            comment="The latest transaction; counters hold at it." if name == "last_at" else None,
        )
        for name, kind in COLUMNS.items()
    ),
    postgresql_with={"fillfactor": 70},
)
"""What is remembered of each user, device, place and merchant."""

labels = Table(
    "labels",
    metadata,
    Column("label_id", BigInteger, Identity(always=True), primary_key=True),
    Column("transaction_id", Text, nullable=False),
    Column("is_fraud", Boolean, nullable=False),
    Column("labelled_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("labelled_by", Text),
    Column("note", Text),
    Column("folded_at", DateTime(timezone=True), comment="When it was folded into the profiles."),
    Index("labels_transaction_id", "transaction_id"),
    Index("labels_waiting", "labelled_at", postgresql_where=text("folded_at is null")),
)
"""What people said: rows are added, never changed but for `folded_at`; the latest of a transaction counts."""

watermarks = Table(
    "watermarks",
    metadata,
    Column("name", Text, primary_key=True),
    Column("reached", DateTime(timezone=True), nullable=False),
)
"""How far something has come in the time of transactions."""

models = Table(
    "models",
    metadata,
    Column("version", Text, primary_key=True),
    Column("status", Text, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("promoted_at", DateTime(timezone=True), comment="When it last became champion by promotion."),
    Column("algorithm", Text, nullable=False),
    Column("manifest", JSONB, nullable=False),
    Column("artifact", LargeBinary, nullable=False),
    Column("sha256", Text, nullable=False, comment="Of the artifact's bytes."),
    CheckConstraint("status in ('candidate', 'champion', 'retired', 'rolled_back')", name="models_status"),
    Index("models_one_champion", "status", unique=True, postgresql_where=text("status = 'champion'")),
)
"""Trained models, and which of them scores: the champion."""
