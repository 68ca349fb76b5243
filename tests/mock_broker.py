"""librdkafka's own mock broker, whose partitions lose their leader, and which refuses requests, when a test says so."""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import confluent_kafka
import pytest

NOBODY = -1
BROKER = 1
_PRODUCE = 0
"""Kafka's number of the request that writes messages."""
_LIST_OFFSETS = 2
"""And of the one that asks where partitions begin and end."""


@dataclass(frozen=True)
class MockBroker:
    """One broker with topics of its own."""

    library: ctypes.CDLL
    cluster: ctypes.c_void_p
    servers: str

    def create(self, topic: str, partitions: int) -> None:
        """Make a topic."""
        assert not self.library.rd_kafka_mock_topic_create(self.cluster, topic.encode(), partitions, 1)

    def lead(self, topic: str, partition: int, broker: int) -> None:
        """Let this broker lead the partition, or NOBODY."""
        name = topic.encode()
        assert not self.library.rd_kafka_mock_partition_set_leader(self.cluster, name, partition, broker)

    def go(self) -> None:
        """Close every connection, and take none, until `come`."""
        assert not self.library.rd_kafka_mock_broker_set_down(self.cluster, BROKER)

    def come(self) -> None:
        """Be there again."""
        assert not self.library.rd_kafka_mock_broker_set_up(self.cluster, BROKER)

    def refuse_messages(self, code: int, requests: int) -> None:
        """Answer so many requests to write messages with this error."""
        self._refuse(_PRODUCE, code, requests)

    def refuse_offsets(self, code: int, requests: int) -> None:
        """Answer so many requests for the offsets of partitions with this error."""
        self._refuse(_LIST_OFFSETS, code, requests)

    def _refuse(self, kind: int, code: int, requests: int) -> None:
        errors = (ctypes.c_int * requests)(*[code] * requests)
        self.library.rd_kafka_mock_push_request_errors_array(self.cluster, kind, requests, errors)


def _library() -> ctypes.CDLL:
    """The librdkafka that confluent-kafka brings: its Python part has no word for leaders."""
    found = sorted((Path(confluent_kafka.__file__).parents[1] / "confluent_kafka.libs").glob("librdkafka*"))
    if not found:
        pytest.skip("confluent-kafka keeps its librdkafka elsewhere")
    library = ctypes.CDLL(str(found[0]))
    pointer, text = ctypes.c_void_p, ctypes.c_char_p
    for name, result, arguments in (
        ("conf_new", pointer, []),
        ("conf_set", ctypes.c_int, [pointer, text, text, text, ctypes.c_size_t]),
        ("new", pointer, [ctypes.c_int, pointer, text, ctypes.c_size_t]),
        ("destroy", None, [pointer]),
        ("mock_cluster_new", pointer, [pointer, ctypes.c_int]),
        ("mock_cluster_destroy", None, [pointer]),
        ("mock_cluster_bootstraps", text, [pointer]),
        ("mock_push_request_errors_array", None, [pointer, ctypes.c_int16, ctypes.c_size_t, pointer]),
        ("mock_broker_set_down", ctypes.c_int, [pointer, ctypes.c_int32]),
        ("mock_broker_set_up", ctypes.c_int, [pointer, ctypes.c_int32]),
        ("mock_set_controller_id", ctypes.c_int, [pointer, ctypes.c_int32]),
        ("mock_topic_create", ctypes.c_int, [pointer, text, ctypes.c_int, ctypes.c_int]),
        ("mock_partition_set_leader", ctypes.c_int, [pointer, text, ctypes.c_int32, ctypes.c_int32]),
    ):
        function = getattr(library, f"rd_kafka_{name}")
        function.restype, function.argtypes = result, arguments
    return library


@contextmanager
def mock_broker() -> Iterator[MockBroker]:
    """A broker for as long as the block runs."""
    library = _library()
    conf = library.rd_kafka_conf_new()
    library.rd_kafka_conf_set(conf, b"log_level", b"0", None, 0)
    client = library.rd_kafka_new(0, conf, None, 0)
    cluster = library.rd_kafka_mock_cluster_new(client, 1)
    try:
        library.rd_kafka_mock_set_controller_id(cluster, BROKER)
        servers = library.rd_kafka_mock_cluster_bootstraps(cluster).decode()
        yield MockBroker(library, cluster, servers)
    finally:
        library.rd_kafka_mock_cluster_destroy(cluster)
        library.rd_kafka_destroy(client)
