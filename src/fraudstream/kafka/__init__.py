"""How we reach Kafka.

clients   one setting, two clients: the properties of librdkafka and of Java
topics    topics as the broker describes them, and which offsets they hold
pem       certificates and keys, as files and as Java wants them
refusal   why a broker does not let us in
"""

from fraudstream.kafka.clients import admin, client_config, java_config, producer_config, servers, unreachable
from fraudstream.kafka.topics import Bounds, Topic, bounds, ensure_topic, find_topic

__all__ = [
    "Bounds",
    "Topic",
    "admin",
    "bounds",
    "client_config",
    "ensure_topic",
    "find_topic",
    "java_config",
    "producer_config",
    "servers",
    "unreachable",
]
