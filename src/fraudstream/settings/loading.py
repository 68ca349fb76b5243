"""From flags, the environment, `.env` and the embedded services to the settings in force."""

import difflib
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings

from fraudstream.errors import SettingsError
from fraudstream.settings.sections import (
    KafkaSettings,
    ModelSettings,
    PostgresSettings,
    Section,
    SparkSettings,
)
from fraudstream.settings.whole import PREFIX, EnvFile, Settings, Sourced, described

ENDPOINTS = "endpoints.json"
"""The file, below `home`, in which `up` stores the addresses of the embedded services."""

_SERVICE_LINK = re.compile(
    r"\w+_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)=|\w+_PORT=(tcp|udp|sctp)://"
)


def _is_service_link(name: str, value: str) -> bool:
    """Whether Kubernetes set it: each pod gets such names for the namespace's Services, including `fraudstream-…`."""
    return "__" not in name and _SERVICE_LINK.match(f"{name}={value}") is not None


def _refuse_unknown_names() -> None:
    """Raise SettingsError for a misspelt variable, which would otherwise be ignored silently."""
    _refuse_unknown((name for name, value in os.environ.items() if not _is_service_link(name, value)), "")
    _refuse_unknown((name.upper() for name in EnvFile(Settings).env_vars), " in .env")


def _refuse_unknown(names: Iterable[str], where: str) -> None:
    known = described()
    unknown = sorted(name for name in names if name.upper().startswith(PREFIX) and name.upper() not in known)
    if unknown:
        close = [match for name in unknown for match in _closest(name.upper(), known)]
        raise SettingsError(
            f"Unknown setting: {', '.join(unknown)}{where}.",
            hint=f"Did you mean {', '.join(close)}?"
            if close
            else "`fraudstream config document` lists every setting.",
        )


def _closest(name: str, known: Iterable[str]) -> list[str]:
    """The names that were probably meant; for a whole section, its first setting."""
    inside = [setting for setting in known if setting.startswith(f"{name}__")]
    return inside[:1] or difflib.get_close_matches(name, known, n=1)


class _Endpoints(BaseModel):
    """The addresses of the embedded services, which services.py writes."""

    model_config = ConfigDict(hide_input_in_errors=True)

    kafka: KafkaSettings = KafkaSettings()
    postgres: PostgresSettings = PostgresSettings()


def _embedded(home: Path) -> _Endpoints:
    """The addresses of the embedded services, if any. Raises SettingsError."""
    try:
        return _Endpoints.model_validate_json((home / ENDPOINTS).read_bytes())
    except FileNotFoundError:
        return _Endpoints()
    except ValidationError as error:
        raise SettingsError(
            f"{home / ENDPOINTS} cannot be read: {_said(error.errors()[0])}.",
            hint="Run `fraudstream down` and `fraudstream up` to write it again.",
        ) from None
    except OSError as error:
        raise SettingsError(
            f"{home} cannot be used: {error.strerror}.",
            hint="Set FRAUDSTREAM_HOME to a directory of your own.",
        ) from None


def load(**flags: dict[str, Any]) -> Settings:
    """The settings in force; `flags` are sections from the command line, e.g. `kafka={"partitions": 1}`.

    The embedded services are used only if no address is set: their password must
    never be sent to another host.

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


def on_embedded(settings: Settings) -> Settings:
    """`settings` with the addresses of the embedded services, whatever is set: for data that must never reach other servers.

    Raises SettingsError.
    """
    found = _embedded(settings.home)
    postgres = found.postgres.model_copy(update={"retry_seconds": settings.postgres.retry_seconds})
    return settings.model_copy(update={"kafka": found.kafka, "postgres": postgres})


def on_this_machine(settings: Settings) -> Settings:
    """`settings` with Spark on this machine: for what is read here in any case, and must not wait for slots of a cluster."""
    if settings.spark.is_local:
        return settings
    master = SparkSettings().master
    return settings.model_copy(update={"spark": settings.spark.model_copy(update={"master": master})})


def parts_of_address(postgres: PostgresSettings) -> list[str]:
    """The variables that are set and mean nothing without FRAUDSTREAM_POSTGRES__HOST."""
    found = postgres.model_fields_set & {"port", "user", "database", "password", "password_file"}
    return [f"{PREFIX}POSTGRES__{name.upper()}" for name in sorted(found)]


def _refuse_half_an_address(postgres: PostgresSettings) -> None:
    """Raise SettingsError for settings that the embedded server's address would silently replace."""
    if names := ", ".join(parts_of_address(postgres)):
        raise SettingsError(
            f"{names} set without {PREFIX}POSTGRES__HOST, while the embedded PostgreSQL runs, which has an address of"
            " its own.",
            hint=f"For another server set {PREFIX}POSTGRES__HOST, too, for example to localhost; for the embedded one"
            f" unset {names}.",
        )


def _with(section: Section, address: Section) -> Section:
    return section.model_copy(update=address.model_dump(exclude_unset=True))


def load_bare(**flags: dict[str, Any]) -> Settings:
    """The settings without the addresses of the embedded services: for commands that start, stop and find those.

    Raises SettingsError with every mistake in one message.
    """
    return _built(Settings, flags)


class _ModelAlone(Sourced):
    """Only this section, so that mistakes in others do not stop commands that do not use them."""

    model_config = Settings.model_config

    model: ModelSettings = ModelSettings()


def load_model_settings(**flags: Any) -> ModelSettings:
    """The model's settings alone, whatever is set for services: for commands that only use files.

    Raises SettingsError.
    """
    return _built(_ModelAlone, {"model": flags}).model


_Built = TypeVar("_Built", bound=BaseSettings)


def _built(kind: type[_Built], flags: dict[str, dict[str, Any]]) -> _Built:
    """What was set, with the flags that were given on top."""
    _refuse_unknown_names()
    said: dict[str, Any] = {
        section: {name: value for name, value in values.items() if value is not None}
        for section, values in flags.items()
    }
    try:
        return kind(**said)
    except ValidationError as error:
        raise SettingsError(
            _mistakes(error), hint="`fraudstream config document` lists every setting with its values."
        ) from None


def _mistakes(error: ValidationError) -> str:
    """The first mistake of each environment variable, with its name and without the value."""
    found: dict[str, str] = {}
    for mistake in error.errors(include_input=False, include_url=False):
        # What follows the section and the name is pydantic's description of each type that it tried.
        found.setdefault("__".join(str(part).upper() for part in mistake["loc"][:2]), _said(mistake))
    return "; ".join(f"{PREFIX}{name}: {said}" for name, said in found.items())


def _said(mistake: ErrorDetails) -> str:
    return mistake["msg"].removeprefix("Value error, ")
