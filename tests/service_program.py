"""The real program with a home of its own, for tests that start and break the services."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypedDict

import psutil
import psycopg

from environment import without_settings
from fraudstream.local import data_place
from fraudstream.local.home import Home
from fraudstream.local.kafka import EmbeddedKafka
from fraudstream.settings import Settings


class Who(TypedDict, total=False):
    """Under which user the program runs, as `subprocess` has it."""

    user: int
    group: int
    extra_groups: list[int]


@dataclass(frozen=True)
class Program:
    """The program with a home of its own."""

    settings: Settings
    who: Who = field(default_factory=Who)
    python: str = sys.executable

    @property
    def home(self) -> Path:
        """FRAUDSTREAM_HOME."""
        return self.settings.home

    @property
    def environment(self) -> dict[str, str]:
        """The environment without the developer's settings, and without a network for Java."""
        return without_settings() | {
            "FRAUDSTREAM_HOME": str(self.home),
            "FRAUDSTREAM_JARS": str(self.settings.jars),
            # For a Python that is not the virtual environment's.
            "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry),
            "HTTPS_PROXY": "http://127.0.0.1:9",
        }

    def begin(self, *arguments: str) -> subprocess.Popen[str]:
        """Start a command; stdin is empty."""
        return subprocess.Popen(
            [self.python, "-m", "fraudstream", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=self.environment,
            cwd="/",
            text=True,
            **self.who,
        )

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        with self.begin(*arguments) as process:
            out, err = process.communicate(timeout=200)
        return subprocess.CompletedProcess(arguments, process.returncode, out, err)

    def up(self) -> dict[str, Any]:
        """What `up --json` prints."""
        done = self.run("up", "--json")
        assert done.returncode == 0, done.stdout + done.stderr
        return dict(json.loads(done.stdout))

    def status(self) -> dict[str, Any]:
        """What `status --json` prints."""
        done = self.run("status", "--json")
        assert done.returncode == 0, done.stdout + done.stderr
        return dict(json.loads(done.stdout))

    def connect(self) -> "psycopg.Connection[tuple[Any, ...]]":
        """A connection made from what `status --json` says."""
        server = self.status()["postgres"]
        return psycopg.connect(
            host=server["host"],
            port=server["port"],
            user=server["user"],
            dbname=server["database"],
            password=Path(server["password_file"]).read_text(),
            autocommit=True,
        )

    def processes(self) -> list[psutil.Process]:
        """The broker and the server of this home, by their command lines."""
        home = Home.of(self.settings)
        marks = {str(EmbeddedKafka(home).properties)}
        marks |= {str(place / "data") for place in (home.postgres, data_place.outside(home))}
        return [p for p in psutil.process_iter(["cmdline"]) if marks & set(p.info["cmdline"] or [])]


NewProgram = Callable[..., Program]
"""`new_program(home)`: the program with that home, which is reset when the test ends."""
