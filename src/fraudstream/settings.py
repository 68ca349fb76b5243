"""All settings, once: flag > environment > `.env` > embedded services > default.

Names are `FRAUDSTREAM_` plus the path with `__` between levels, for example
`FRAUDSTREAM_KAFKA__BOOTSTRAP_SERVERS`. Inner code receives its section, never the whole.
"""

import difflib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import platformdirs
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, ValidationError, model_validator
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, DotEnvSettingsSource, SettingsConfigDict

from fraudstream.errors import SettingsError
from fraudstream.logs import LogFormat

PREFIX = "FRAUDSTREAM_"
ENDPOINTS = "endpoints.json"
"""Where `up` leaves the addresses of the embedded services, below `home`."""

Port = Annotated[int, Field(ge=1, le=65535)]
Seconds = Annotated[float, Field(le=366 * 86_400)]
"""A year at the most: beyond it, and at infinity, Spark and Python's clocks end with errors of their own."""


def _in_full(path: Path) -> Path:
    try:
        # Not resolve(), which would follow links: a mounted secret is a link that moves when it is renewed.
        return Path(os.path.abspath(path.expanduser()))  # noqa: PTH100
    except RuntimeError as error:
        raise ValueError(str(error)) from None


Place = Annotated[Path, AfterValidator(_in_full)]
"""A path without `~`, which no shell expands in `.env`, and absolute: services outlive the working directory."""


class SecurityProtocol(StrEnum):
    """How the connection to Kafka is protected; the names are Kafka's own."""

    PLAINTEXT = "PLAINTEXT"
    SSL = "SSL"
    SASL_SSL = "SASL_SSL"


class SaslMechanism(StrEnum):
    """How we prove who we are to Kafka; the names are Kafka's own."""

    PLAIN = "PLAIN"
    SCRAM_SHA_256 = "SCRAM-SHA-256"
    SCRAM_SHA_512 = "SCRAM-SHA-512"


class Section(BaseModel):
    """One part of the settings: frozen, and a misspelt name is an error rather than silence."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", hide_input_in_errors=True, use_attribute_docstrings=True
    )


def _secret(value: SecretStr | None, file: Path | None, name: str) -> SecretStr | None:
    """The secret itself, from the value or from the file that holds it."""
    if value is not None and file is not None:
        raise ValueError(f"{name} and {name}_file are both set; keep one of them")
    if file is None:
        return value
    try:
        secret = file.read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{name}_file cannot be read: {error}") from None
    if not secret:
        raise ValueError(f"{name}_file is empty: {file}")
    return SecretStr(secret)


class KafkaSettings(Section):
    """Which Kafka, and how to reach it."""

    bootstrap_servers: str | None = None
    """Host:port pairs with commas; unset means the embedded broker."""
    transactions_topic: str = Field("transactions-data", pattern=r"^[a-zA-Z0-9._-]{1,249}$")
    """The topic that transactions come through."""
    scored_topic: str = Field("transactions-scored", pattern=r"^[a-zA-Z0-9._-]{1,249}$")
    """The topic that decisions go to."""
    partitions: int = Field(4, ge=1, le=10_000)
    """Of topics that we create. Partitions set the parallelism of every reader."""
    replication_factor: int = Field(-1, ge=-1)
    """Of topics that we create; -1 is the broker's own default."""
    timeout_seconds: float = Field(10.0, gt=0, le=3_600)
    """How long a command waits for the broker's answer."""
    security_protocol: SecurityProtocol = SecurityProtocol.PLAINTEXT
    """PLAINTEXT, SSL or SASL_SSL."""
    sasl_mechanism: SaslMechanism | None = None
    """SCRAM-SHA-256, SCRAM-SHA-512 or PLAIN."""
    sasl_username: str | None = None
    """Who we are to Kafka."""
    sasl_password: SecretStr | None = None
    """Better in a file, see the next one."""
    sasl_password_file: Place | None = None
    """A file that holds the password."""
    ssl_ca_file: Place | None = None
    """PEM; unset means the system's own authorities."""
    ssl_certificate_file: Place | None = None
    """PEM of the client's certificate chain, for brokers that ask for one."""
    ssl_key_file: Place | None = None
    """PEM (PKCS#8) of the client's key."""
    ssl_key_password: SecretStr | None = None
    """Of the client's key, where it has one."""
    ssl_key_password_file: Place | None = None
    """A file that holds the password of the key."""

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
        self.key_password()
        return self

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
    """Unset means the embedded server."""
    port: Port = 5432
    """Of the server."""
    user: str = "fraudstream"
    """Who we are to PostgreSQL."""
    database: str = "fraudstream"
    """The database that holds the schema `shop`."""
    password: SecretStr | None = None
    """Better in a file, see the next one."""
    password_file: Place | None = None
    """A file that holds the password, as Docker and Kubernetes mount secrets."""
    sslmode: SslMode = SslMode.PREFER
    """As libpq has it; `verify-full` also checks the server's name."""
    sslrootcert: Place | Literal["system"] | None = None
    """PEM of the authority that signed the server's certificate, or `system`; unset means libpq's own place."""
    connect_timeout_seconds: int = Field(10, ge=2, le=3_600)
    """libpq counts in whole seconds and takes no less than two."""
    retry_seconds: Seconds = Field(300.0, ge=0)
    """How long a stream waits for a lost PostgreSQL or Kafka before it gives up."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        self.secret()
        return self

    def secret(self) -> SecretStr | None:
        """The password, from the setting or from its file."""
        return _secret(self.password, self.password_file, "password")


class SparkSettings(Section):
    """How Spark runs."""

    master: str = "local[4]"
    """Four threads even on two cores: a task waits for PostgreSQL while another decodes."""
    driver_memory: str = Field("2g", pattern=r"^\d+[kmgKMG]$")
    """Heap of the driver's JVM, which on one machine is all of Spark."""
    driver_host: str | None = Field(None, min_length=1)
    """Name or address at which a cluster's executors reach this command; unset means what Spark finds out."""
    driver_bind_address: str | None = Field(None, min_length=1)
    """Address to listen on for them, where it is not `driver_host`."""
    cores_max: int | None = Field(None, ge=1)
    """Most cores of a standalone cluster for one command; unset means all of them, and the next command waits."""
    executor_memory: str = Field("1g", pattern=r"^\d+[kmgKMG]$")
    """Heap of each of a cluster's executors; their Python takes some beside it."""
    rows_per_batch: int = Field(200_000, ge=1)
    """Most messages of one micro-batch, over all partitions: bounds the memory and the length of a transaction."""
    batch_seconds: Seconds = Field(30.0, gt=0)
    """A micro-batch of `consume` that takes longer is followed by smaller ones, until PostgreSQL is quick again."""
    trigger_seconds: Seconds = Field(0.0, ge=0)
    """Pause between micro-batches; 0 starts the next one as soon as there is something to read."""
    ui: bool = False
    """Spark's own web page, on 127.0.0.1:4040."""


class ModelSettings(Section):
    """How models and profiles learn what was fraud."""

    label_delay_days: float = Field(7.0, gt=0, le=365)
    """Days after a transaction until the truth that came with it counts as known; a label that people give counts at once."""


class DashboardSettings(Section):
    """Where the Streamlit application listens, and who may open it."""

    host: str = Field("127.0.0.1", min_length=1)
    """Address to listen on; one that other machines reach is refused without a password."""
    port: Port = 8501
    """Port to listen on."""
    password: SecretStr | None = None
    """Better in a file, see the next one; unset means that nobody is asked for one."""
    password_file: Place | None = None
    """A file that holds the password."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        secret = self.secret()
        if secret is not None and not secret.get_secret_value():
            raise ValueError("password is empty, which would let everybody in")
        return self

    def secret(self) -> SecretStr | None:
        """The password, from the setting or from its file."""
        return _secret(self.password, self.password_file, "password")


class ProfilesBy(StrEnum):
    """How the scorer comes by the profiles of a transaction."""

    BROADCAST = "broadcast"
    """All of them, sent to every executor and held there; Spark's expressions decide."""
    LOOKUP = "lookup"
    """Those of each batch, asked of PostgreSQL by their keys; Python decides."""


class ScoreSettings(Section):
    """How live transactions are judged."""

    trigger_seconds: Seconds = Field(10.0, ge=5)
    """How old profiles may grow: as often a query with newer ones takes over. Spark takes no less than 5."""
    overlap: bool = True
    """Start the next query before the last one stops: decisions never pause, for twice the task slots (two a partition)."""
    profiles: ProfilesBy = ProfilesBy.BROADCAST
    """`lookup` asks PostgreSQL for those of each micro-batch: where all are too many for a broadcast, or for twice the decisions."""
    rules: Place | None = None
    """The operator's rules, a YAML file (docs/rules.md); unset means none."""


class MetricsSettings(Section):
    """Where a long command tells how it is: `/metrics` for Prometheus, `/healthz` for whoever keeps it running."""

    host: str = "127.0.0.1"
    """The address to listen at; in a container 0.0.0.0, as there is no password."""
    port: int | None = Field(None, ge=0, le=65535)
    """Unset serves nothing; 0 takes any free port and says which."""
    stalled_seconds: Seconds = Field(60.0, gt=0)
    """A stream that does not get on for so long, though messages wait, is called stalled."""


class Settings(BaseSettings):
    """Every setting in force. Built once for a command by `load`, then handed on in sections."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_nested_delimiter="__",
        env_file=".env",
        env_file_encoding="utf-8",
        frozen=True,
        # `.env` is shared with compose and may hold more than ours; below a section names are checked.
        extra="ignore",
        # compose hands on variables that nobody set as empty ones.
        env_ignore_empty=True,
        hide_input_in_errors=True,
        use_attribute_docstrings=True,
    )

    home: Place = Field(default_factory=lambda: Path(platformdirs.user_data_dir("fraudstream")))
    """Where the embedded services keep their data, logs and jars."""
    jars: Place | None = None
    """Where the jars of Kafka and of Spark's connector are kept; unset means the user's cache, or `jars` below a moved home."""
    ivy_settings: Place | None = None
    """An ivysettings.xml with the repository to fetch those jars from; unset means Maven Central."""
    log_format: LogFormat = LogFormat.TEXT
    """How narration on stderr is written, text or json; from the environment or --log-format, not from `.env`."""
    kafka: KafkaSettings = KafkaSettings()
    postgres: PostgresSettings = PostgresSettings()
    spark: SparkSettings = SparkSettings()
    model: ModelSettings = ModelSettings()
    score: ScoreSettings = ScoreSettings()
    dashboard: DashboardSettings = DashboardSettings()
    metrics: MetricsSettings = MetricsSettings()

    @property
    def jar_cache(self) -> Path:
        """The jar cache: the one that was set, else the user's own, or below `home` when that was moved."""
        if self.jars is not None:
            return self.jars
        if self.home == Path(platformdirs.user_data_dir("fraudstream")):
            return Path(platformdirs.user_cache_dir("fraudstream")) / "jars"
        return self.home / "jars"


@dataclass(frozen=True, slots=True)
class Described:
    """A setting as documentation shows it."""

    default: str
    meaning: str


def described() -> dict[str, Described]:
    """Every setting by the name of its environment variable."""
    found: dict[str, Described] = {}
    for name, field in Settings.model_fields.items():
        section = field.annotation
        if isinstance(section, type) and issubclass(section, Section):
            for inner, inner_field in section.model_fields.items():
                found[f"{PREFIX}{name}__{inner}".upper()] = _describe(inner_field)
        else:
            found[f"{PREFIX}{name}".upper()] = _describe(field)
    return found


def _describe(field: FieldInfo) -> Described:
    # A default from a factory is a place on this machine: documentation cannot name it.
    default = None if field.default_factory is not None else field.default
    return Described("" if default is None else str(default), " ".join((field.description or "").split()))


def _refuse_unknown_names() -> None:
    """Raise SettingsError for a misspelt variable, which would else be ignored in silence."""
    _refuse_unknown(os.environ, "")
    try:
        ours = DotEnvSettingsSource(Settings).env_vars
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(
            f".env cannot be read: {error}.", hint="It is a text in UTF-8 with one NAME=value on a line."
        ) from None
    _refuse_unknown((name.upper() for name in ours), " in .env")


def _refuse_unknown(names: Iterable[str], where: str) -> None:
    known = described()
    unknown = sorted(name for name in names if name.upper().startswith(PREFIX) and name.upper() not in known)
    if unknown:
        close = [match for name in unknown for match in _closest(name.upper(), known)]
        raise SettingsError(
            f"No setting of fraudstream: {', '.join(unknown)}{where}.",
            hint=f"Did you mean {', '.join(close)}?" if close else "docs/settings.md lists every setting.",
        )


def _closest(name: str, known: Iterable[str]) -> list[str]:
    """What was meant, if it can be guessed; of a whole section the first that it holds."""
    inside = [setting for setting in known if setting.startswith(f"{name}__")]
    return inside[:1] or difflib.get_close_matches(name, known, n=1)


class _Endpoints(BaseModel):
    """The addresses that `up` left, which services.py writes."""

    model_config = ConfigDict(hide_input_in_errors=True)

    kafka: KafkaSettings = KafkaSettings()
    postgres: PostgresSettings = PostgresSettings()


def _embedded(home: Path) -> _Endpoints:
    """The addresses that `up` left, or nothing. Raises SettingsError."""
    try:
        return _Endpoints.model_validate_json((home / ENDPOINTS).read_bytes())
    except FileNotFoundError:
        return _Endpoints()
    except ValidationError as error:
        raise SettingsError(
            f"{home / ENDPOINTS} cannot be read: {_said(error.errors()[0])}.",
            hint="Run `fraudstream down` and `fraudstream up` to write it anew.",
        ) from None
    except OSError as error:
        raise SettingsError(
            f"{home} cannot be used: {error.strerror}.",
            hint="Set FRAUDSTREAM_HOME to a directory of your own.",
        ) from None


def load(**flags: dict[str, Any]) -> Settings:
    """The settings in force; `flags` are sections with what the command line said, e.g. `kafka={"partitions": 1}`.

    The embedded services fill in only where no address is set: a password made for them must
    never travel to another host.

    Raises SettingsError with every mistake in one message.
    """
    settings = load_bare(**flags)
    embedded = _embedded(settings.home)
    filled: dict[str, Section] = {}
    if settings.kafka.bootstrap_servers is None:
        filled["kafka"] = _with(settings.kafka, embedded.kafka)
    if settings.postgres.host is None and embedded.postgres.host is not None:
        _refuse_half_an_address(settings.postgres)
        filled["postgres"] = _with(settings.postgres, embedded.postgres)
    return settings.model_copy(update=filled)


def _refuse_half_an_address(postgres: PostgresSettings) -> None:
    """Raise SettingsError for what the address of the embedded server would replace in silence."""
    lost = sorted(postgres.model_fields_set & {"port", "user", "database", "password", "password_file"})
    if lost:
        names = ", ".join(f"{PREFIX}POSTGRES__{name.upper()}" for name in lost)
        raise SettingsError(
            f"{names} set without {PREFIX}POSTGRES__HOST, while the embedded PostgreSQL runs, which has an address of"
            " its own.",
            hint=f"For another server set {PREFIX}POSTGRES__HOST, too, for example to localhost; for the embedded one"
            f" unset {names}.",
        )


def _with(section: Section, address: Section) -> Section:
    return section.model_copy(update=address.model_dump(exclude_unset=True))


def load_bare(**flags: dict[str, Any]) -> Settings:
    """What was set, without the addresses of embedded services: for commands that start, stop and find those.

    Raises SettingsError with every mistake in one message.
    """
    _refuse_unknown_names()
    said: dict[str, Any] = {
        section: {name: value for name, value in values.items() if value is not None}
        for section, values in flags.items()
    }
    try:
        return Settings(**said)
    except ValidationError as error:
        raise SettingsError(
            _mistakes(error), hint="docs/settings.md lists every setting with its values."
        ) from None


def _mistakes(error: ValidationError) -> str:
    """Each mistake as the name of its environment variable and what is wrong, without the value."""
    return "; ".join(
        f"{PREFIX}{'__'.join(str(part).upper() for part in mistake['loc'])}: {_said(mistake)}"
        for mistake in error.errors(include_input=False, include_url=False)
    )


def _said(mistake: ErrorDetails) -> str:
    return mistake["msg"].removeprefix("Value error, ")
