"""The whole road as real processes in a home of its own: services, produce, consume, score."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from campaign.clock import Clock
from campaign.proxy import Proxy
from environment import without_settings
from fraudstream.kafka import bounds, find_topic
from fraudstream.local import services
from fraudstream.local.home import Home
from fraudstream.local.kafka import EmbeddedKafka
from fraudstream.local.postgres import EmbeddedPostgres
from fraudstream.settings import KafkaSettings, PostgresSettings, Settings
from free_ports import give_ports

COMMANDS = {
    # The poison goes in beside it; see `faults.Poison`.
    "produce": ("produce", "--rate", "40", "--users", "500", "--json"),
    "consume": ("consume", "all"),
    "score": ("score", "--from-beginning"),
}
DISK = "3g"
"""Of memory, for the home of a road that may mount it: a disk of its own can be full."""
TRIGGER_SECONDS = "15"
"""The least that a hand-over needs on a busy machine; more of them than in life, so that faults meet them."""


@dataclass
class Road:
    """The services and the commands. `settings` reach PostgreSQL directly, the commands go through `proxy`."""

    base: Settings
    settings: Settings = field(init=False)
    proxy: Proxy = field(init=False)
    clock: Clock = field(init=False)
    running: dict[str, "subprocess.Popen[bytes]"] = field(default_factory=dict)
    restarts: int = 0
    has_disk: bool = False

    def open(self) -> None:
        """Start the services, on a disk of their own where this user may mount one, and by a clock of their own."""
        if os.geteuid() == 0:
            mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK},mode=755", "tmpfs", str(self.home)]
            self.has_disk = subprocess.run(mount, check=False).returncode == 0
        self.clock = Clock.build(self.home)
        self.clock.wear()
        give_ports(Home.of(self.base))
        found = services.up(self.base).document()
        self.settings = self.base.model_copy(
            update={
                "kafka": KafkaSettings(**found["kafka"]),
                "postgres": PostgresSettings(**found["postgres"]),
            }
        )
        self.proxy = Proxy((str(self.settings.postgres.host), self.settings.postgres.port))

    @property
    def home(self) -> Path:
        """Where everything is, the logs of the commands included."""
        return self.base.home

    def environment(self) -> dict[str, str]:
        """What the commands see."""
        postgres = self.settings.postgres
        return without_settings() | {
            "FRAUDSTREAM_HOME": str(self.base.home),
            "FRAUDSTREAM_JARS": str(self.base.jars),
            "FRAUDSTREAM_KAFKA__BOOTSTRAP_SERVERS": str(self.settings.kafka.bootstrap_servers),
            "FRAUDSTREAM_POSTGRES__HOST": "127.0.0.1",
            "FRAUDSTREAM_POSTGRES__PORT": str(self.proxy.port),
            "FRAUDSTREAM_POSTGRES__USER": postgres.user,
            "FRAUDSTREAM_POSTGRES__DATABASE": postgres.database,
            "FRAUDSTREAM_POSTGRES__PASSWORD_FILE": str(postgres.password_file),
            "FRAUDSTREAM_SCORE__TRIGGER_SECONDS": TRIGGER_SECONDS,
        }

    def once(self, *arguments: str) -> dict[str, object]:
        """Run a command to its end; its document."""
        done = subprocess.run(
            [sys.executable, "-m", "fraudstream", *arguments, "--json"],
            env=self.environment(), cwd=self.home, capture_output=True, text=True, timeout=900, check=False,
        )  # fmt: skip
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(arguments)}: {done.stdout}{done.stderr[-2000:]}")
        with self.printed(arguments[0]).open("a") as printed:
            printed.write(done.stdout)
        document: dict[str, object] = json.loads(done.stdout)
        return document

    def start(self, name: str) -> None:
        """Start one of COMMANDS; what it says goes to a file of its name, what it prints beside it."""
        with (self.home / f"{name}.log").open("ab") as log, self.printed(name).open("ab") as printed:
            self.running[name] = subprocess.Popen(
                [sys.executable, "-m", "fraudstream", *COMMANDS[name]],
                env=self.environment(), cwd=self.home, stdin=subprocess.DEVNULL, stdout=printed, stderr=log,
            )  # fmt: skip

    def printed(self, name: str) -> Path:
        """What all runs of a command printed on stdout."""
        return self.home / f"{name}.out"

    def supervise(self) -> None:
        """Start again what has ended, as an init system would."""
        for name, process in list(self.running.items()):
            if process.poll() is not None:
                self.restarts += 1
                self.start(name)

    def family(self, name: str) -> list[psutil.Process]:
        """A command's process and everything below it: Python, its JVM, its workers."""
        try:
            parent = psutil.Process(self.running[name].pid)
            return [parent, *parent.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def kill(self, name: str) -> None:
        """Kill -9 of a command alone; the JVM below it sees its pipe close and goes, too."""
        self.running[name].kill()
        self.running[name].wait()

    def answers(self) -> int:
        """How many answers of the scorer the topic holds."""
        topic = find_topic(self.settings.kafka, self.settings.kafka.scored_topic)
        return sum(bound.end for bound in bounds(self.settings.kafka, topic).values()) if topic else 0

    def await_answers(self, seconds: float = 300) -> None:
        """Until the scorer answers something; what ended meanwhile is started again."""
        before, deadline = self.answers(), time.monotonic() + seconds
        while self.answers() == before:
            if time.monotonic() > deadline:
                raise RuntimeError(f"no decision within {seconds:g} s")
            time.sleep(0.5)
            self.supervise()

    def server(self, name: str) -> psutil.Process | None:
        """The process of `kafka` or `postgres`, where it runs."""
        home = Home.of(self.base)
        found = (EmbeddedKafka(home) if name == "kafka" else EmbeddedPostgres(home)).process()
        return psutil.Process(found.pid) if found is not None else None

    def up(self) -> None:
        """Start the services that are down."""
        services.up(self.base)

    def end(self, name: str, seconds: float = 120) -> None:
        """Ctrl-C, and wait; kill -9 where it takes too long, which is a finding."""
        process = self.running.pop(name)
        process.send_signal(signal.SIGINT)
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise RuntimeError(f"{name} did not end within {seconds:g} s of Ctrl-C") from None

    def close(self, *, keep: bool = False) -> None:
        """End everything and delete the data; `keep` leaves the disk with all logs for whoever looks for a reason."""
        for name in list(self.running):
            for process in self.family(name):
                process.kill()
            self.running.pop(name).wait()
        self.proxy.close()
        self.clock.take_off()
        time.sleep(0.2)
        services.reset(self.base)
        if self.has_disk and not keep:
            subprocess.run(["umount", str(self.home)], check=True)
