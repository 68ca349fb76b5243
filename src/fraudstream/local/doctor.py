"""Checks everything that a first run needs; a failed check says how to fix it."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from fraudstream.errors import DatabaseError, FraudstreamError, JarsMissing, ServiceError
from fraudstream.local import jars, java
from fraudstream.local.failures import space
from fraudstream.local.home import Home, require_access
from fraudstream.local.kafka import CONTROLLER_PORT, EmbeddedKafka
from fraudstream.local.kafka import PORT as KAFKA_PORT
from fraudstream.local.postgres import PORT as POSTGRES_PORT
from fraudstream.local.postgres import EmbeddedPostgres
from fraudstream.local.processes import LOOPBACK, free
from fraudstream.settings import KafkaSettings, PostgresSettings, Settings, on_embedded

FREE_BYTES = 2_000_000_000
"""Space for a first demo: Kafka and PostgreSQL each store a million transactions in about 0.4 GB."""


@dataclass(frozen=True, slots=True)
class Check:
    """The result of one check: what was found and, if it failed, how to fix it."""

    name: str
    ok: bool
    detail: str
    hint: str = ""


def examine(settings: Settings) -> list[Check]:
    """Run every check, in the order in which a first run would fail. None of them changes anything."""
    home = Home.of(settings)
    wanted: dict[str, Callable[[], str]] = {
        "java": _java,
        "jars": partial(_jars, settings),
        "disk": partial(_disk, home),
        "ports": partial(_ports, home),
        "kafka": partial(_kafka, settings.kafka),
        "postgres": partial(_postgres, settings.postgres),
        "schema": partial(_schema, settings.postgres),
        "model": partial(_model, settings.postgres),
    }
    return [_checked(name, check) for name, check in wanted.items()]


def _checked(name: str, check: Callable[[], str]) -> Check:
    """The result of a check, which returns what it found, or raises what is wrong and how to fix it."""
    try:
        return Check(name, ok=True, detail=check())
    except FraudstreamError as error:
        return Check(name, ok=False, detail=error.message, hint=error.hint)


def _java() -> str:
    found = java.find_java()
    return f"Java {found.version} in {found.home}"


def _jars(settings: Settings) -> str:
    cache = settings.jar_cache
    jars.require_plain(cache)
    # The settings also hold the address of the embedded broker, from `up` to `down`, even if it crashed meanwhile.
    foreign = settings.kafka.bootstrap_servers not in (None, on_embedded(settings).kafka.bootstrap_servers)
    for wanted in (jars.spark_set(),) if foreign else (jars.kafka_set(), jars.spark_set()):
        wrong = jars.complaint(wanted, cache / wanted.name)
        if wrong is not None:
            raise JarsMissing(wrong, hint="Run `fraudstream jars fetch`.")
    return f"complete in {cache}"


def _disk(home: Home) -> str:
    require_access(home.root, os.W_OK)
    left = space(home.root)
    detail = f"{left / 1e9:.1f} GB free for {home.root}"
    if left < FREE_BYTES:
        hint = (
            f"Make room for {FREE_BYTES / 1e9:g} GB, or set FRAUDSTREAM_HOME to a directory on another disk."
        )
        raise FraudstreamError(detail, hint=hint)
    return detail


def _ports(home: Home) -> str:
    """Our own services use theirs; another program on a port is not a failure, as `up` then takes another."""
    broker, server = EmbeddedKafka(home), EmbeddedPostgres(home)
    said = []
    if broker.process() is not None:
        said.append(f"Kafka has {broker.servers}")
    else:
        known = home.remembered("kafka")
        said += [_port("Kafka", known.get("port") or KAFKA_PORT)]
        said += [_port("Kafka's controller", known.get("controller_port") or CONTROLLER_PORT)]
    if server.process() is not None:
        said.append(f"PostgreSQL has {LOOPBACK}:{server.port}")
    else:
        said.append(_port("PostgreSQL", server.port or POSTGRES_PORT))
    return "; ".join(said)


def _port(name: str, port: int) -> str:
    return f"{port} is free for {name}" if free(port) else f"{port} is taken, {name} will take another"


def _kafka(kafka: KafkaSettings) -> str:
    if kafka.bootstrap_servers is None:
        raise ServiceError("the embedded broker is not running", hint="Run `fraudstream up`.")
    from confluent_kafka import KafkaException

    from fraudstream.kafka import admin, unreachable

    seconds = min(kafka.timeout_seconds, 5.0)
    try:
        brokers = admin(kafka).list_topics(timeout=seconds).brokers
    except KafkaException as error:
        raise unreachable(kafka, seconds, error.args[0].str()) from None
    return f"{len(brokers)} broker(s) at {kafka.bootstrap_servers}"


def _postgres(postgres: PostgresSettings) -> str:
    if postgres.host is None:
        raise ServiceError("the embedded server is not running", hint="Run `fraudstream up`.")
    from fraudstream.store.connection import connect
    from fraudstream.store.migrate import refuse_encoding, refuse_version

    with connect(postgres) as connection:
        info = connection.info
        refuse_version(info.server_version)
        refuse_encoding(info.parameter_status("server_encoding") or "")
        return f"version {info.parameter_status('server_version')} at {postgres.host}:{postgres.port}"


def _schema(postgres: PostgresSettings) -> str:
    from fraudstream.store.migrate import current_revision, head_revision

    if postgres.host is None:
        raise ServiceError("no database to check", hint="Run `fraudstream up`.")
    found, wanted = current_revision(postgres), head_revision()
    if found is None:
        return "no tables yet; the first command that needs them creates them"
    if found != wanted:
        hint = "Older tables are upgraded by the next command that uses them; for newer ones upgrade fraudstream."
        raise DatabaseError(f"revision {found}, this version needs {wanted}", hint=hint)
    return f"revision {found}"


def _model(postgres: PostgresSettings) -> str:
    """Whether `score` could open the champion: its bytes are those that were registered, and this version can read them."""
    from fraudstream.store import registry
    from fraudstream.store.migrate import current_revision

    if postgres.host is None:
        raise ServiceError("no database to check", hint="Run `fraudstream up`.")
    if current_revision(postgres) is None:
        return "no tables yet; `fraudstream train` creates a model"
    if registry.champion(postgres) is None:
        return "no champion yet; `fraudstream train` creates one"
    champion = registry.opened(postgres)
    champion.trees()
    return f"champion {champion.version} ({champion.algorithm})"
