"""Decisions batch by batch in Python workers, with profiles looked up for each batch.

A broadcast puts every profile into every executor and is sent again with each hand-over. Here a worker queries PostgreSQL
only for the profiles of its batch's customers, devices and merchants: memory is proportional to the batch, and
profiles are as fresh as the batch. It needs Python, which real-time mode does not allow; and as Python runs anyway, it
also decodes messages, computes features and evaluates the trees, whole batches at a time in numpy.

This module imports Spark only for planning: workers are forked with the module loaded (`spark.daemon`).
"""

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache, partial
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fraudstream import decision, schema
from fraudstream.arrays import Floats, Integers, Truths
from fraudstream.decode import Decoded, Decoder
from fraudstream.errors import DatabaseUnreachable
from fraudstream.features import definitions, joined
from fraudstream.features.events import INSTANT, Events
from fraudstream.model.artifact import ESTIMATOR, TREES, Model
from fraudstream.model.risk import checked_risk
from fraudstream.settings import PostgresSettings
from fraudstream.store import connection, held, snapshot
from fraudstream.store.snapshot import Folded, Snapshot

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from fraudstream.model.algorithms import Estimator
    from fraudstream.model.trees import Ensemble

ORIGIN: Final = {
    "topic": pa.string(),
    "partition": pa.int32(),
    "offset": pa.int64(),
} | {"sent_at": INSTANT}
"""A message's position in Kafka: columns that are passed through."""
PAID: Final = "paid"
"""The field `amount`, as a feature may have the same name."""
RISK: Final = "risk"
RETRY_SECONDS: Final = 1.0
"""Seconds before PostgreSQL is tried again if it did not answer."""
MODELS: Final = 2
"""A worker caches the current model and the previous one, which answers until it is replaced."""


@dataclass(frozen=True)
class Lookup:
    """The model, and where to look up profiles. Pickled into each task: no secret passes through Spark's settings."""

    postgres: PostgresSettings
    names: tuple[str, ...]
    """Features of a decision: the model's, then those that reasons and rules read."""
    content: bytes
    """The model's trees, or its estimator, as they are stored."""
    model: Model = field(compare=False)
    """Checksum of its content."""

    @classmethod
    def of(cls, postgres: PostgresSettings, model: Model, names: tuple[str, ...]) -> "Lookup":
        """The lookup that decides with `model`."""
        kept = TREES if TREES in model.files else ESTIMATOR
        lean = Model(model.manifest, {kept: model.files[kept]})
        return cls(postgres, names, model.files[kept], lean)

    @cached_property
    def reads(self) -> Mapping[str, tuple[str, ...]]:
        """Columns of `shop.profiles` that it reads, by entity."""
        return definitions.profile_columns(self.names)

    @cached_property
    def columns(self) -> pa.Schema:
        """The schema of `judged`. A feature with the name of a field (`amount`) replaces it."""
        fields = {f.name: f.type for f in schema.arrow_schema() if f.name in decision.TRANSACTION_FIELDS}
        features = dict.fromkeys(self.names, pa.float64())
        others = {PAID: pa.float64(), RISK: pa.float64(), decision.REJECTED: pa.string()}
        return pa.schema([*(ORIGIN | fields | features | others).items()])

    def judge(self, raw: "DataFrame", _profiles: Mapping[str, "DataFrame"]) -> "DataFrame":
        """Rows with `columns` of the messages in `raw`, which has ORIGIN and the binary `value`. Nothing is broadcast to it.

        A task waits up to `postgres.retry_seconds` for PostgreSQL, then raises DatabaseUnreachable.
        """
        from pyspark.sql.pandas.types import from_arrow_schema

        return raw.select(*ORIGIN, "value").mapInArrow(
            partial(_each_judged, self), from_arrow_schema(self.columns)
        )


def _each_judged(asked: Lookup, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        yield from judged(asked, batch).to_batches()


def judged(asked: Lookup, batch: pa.RecordBatch) -> pa.Table:
    """`asked.columns` of a batch of messages, in their order; a message that is not a transaction has nulls and a reason.

    Raises DatabaseUnreachable, DatabaseError; InputError if an estimator returns an invalid risk.
    """
    decoded = Decoder(decision.TRANSACTION_FIELDS).decode(batch.column("value"))
    values = _features(asked, Events(decoded.rows), batch.take(pa.array(decoded.positions, pa.int64())))
    known = values[:, : len(asked.model.features)]
    risk = checked_risk(_judge(asked), known, f"Model {asked.model.version}")
    found = {name: decoded.rows[name] for name in decoded.rows.column_names}
    found |= {PAID: decoded.rows["amount"], RISK: pa.array(risk)}
    found |= {name: pa.array(values[:, place]) for place, name in enumerate(asked.names)}
    if decoded.rejects:
        places = _places(decoded, batch.num_rows)
        found = {name: column.take(places) for name, column in found.items()}
    reasons = {reject.position: reject.reason for reject in decoded.rejects}
    found[decision.REJECTED] = pa.array(map(reasons.get, range(batch.num_rows)), pa.string())
    found |= {name: batch.column(name) for name in ORIGIN}
    return pa.table([found[name] for name in asked.columns.names], schema=asked.columns)


def _features(asked: Lookup, events: Events, origin: pa.RecordBatch) -> Floats:
    if not len(events):
        return np.empty((0, len(asked.names)))
    found = _patiently(asked, events)
    return joined.features(events, found.profiles, asked.names, folded(origin, found.folded))


def folded(origin: pa.RecordBatch, below: Folded) -> Truths:
    """Which of these messages (ORIGIN) the profiles already include."""
    next_offset = np.zeros(origin.num_rows, dtype=np.int64)
    partition, topic = origin.column("partition").to_numpy(), origin.column("topic")
    for name, offsets in below.items():
        named = pc.equal(topic, name).to_numpy(zero_copy_only=False)
        for number, offset in offsets.items():
            next_offset[named & (partition == number)] = offset
    already: Truths = origin.column("offset").to_numpy() < next_offset
    return already


def _places(decoded: Decoded, messages: int) -> pa.Array:
    """For each message, the index of its row; null for a rejected one."""
    places: Integers = np.full(messages, -1)
    places[decoded.positions] = np.arange(len(decoded.positions))
    return pa.array(places, mask=places < 0)


@lru_cache(maxsize=MODELS)
def _judge(asked: Lookup) -> "Estimator | Ensemble":
    """What computes the risk, cached per worker: a batch of a hundred rows must not load a forest again."""
    return asked.model.scorer()


def _patiently(asked: Lookup, events: Events) -> Snapshot:
    """The profiles of these events, retrying until PostgreSQL answers. Raises DatabaseUnreachable, DatabaseError."""
    keys = {entity: joined.keys(events, entity) for entity in asked.reads}
    deadline = time.monotonic() + asked.postgres.retry_seconds
    while True:
        try:
            with connection.translated(asked.postgres):
                return snapshot.profiles_of(held.connection(asked.postgres), keys, asked.reads)
        except DatabaseUnreachable:
            held.close(asked.postgres)
            if time.monotonic() > deadline:
                raise
            time.sleep(RETRY_SECONDS)
