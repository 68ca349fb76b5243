"""Kafka as a sink: idempotent, acknowledged by all replicas, and every message counted once."""

import threading
import time
from collections import Counter
from typing import Any

from fraudstream.errors import DeliveryError
from fraudstream.kafka import producer
from fraudstream.logs import get_logger
from fraudstream.metrics import Sent
from fraudstream.settings import KafkaSettings

log = get_logger("producer")

MOST_WAITING = 100_000
"""Messages in librdkafka's queue: a third of a second at full speed, 50 MB of memory."""
BATCH_BYTES = 1_000_000
"""About 2,500 messages; at 200 kB each message costs 0.5 us more, and by default brokers refuse more than 1 MB."""
DELIVERY_SECONDS = 120.0
"""Seconds for which a message is retried: the Java client's default, enough for several restarts of a broker."""
LARGEST = 1_000_000_000
"""Maximum size of a message in bytes, as large as the client allows: each topic's limit is left to the broker."""
LINGER_MS = 2
"""`linger.ms` at a rate: latency matters more than full batches."""
LINGER_FAST_MS = 20
"""`linger.ms` at full speed: batches fill before that, and those that do not are worth the wait."""


class Undelivered(DeliveryError):
    """Kafka did not acknowledge some messages; the message says how many were and were not."""

    def __init__(self, sent: int, failed: int, seconds: float, reasons: "Counter[str]") -> None:
        why = "; ".join(f"{reason} ({count:,})" for reason, count in reasons.most_common(3))
        super().__init__(
            f"Kafka did not acknowledge {failed:,} of {sent + failed:,} messages: {why}.",
            hint="Grant this user the right to write to the topic."
            if "authorization" in why
            else "Check the broker's log and `fraudstream doctor`; some of them may be in the topic anyway.",
            figures={"sent": sent, "failed": failed, "seconds": round(seconds, 3)},
        )


class Sender:
    """Sends messages to one topic.

    Counting: librdkafka reports each message once, delivered or failed, and is configured to call back for
    failures only (a callback per message costs a third of the speed). After the last report
    `sent = taken - failed`, which agrees with the topic's end offsets (tests/stack/test_produce.py).
    """

    def __init__(  # noqa: PLR0913 - how a topic is written to
        self,
        kafka: KafkaSettings,
        topic: str,
        stop: threading.Event,
        *,
        linger_ms: int,
        largest: int = 1_000_000,
        limit: int | None = None,
    ) -> None:
        """`largest` is the client's own limit of a message in bytes, by default its usual one; `limit` that of the topic.

        A message above `largest` is refused alone. A broker refuses a whole batch above `limit`, so batches stay below.
        """
        self._topic, self._stop, self._patience = topic, stop, kafka.timeout_seconds
        self._taken = 0
        self.reasons: Counter[str] = Counter()
        self._told: set[int] = set()
        self.refuses_size = False
        """Whether a message has failed because the topic allows none of its size."""
        self._away = False
        self._before: int | None = None
        """How many messages were acknowledged before the brokers were lost."""
        self._producer = producer(
            kafka,
            {
                "client.id": "fraudstream-produce",
                "linger.ms": linger_ms,
                "message.max.bytes": largest,
                "batch.size": min(limit or BATCH_BYTES, BATCH_BYTES),
                "batch.num.messages": 10_000,
                "queue.buffering.max.messages": MOST_WAITING,
                "queue.buffering.max.kbytes": 1_048_576,
                "delivery.timeout.ms": int(DELIVERY_SECONDS * 1_000),
                "delivery.report.only.error": True,
                "error_cb": self._complain,
                "logger": get_logger("producer.librdkafka"),
                # Its own log repeats each failed connection, three times a second; `_complain` logs it once.
                "log_level": 2,
            },
        )

    @property
    def sent(self) -> Sent:
        """The counts so far."""
        return Sent(self._taken, len(self._producer), self.failed)

    @property
    def failed(self) -> int:
        """Messages that have failed so far."""
        return self.reasons.total()

    def send(self, keys: list[bytes], values: list[bytes]) -> None:
        """Queue these messages; waits while the queue is full, unless a stop is requested.

        Messages that the client refuses (too large) count as failed.
        """
        messages: list[dict[str, Any]] = [{"key": k, "value": v} for k, v in zip(keys, values, strict=True)]
        is_first = not self._taken
        while messages and self._room(len(messages)):
            self._producer.produce_batch(self._topic, messages, on_delivery=self._report)
            refused = [message for message in messages if "_error" in message]
            self._taken += len(messages) - len(refused)
            messages = self._again(refused)
            self._serve(0.01 if messages else 0)
            if messages and self._stop.is_set():  # the queue may be full of bytes, too, whatever their number
                return
        if is_first:
            self._arrive()

    def _arrive(self) -> None:
        """Wait until the broker has the first messages, for at most the time it has to answer.

        The client connects only when it has something to send, which takes half a second: at a rate, everything that
        became due meanwhile would be sent in one burst.
        """
        deadline = time.monotonic() + self._patience
        while self._producer.flush(0.05) and not self._stop.is_set() and time.monotonic() < deadline:
            pass

    def _room(self, wanted: int) -> bool:
        """Wait until the queue has room for `wanted` messages; False if a stop is requested meanwhile.

        If only part of a batch fitted, its messages could be reordered, and a user's messages must stay in order.
        """
        limit = max(MOST_WAITING - wanted, 1)
        while len(self._producer) > limit:
            self._serve(0.01)
            if self._stop.is_set():
                return False
        return True

    def _serve(self, seconds: float) -> None:
        """Process the client's reports, and log that Kafka answers again once it has accepted something."""
        self._producer.poll(seconds)
        if not self._away:
            return
        while self._producer.poll(0):  # a pending report counts like a waiting message
            pass
        if self._before is None:
            self._before = self.sent.acknowledged
        elif self.sent.acknowledged > self._before:
            self._away, self._before = False, None
            log.info("Kafka answers again")

    def _again(self, refused: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Those of the messages refused by the client for which there was just no room."""
        if not refused:
            return refused
        from confluent_kafka import KafkaError

        again = []
        for message in refused:
            error = message.pop("_error")
            if error.code() == KafkaError._QUEUE_FULL:
                again.append(message)
            else:
                self._taken += 1
                self._report(error, None)
        return again

    def _report(self, error: Any, _message: Any) -> None:
        """Count a failed message, and log why if that is new.

        A timeout ends the run, as no broker answers any more. So does a missing right to write, which affects all messages.
        """
        from confluent_kafka import KafkaError

        if (
            error.code() > 0 and error.code() not in self._told
        ):  # lower codes are librdkafka's own, which `_complain` logs
            self._told.add(error.code())
            log.warning("Kafka does not accept a message: %s", error.str())
        self.reasons[error.str()] += 1
        self.refuses_size |= error.code() == KafkaError.MSG_SIZE_TOO_LARGE
        if error.code() in (
            KafkaError._MSG_TIMED_OUT,
            KafkaError._FATAL,
            KafkaError.TOPIC_AUTHORIZATION_FAILED,
            KafkaError.CLUSTER_AUTHORIZATION_FAILED,
        ):
            self._stop.set()

    def _complain(self, error: Any) -> None:
        from confluent_kafka import KafkaError

        if error.code() == KafkaError._ALL_BROKERS_DOWN and not self._away:
            self._away = True
            log.warning("no Kafka broker answers; messages wait up to %g s for one", DELIVERY_SECONDS)
        elif error.fatal():
            log.error("Kafka refuses this producer: %s", error.str())
            self._stop.set()

    def settled(self, seconds: float) -> bool:
        """Whether every message has been acknowledged, after waiting for that so long at most."""
        return not self._producer.flush(seconds) and not self.failed

    def close(self) -> tuple[int, int]:
        """Wait until each message is acknowledged or has failed; gives up earlier once a stop is requested."""
        deadline = time.monotonic() + DELIVERY_SECONDS + self._patience
        hurried = False
        while self._producer.flush(0.1):
            if self._stop.is_set() and not hurried:
                hurried, deadline = True, time.monotonic() + self._patience
            if time.monotonic() > deadline:
                # Purged messages are reported as failed; whether the broker has them cannot be known.
                self._producer.purge()
                deadline += self._patience
        return self._taken - self.failed, self.failed
