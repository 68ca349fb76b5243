"""The settings as a whole, and the documentation of each."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import platformdirs
from dotenv.parser import Binding, parse_stream
from pydantic import Field
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    DotEnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from fraudstream.errors import SettingsError
from fraudstream.logs import LogFormat
from fraudstream.settings.sections import (
    DashboardSettings,
    KafkaSettings,
    MetricsSettings,
    ModelSettings,
    Place,
    PostgresSettings,
    ScoreSettings,
    Section,
    SparkSettings,
)

PREFIX = "FRAUDSTREAM_"
_FORM = "It must be UTF-8 text with one NAME=value per line."


class EnvFile(DotEnvSettingsSource):
    """`.env` as it stands, which others may share: pydantic would replace a `${…}` in a password, even in single quotes.

    Raises SettingsError for a file that cannot be read, and for a line with a setting that would be left out.
    """

    def _read_env_file(self, file_path: Path) -> Mapping[str, str | None]:
        try:
            with file_path.open(encoding=self.env_file_encoding) as stream:
                found = list(parse_stream(stream))
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(f"{file_path} cannot be read: {error}.", hint=_FORM) from None
        for line in found:
            _refuse_unreadable(file_path, line)
        return {line.key.lower(): line.value for line in found if line.key is not None and line.value != ""}


def _refuse_unreadable(file: Path, line: Binding) -> None:
    """Raise SettingsError if it names a setting, without what it says: it may contain a password."""
    text = line.original.string
    if line.error and PREFIX in text.upper():
        blank = text[: len(text) - len(text.lstrip())].count("\n")
        raise SettingsError(f"{file} cannot be read in line {line.original.line + blank}.", hint=_FORM)


class Sourced(BaseSettings):
    """Settings from the environment and from `.env`."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - called by name
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """In the order in which they win."""
        file = cast("DotEnvSettingsSource", dotenv_settings).env_file
        return init_settings, env_settings, EnvFile(settings_cls, file)


class Settings(Sourced):
    """Every setting in force. Built once per command by `load`, then passed on in sections."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_nested_delimiter="__",
        env_file=".env",
        env_file_encoding="utf-8",
        frozen=True,
        # `.env` is shared with compose and may have other variables; names within a section are checked.
        extra="ignore",
        # compose passes on unset variables as empty ones.
        env_ignore_empty=True,
        hide_input_in_errors=True,
        use_attribute_docstrings=True,
    )

    home: Place = Field(default_factory=lambda: Path(platformdirs.user_data_dir("fraudstream")))
    """Where the embedded services keep their data and logs."""
    jars: Place | None = None
    """Where the jars of Kafka and of Spark's connector are kept; unset means the user's cache, or `jars` below a custom home."""
    ivy_settings: Place | None = None
    """An ivysettings.xml with the repository to fetch those jars from; unset means Maven Central."""
    log_format: LogFormat = LogFormat.TEXT
    """Format of the logs on stderr, text or json; the flag `--log-format` goes before the command."""
    kafka: KafkaSettings = KafkaSettings()
    postgres: PostgresSettings = PostgresSettings()
    spark: SparkSettings = SparkSettings()
    model: ModelSettings = ModelSettings()
    score: ScoreSettings = ScoreSettings()
    dashboard: DashboardSettings = DashboardSettings()
    metrics: MetricsSettings = MetricsSettings()

    @property
    def jar_cache(self) -> Path:
        """The jar cache: as set, else the user's cache, or below `home` if that is not the default."""
        if self.jars is not None:
            return self.jars
        if self.home == Path(platformdirs.user_data_dir("fraudstream")):
            return Path(platformdirs.user_cache_dir("fraudstream")) / "jars"
        return self.home / "jars"


@dataclass(frozen=True, slots=True)
class Described:
    """A setting as shown in the documentation."""

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
    # A default from a factory is a path on this machine, which documentation cannot name.
    default = None if field.default_factory is not None else field.default
    return Described("" if default is None else str(default), " ".join((field.description or "").split()))
