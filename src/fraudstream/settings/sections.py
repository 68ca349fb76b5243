"""The sections of the settings, with the limits of every value."""

import os
import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, model_validator

Port = Annotated[int, Field(ge=1, le=65535)]
Seconds = Annotated[float, Field(le=366 * 86_400)]
"""At most one year: beyond it, and at infinity, Spark and Python's clocks fail with errors of their own."""


def _in_full(path: Path) -> Path:
    try:
        # Not resolve(), which would follow links: a mounted secret is a link that changes when it is renewed.
        return Path(os.path.abspath(path.expanduser()))  # noqa: PTH100
    except RuntimeError as error:
        raise ValueError(str(error)) from None


Place = Annotated[Path, AfterValidator(_in_full)]
"""An absolute path, as services outlive the working directory, with `~` expanded, which no shell does in `.env`."""


class SecurityProtocol(StrEnum):
    """How the connection to Kafka is protected; the names are Kafka's own."""

    PLAINTEXT = "PLAINTEXT"
    SSL = "SSL"
    SASL_SSL = "SASL_SSL"


class SaslMechanism(StrEnum):
    """How we authenticate to Kafka; the names are Kafka's own."""

    PLAIN = "PLAIN"
    SCRAM_SHA_256 = "SCRAM-SHA-256"
    SCRAM_SHA_512 = "SCRAM-SHA-512"


class Section(BaseModel):
    """One section of the settings: frozen, and a misspelt name is an error."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", hide_input_in_errors=True, use_attribute_docstrings=True
    )


def bracketed(host: str) -> str:
    """A host as URLs have it: with brackets around an address of IPv6."""
    return f"[{host}]" if ":" in host else host


def _secret(value: SecretStr | None, file: Path | None, name: str) -> SecretStr | None:
    """The secret itself, from the value or from its file."""
    if value is not None and file is not None:
        raise ValueError(f"{name} and {name}_file are both set; keep one of them")
    if file is None:
        return value
    try:
        secret = file.read_text(encoding="utf-8-sig").rstrip("\r\n")
    except UnicodeDecodeError:  # its text names a byte of the secret
        raise ValueError(f"{name}_file is not UTF-8: {file}") from None
    except OSError as error:
        raise ValueError(f"{name}_file cannot be read: {error}") from None
    if not secret:
        raise ValueError(f"{name}_file is empty: {file}")
    return SecretStr(secret)


class KafkaSettings(Section):
    """Which Kafka, and how to reach it."""

    bootstrap_servers: str | None = None
    """Comma-separated host:port pairs; unset means the embedded broker."""
    transactions_topic: str = Field("transactions-data", pattern=r"^[a-zA-Z0-9._-]{1,249}$")
    """The topic that carries transactions."""
    scored_topic: str = Field("transactions-scored", pattern=r"^[a-zA-Z0-9._-]{1,249}$")
    """The topic that decisions are written to."""
    partitions: int = Field(4, ge=1, le=10_000)
    """Partitions of topics that fraudstream creates; they set the parallelism of every reader."""
    replication_factor: int = Field(-1, ge=-1)
    """Replication factor of topics that fraudstream creates; -1 is the broker's default."""
    timeout_seconds: float = Field(10.0, gt=0, le=3_600)
    """How long a command waits for the broker to answer."""
    security_protocol: SecurityProtocol = SecurityProtocol.PLAINTEXT
    """PLAINTEXT, SSL or SASL_SSL."""
    sasl_mechanism: SaslMechanism | None = None
    """SCRAM-SHA-256, SCRAM-SHA-512 or PLAIN."""
    sasl_username: str | None = None
    """User name for Kafka."""
    sasl_password: SecretStr | None = None
    """Prefer the file in the next setting."""
    sasl_password_file: Place | None = None
    """A file that contains the password."""
    ssl_ca_file: Place | None = None
    """PEM of the certificate authority; unset means the system's authorities, and for Spark's client those of its Java."""
    ssl_certificate_file: Place | None = None
    """PEM of the client's certificate chain, for brokers that ask for one."""
    ssl_key_file: Place | None = None
    """PEM of the client's key: PKCS#8, or the older RSA and EC formats."""
    ssl_key_password: SecretStr | None = None
    """Password of the client's key, if it has one."""
    ssl_key_password_file: Place | None = None
    """A file that contains the key's password."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        password = self.password()
        if self.security_protocol is SecurityProtocol.SASL_SSL:
            missing = [name for name in ("sasl_mechanism", "sasl_username") if getattr(self, name) is None]
            if password is None:
                missing.append("sasl_password")
            if missing:
                raise ValueError(f"security_protocol SASL_SSL also needs {', '.join(missing)}")
        if (self.ssl_certificate_file is None) != (self.ssl_key_file is None):
            raise ValueError("ssl_certificate_file and ssl_key_file go together")
        if self.transactions_topic == self.scored_topic:
            raise ValueError(
                f"transactions_topic and scored_topic are both {self.scored_topic}: `score` would read its own decisions"
            )
        self._check_servers()
        self.key_password()
        return self

    def _check_servers(self) -> None:
        """Raise ValueError for a server without a port: librdkafka would use 9092, while Spark's client needs one."""
        for server in map(str.strip, (self.bootstrap_servers or "").split(",")):
            if server and not re.search(r":\d{1,5}$", server):
                # As `repr`: a name may contain what a message cannot be encoded with.
                raise ValueError(f"bootstrap_servers: {server!r} has no port; write host:port")

    def password(self) -> SecretStr | None:
        """The SASL password, from the setting or from its file."""
        return _secret(self.sasl_password, self.sasl_password_file, "sasl_password")

    def key_password(self) -> SecretStr | None:
        """The password of the client's key, from the setting or from its file."""
        return _secret(self.ssl_key_password, self.ssl_key_password_file, "ssl_key_password")


class SslMode(StrEnum):
    """libpq's own names; below `verify-full` the server's name is not checked."""

    DISABLE = "disable"
    PREFER = "prefer"
    REQUIRE = "require"
    VERIFY_CA = "verify-ca"
    VERIFY_FULL = "verify-full"


class PostgresSettings(Section):
    """Which PostgreSQL, and how to reach it."""

    host: str | None = None
    """Host of the server; unset means the embedded one."""
    port: Port = 5432
    """Port of the server."""
    user: str = "fraudstream"
    """User name for PostgreSQL."""
    database: str = "fraudstream"
    """The database that contains the schema `shop`."""
    password: SecretStr | None = None
    """Prefer the file in the next setting."""
    password_file: Place | None = None
    """A file that contains the password, as Docker and Kubernetes mount secrets."""
    sslmode: SslMode = SslMode.PREFER
    """As in libpq; only `verify-full` also checks the server's name."""
    sslrootcert: Place | Literal["system"] | None = None
    """PEM of the authority that signed the server's certificate, or `system`; unset means libpq's default location. Executors read the file, too."""
    require_auth: Literal["scram-sha-256"] | None = None
    """`scram-sha-256` refuses a server that cannot prove it knows the password; unset, only the embedded one must prove it."""
    connect_timeout_seconds: int = Field(10, ge=2, le=3_600)
    """In whole seconds; libpq's minimum is two."""
    retry_seconds: Seconds = Field(300.0, ge=0)
    """How long a stream waits for a lost PostgreSQL or Kafka before it gives up."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (
            self.host and "://" in self.host
        ):  # with a password, perhaps, which messages about the address would repeat
            raise ValueError(
                "host is a URL; give the server's name, and user, password and database each in its setting"
            )
        self.secret()
        return self

    @property
    def address(self) -> str | None:
        """The address of the database for messages; None if it is not set."""
        return None if self.host is None else f"{self.host}:{self.port}/{self.database}"

    def secret(self) -> SecretStr | None:
        """The password, from the setting or from its file."""
        return _secret(self.password, self.password_file, "password")


class SparkSettings(Section):
    """How Spark runs."""

    master: str = "local[4]"
    """Spark's master. By default four threads even on two cores: one task waits for PostgreSQL while another decodes."""
    driver_memory: str = Field("2g", pattern=r"^\d+[kmgKMG]$")
    """Heap of the driver's JVM, which on a single machine is all of Spark."""
    driver_host: str | None = Field(None, min_length=1)
    """Name or address at which a cluster's executors reach this command; unset lets Spark determine it."""
    driver_bind_address: str | None = Field(None, min_length=1)
    """Address to listen on for executors, if not `driver_host`."""
    cores_max: int | None = Field(None, ge=1)
    """Maximum cores per command on a standalone cluster; unset takes all of them, and the next command waits."""
    executor_memory: str = Field("1g", pattern=r"^\d+[kmgKMG]$")
    """Heap of each executor on a cluster; its Python needs additional memory."""
    rows_per_batch: int = Field(200_000, ge=1)
    """Maximum messages in one micro-batch, over all partitions: bounds memory and the length of a transaction."""
    batch_seconds: Seconds = Field(30.0, gt=0)
    """If a micro-batch of `consume` takes longer, the next ones are smaller, until PostgreSQL is fast again."""
    trigger_seconds: Seconds = Field(0.0, ge=0)
    """Pause between micro-batches; 0 starts the next one as soon as there is something to read."""
    ui: bool = False
    """Spark's own web page, on 127.0.0.1:4040; with a cluster, on every address or the one in SPARK_LOCAL_IP."""

    @property
    def is_local(self) -> bool:
        """Whether all of Spark runs as threads of one process on this machine."""
        return self.master == "local" or self.master.startswith("local[")


class ModelSettings(Section):
    """How models and profiles learn what was fraud."""

    label_delay_days: float = Field(7.0, gt=0, le=365)
    """Days after a transaction until the truth that came with it counts as known; labels from people count at once."""


class DashboardSettings(Section):
    """Where the Streamlit application listens, and who may open it."""

    host: str = Field("127.0.0.1", min_length=1)
    """Address to listen on; one that other machines can reach is refused without a password."""
    port: Port = 8501
    """Port to listen on."""
    public_host: str | None = None
    """Name under which browsers reach a proxy in front of it, such as fraud.example.com; needs a password."""
    password: SecretStr | None = None
    """Prefer the file in the next setting; unset means no password."""
    password_file: Place | None = None
    """A file that contains the password."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        secret = self.secret()
        if secret is not None and not secret.get_secret_value():
            raise ValueError("password is empty, which would let everybody in")
        if self.public_host is not None and not re.fullmatch(r"[a-zA-Z0-9._-]+", self.public_host):
            raise ValueError(
                f"public_host: {self.public_host!r} is not a name such as fraud.example.com, without https://, port and path"
            )
        return self

    def secret(self) -> SecretStr | None:
        """The password, from the setting or from its file."""
        return _secret(self.password, self.password_file, "password")


class ProfilesBy(StrEnum):
    """How the scorer gets the profiles of a transaction."""

    BROADCAST = "broadcast"
    """All profiles are sent to every executor and kept there; Spark's expressions decide."""
    LOOKUP = "lookup"
    """Each batch's profiles are queried from PostgreSQL by their keys; Python decides."""


class ScoreSettings(Section):
    """How live transactions are scored."""

    trigger_seconds: Seconds = Field(10.0, ge=5)
    """How old profiles get: a query with fresh ones takes over this often, or as soon as one can be ready. Spark's minimum is 5."""
    overlap: bool = True
    """Start the next query before the last one stops: decisions never pause, at twice the task slots (two per partition)."""
    profiles: ProfilesBy = ProfilesBy.BROADCAST
    """`lookup` fetches each micro-batch's profiles from PostgreSQL, if there are too many to broadcast, or for twice the throughput."""
    rules: Place | None = None
    """A YAML file of your own rules (docs/rules.md); unset means none."""


class MetricsSettings(Section):
    """Where a long-running command reports its state: `/metrics` for Prometheus, `/healthz` for its supervisor."""

    host: str = "127.0.0.1"
    """Address to listen on. There is no password, so use 0.0.0.0 only in a container."""
    port: int | None = Field(None, ge=0, le=65535)
    """Port to listen on; unset serves nothing, 0 picks a free port and reports it."""
    stalled_seconds: Seconds = Field(60.0, gt=0)
    """A stream that makes no progress for this long while messages wait counts as stalled. No query of `score` lives longer,
    unless its trigger is."""
