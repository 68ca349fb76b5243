"""The errors that fraudstream raises on purpose, some subclassed where they arise, and the exit codes of its commands.

FraudstreamError
├── UsageError                 the command line itself was wrong
├── SettingsError              a setting is wrong, or two contradict each other
├── ServiceError               an embedded service cannot start, stop or be found
│   ├── JavaMissing            no Java 17 to 21
│   └── JarsMissing            the jars are neither cached nor downloadable
├── BrokerUnreachable          no Kafka broker answered
│   ├── BrokerRefused          one did, but rejected us: a login, a certificate, a right
│   │   └── CredentialsUnreadable  our credentials cannot be read: a password, a certificate, a key
│   └── LeaderMissing          one did, but the partition has no leader
├── TopicError                 a topic is missing, or cannot be created
├── DatabaseError              PostgreSQL refused, or is unavailable
│   ├── ModelAltered           a model is not the one that was registered
│   └── DatabaseUnreachable    nobody answers, or the connection broke: worth a retry
├── StreamError                a streaming query stopped
│   └── MessagesLost           retention deleted messages that were never read
├── DeliveryError              Kafka did not acknowledge some messages
├── InputError                 a file, an option or a message cannot be used
└── OutputError                standard output cannot be written
    └── ReaderGone             nobody reads it any more, as after `| head`: ends quietly

An error says what happened and what to do next. It is printed in one place only, cli/main.py.
"""

from collections.abc import Mapping
from enum import IntEnum
from typing import Any, ClassVar


class ExitCode(IntEnum):
    """What a command returns to the shell."""

    DONE = 0
    FAILED = 1
    """Something went wrong and was reported in a sentence."""
    USAGE = 2
    """The command line itself was wrong."""
    INTERRUPTED = 130
    """Ctrl-C or SIGTERM ended a command before its work was done (128 + SIGINT, as in shells)."""


class FraudstreamError(Exception):
    """An error with a message, the next step in `hint`, and a stable `code` for scripts.

    `figures` are what the command had done by then, under the names of its own document.
    """

    code: ClassVar[str] = "error"
    exit_code: ClassVar[ExitCode] = ExitCode.FAILED

    def __init__(self, message: str, *, hint: str = "", figures: Mapping[str, object] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.figures = figures or {}

    def document(self) -> dict[str, Any]:
        """The error as the JSON document that `--json` prints."""
        return {**self.figures, "error": {"message": self.message, "hint": self.hint, "code": self.code}}


class UsageError(FraudstreamError):
    """The command line itself was wrong."""

    code = "usage"
    exit_code = ExitCode.USAGE


class SettingsError(FraudstreamError):
    """A setting is wrong, or two contradict each other."""

    code = "settings"
    exit_code = ExitCode.USAGE


class ServiceError(FraudstreamError):
    """An embedded service cannot start, stop or be found."""

    code = "service"


class JavaMissing(ServiceError):
    """No Java 17 to 21 was found."""

    code = "java_missing"


class JarsMissing(ServiceError):
    """The jars are neither cached nor downloadable."""

    code = "jars_missing"


class BrokerUnreachable(FraudstreamError):
    """No Kafka broker answered."""

    code = "broker_unreachable"

    def __init__(self, servers: str, seconds: float, detail: str = "") -> None:
        reason = f": {detail}" if detail else ""
        super().__init__(
            f"No Kafka broker answered at {servers} within {seconds:g} s{reason}.",
            hint="Start the embedded one with `fraudstream up`, or check FRAUDSTREAM_KAFKA__BOOTSTRAP_SERVERS"
            " and __SECURITY_PROTOCOL.",
        )


class BrokerRefused(BrokerUnreachable):
    """A broker rejected our login or the request. A running stream retries: credentials and permissions may be corrected."""

    code = "broker_refused"

    def __init__(self, message: str, *, hint: str) -> None:
        FraudstreamError.__init__(self, message, hint=hint)


class CredentialsUnreadable(BrokerRefused):
    """A file with a password, a certificate or a key cannot be used: a setting is wrong, or the file is being replaced."""

    code = "settings"
    exit_code = ExitCode.USAGE


class LeaderMissing(BrokerUnreachable):
    """A broker answered, but the partition has no leader: its broker is restarting, or the topic was just created."""

    code = "leader_missing"

    def __init__(self, partition: str, detail: str) -> None:
        where = f"partition {partition}" if partition else "a partition"
        FraudstreamError.__init__(
            self,
            f"Kafka has no leader for {where}: {detail}.",
            hint="A broker with a replica is down or still starting: check that the brokers with its replicas are running.",
        )


class TopicError(FraudstreamError):
    """A topic is missing, or cannot be created."""

    code = "topic"


class DatabaseError(FraudstreamError):
    """PostgreSQL refused."""

    code = "database"


class ModelAltered(DatabaseError):
    """A registered model's bytes are not those that were registered."""


class DatabaseUnreachable(DatabaseError):
    """PostgreSQL does not answer, or the connection broke: the same transaction is worth a retry."""

    code = "database_unreachable"


class StreamError(FraudstreamError):
    """A streaming query stopped."""

    code = "stream"


class MessagesLost(StreamError):
    """Kafka's retention deleted messages that were never read, or Kafka lost some that were."""

    code = "messages_lost"


class DeliveryError(FraudstreamError):
    """Kafka did not acknowledge some messages."""

    code = "delivery"


class InputError(FraudstreamError):
    """A file, an option or a message cannot be used."""

    code = "input"


class OutputError(FraudstreamError):
    """Standard output cannot be written."""

    code = "output"

    def __init__(self, error: OSError) -> None:
        super().__init__(
            f"Standard output cannot be written: {error.strerror or error}.",
            hint="The output is incomplete: free some space at its destination, or write it elsewhere.",
        )


class ReaderGone(OutputError):
    """Nobody reads standard output any more, as after `| head`. Not an error for the user: the command exits quietly."""

    def __init__(self) -> None:
        super().__init__(BrokenPipeError("its reader went away"))
