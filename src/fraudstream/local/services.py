"""Both embedded services together, for `fraudstream up`, `status`, `down` and `reset`."""

import json
import os
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any

from fraudstream.errors import ServiceError
from fraudstream.local.home import Home, require_access, unusable, write_private
from fraudstream.local.initdb import AUTH
from fraudstream.local.jars import kafka_jars
from fraudstream.local.kafka import EmbeddedKafka
from fraudstream.local.postgres import DATABASE, USER, EmbeddedPostgres
from fraudstream.local.processes import LOOPBACK
from fraudstream.logs import get_logger
from fraudstream.settings import Settings

log = get_logger("local.services")


@dataclass(frozen=True, slots=True)
class Endpoints:
    """The addresses of the embedded services."""

    bootstrap_servers: str
    host: str
    port: int
    user: str
    database: str
    password_file: Path
    started: tuple[str, ...] = ()
    """Services that this call started; the others were already running."""

    def document(self) -> dict[str, dict[str, Any]]:
        """The contents of `endpoints.json`, which settings/loading.py reads."""
        return {
            "kafka": {"bootstrap_servers": self.bootstrap_servers},
            "postgres": {
                "host": self.host,
                "port": self.port,
                "user": self.user,
                "database": self.database,
                "password_file": str(self.password_file),
                "require_auth": AUTH,
            },
        }


def up(settings: Settings) -> Endpoints:
    """Start Kafka and PostgreSQL, in parallel, and wait until both answer; running ones are left alone.

    What this call started is stopped again if one of them fails or the user interrupts.
    Raises ServiceError (including JavaMissing and JarsMissing).
    """
    home = Home.of(settings)
    with home.locked():
        # Here, not in a thread: a download can be interrupted only in the thread that receives the signal.
        kafka_jars(settings)
        started = _start(settings, home)
        endpoints = _endpoints(home, started)
        write_private(home.endpoints, json.dumps(endpoints.document(), indent=2) + "\n")
    return endpoints


def _start(settings: Settings, home: Home) -> tuple[str, ...]:
    broker, server = EmbeddedKafka(home), EmbeddedPostgres(home)
    cancelled = Event()
    begun: dict[str, Future[bool]] = {}
    with ThreadPoolExecutor(2) as pool:
        try:
            # Inside the block, too: an interrupt between the two would let both start unnoticed.
            begun["kafka"] = pool.submit(broker.start, settings, cancelled)
            begun["postgres"] = pool.submit(server.start, cancelled)
            return tuple(name for name, future in begun.items() if future.result())
        except BaseException:
            cancelled.set()
            pool.shutdown()
            stops = {"kafka": broker.stop, "postgres": server.stop}
            for name, future in begun.items():
                if future.exception() is None and future.result():
                    stops[name]()
            raise


def _endpoints(home: Home, started: tuple[str, ...]) -> Endpoints:
    servers, port = EmbeddedKafka(home).servers, EmbeddedPostgres(home).port
    if servers is None or port is None:
        raise ServiceError(
            f"{home.root} does not have the addresses of the services.",
            hint="Run `fraudstream down`, then `fraudstream up`.",
        )
    return Endpoints(servers, LOOPBACK, port, USER, DATABASE, home.password, started)


def down(settings: Settings) -> tuple[str, ...]:
    """Stop both services and return which of them ran. Their data is kept. Raises ServiceError."""
    home = Home.of(settings)
    if not home.exists():
        return ()
    with home.locked():
        return _stop(home)


def _stop(home: Home) -> tuple[str, ...]:
    home.endpoints.unlink(missing_ok=True)
    stops = {"kafka": EmbeddedKafka(home).stop, "postgres": EmbeddedPostgres(home).stop}
    return tuple(name for name, stop in stops.items() if stop())


def reset(settings: Settings) -> tuple[str, ...]:
    """Stop both services and delete their data, logs, ports and password; the jar cache is kept. Raises ServiceError.

    Only what fraudstream created is deleted: FRAUDSTREAM_HOME may contain other files.
    """
    home = Home.of(settings)
    if not home.exists():
        return ()
    with home.locked():
        stopped = _stop(home)
        try:
            EmbeddedPostgres(home).remove()
            home.remove("kafka")
            home.remove("logs")
            for service in ("kafka", "postgres"):
                home.state(service).unlink(missing_ok=True)
            for user in ("kafka", "postgres", "demo"):
                home.running(user).unlink(missing_ok=True)
        except OSError as error:
            raise unusable(home.root, error) from None
    return stopped


def status(settings: Settings) -> dict[str, dict[str, Any]]:
    """The state of the services, as the document of `fraudstream status --json`. Running means that it answers.

    Raises ServiceError for the home of another user.
    """
    home = Home.of(settings)
    if home.exists():  # where it will be may be closed to us
        require_access(home.root, os.R_OK)
    broker, server = EmbeddedKafka(home), EmbeddedPostgres(home)
    broker_process, server_process = broker.process(), server.process()
    kafka_answers = broker_process is not None and broker.answers()
    postgres_answers = server_process is not None and server.answers()
    return {
        "kafka": {
            "running": kafka_answers,
            "bootstrap_servers": broker.servers if kafka_answers else None,
            "pid": broker_process.pid if broker_process else None,
            "log": str(broker.log),
        },
        "postgres": {
            "running": postgres_answers,
            "host": LOOPBACK if postgres_answers else None,
            "port": server.port if postgres_answers else None,
            "user": USER,
            "database": DATABASE,
            "password_file": str(home.password),
            "pid": server_process.pid if server_process else None,
            "log": str(server.log),
        },
        "home": {"path": str(home.root)},
    }
