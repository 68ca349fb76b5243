"""Decisions of a batch in a worker, where nothing has to be looked up."""

from datetime import UTC, datetime

import pyarrow as pa
import pytest

from fraudstream.model.packing import unpack
from fraudstream.settings import PostgresSettings
from fraudstream.spark.lookup import ORIGIN, RISK, Lookup, judged
from model_world import ensemble, packed


@pytest.mark.parametrize("values", [[b"poison"], [None, b"{}"], []])
def test_a_batch_without_a_single_transaction_is_refused_message_by_message(
    values: list[bytes | None],
) -> None:
    """On a quiet topic a bad message comes alone: it ended the scorer, and each restart met it again."""
    manifest, artifact = packed("m", ensemble(("amount", 100.0, -3.0, 3.0)))
    lookup = Lookup.of(PostgresSettings(), unpack(artifact, str(manifest["version"])), ("amount",))
    at = {"topic": "t", "partition": 0, "offset": 7, "sent_at": datetime.now(UTC)}
    columns = [pa.array([at[name]] * len(values), kind) for name, kind in ORIGIN.items()]
    batch = pa.record_batch([*columns, pa.array(values, pa.binary())], names=[*ORIGIN, "value"])
    found = judged(lookup, batch)
    assert found[RISK].to_pylist() == [None] * len(values)
    assert all(found["rejected"].to_pylist())
