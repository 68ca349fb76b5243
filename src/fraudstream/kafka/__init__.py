"""Connecting to Kafka.

clients   clients of librdkafka, and the properties of Java's, from one setting
reading   a range of a partition, in the tasks of a stream
topics    topics as the broker describes them, and their offsets
pem       certificates and keys, as files and as Java needs them
refusal   why a broker rejects us
"""

from fraudstream.kafka.clients import (
    admin,
    client_config,
    inline_config,
    is_end,
    java_config,
    producer,
    reader,
    servers,
    unreachable,
)
from fraudstream.kafka.reading import Messages, Range, ReadingStopped, read
from fraudstream.kafka.topics import Bounds, Topic, bounds, ensure_topic, find_topic, message_limit

__all__ = [
    "Bounds",
    "Messages",
    "Range",
    "ReadingStopped",
    "Topic",
    "admin",
    "bounds",
    "client_config",
    "ensure_topic",
    "find_topic",
    "inline_config",
    "is_end",
    "java_config",
    "message_limit",
    "producer",
    "read",
    "reader",
    "servers",
    "unreachable",
]
