"""The scorer's line to PostgreSQL: a thread of its own, so that a lost database never holds up a decision.

It brings the profiles of the moment and the champion, and takes away how far the stream has come.
While PostgreSQL is away, the stream goes on with what it has.
"""

import gc
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from fraudstream.errors import DatabaseError, FraudstreamError, InputError, ModelAltered
from fraudstream.kafka import Topic
from fraudstream.logs import get_logger
from fraudstream.model import packing
from fraudstream.model.artifact import TREES, Model
from fraudstream.model.scoring import other_fraud_share
from fraudstream.settings import PostgresSettings
from fraudstream.spark.live_query import Basis
from fraudstream.spark.scoring import Scoring
from fraudstream.store import offsets, progress, registry, snapshot

log = get_logger("score")

TARGET: Final = "score"
"""Owns the offsets below which every message is answered, and the scorer's rows in `shop.stream_progress`."""
CHAMPION_SECONDS: Final = 3.0
"""How often it asks who is champion: a promotion is in force a few seconds later."""
_TURN_SECONDS: Final = 0.2
_RETRY_SECONDS: Final = 1.0
_CLOSING_SECONDS: Final = 15.0
"""More than the last word takes where PostgreSQL answers, and less than a supervisor waits before it kills."""
_UNWRITTEN: Final = "Progress could not be saved; the next start will score some messages again. %s"


@dataclass(frozen=True, slots=True)
class Standing:
    """How far a stream has come, for `shop.stream_offsets` and `shop.stream_progress`."""

    topic: Topic
    reached: Mapping[int, int]
    ends: Mapping[int, int]
    rows_per_second: float

    def later(self, reached: Mapping[int, int], ends: Mapping[int, int], seconds: float) -> "Standing":
        """Where it stands so much later, at the pace since. A partition that is new counts from where it begins.

        >>> before = Standing(Topic("t", "id", (0,)), {0: 10}, {0: 10}, 0.0)
        >>> before.later({0: 25, 1: 4_000}, {0: 30, 1: 4_000}, 10.0).rows_per_second
        1.5
        """
        done = sum(offset - self.reached.get(partition, offset) for partition, offset in reached.items())
        return Standing(self.topic, reached, ends, done / seconds)


def load_champion(postgres: PostgresSettings) -> Model:
    """The model that scores. Raises InputError where there is none, or where it is not for this program."""
    registered, packed = registry.load(postgres)
    return packing.unpack(packed, f"model {registered.version}")


class Keeper:
    """Reads and writes in the background; `basis` is the newest that there is."""

    def __init__(
        self,
        postgres: PostgresSettings,
        ready: Callable[[Model], Scoring],
        model: Model,
        patience_seconds: float = 60.0,
    ) -> None:
        """Reads the first profiles at once. Raises DatabaseError, InputError.

        A stream that makes no progress for `patience_seconds` is said to be stuck.
        """
        self._postgres = postgres
        self._patience_seconds = patience_seconds
        self._ready = ready
        self._refused: str | None = None
        """A champion that cannot be used, said once."""
        self._told: str | None = None
        """A model that met other shares of fraud than it learned from, said once."""
        self.reading_seconds = 0.0
        """How long it took to read the last profiles."""
        self._unread = False
        """Profiles were wished for and could not be read: PostgreSQL may write, and hold these back by a lock."""
        self.basis = self._fresh(ready(model))
        self._wanted = threading.Event()
        self._standing: Standing | None = None
        self._lock = threading.Lock()
        self._away = False
        self._closing = threading.Event()
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._work, name="keeper", daemon=True)
        self._thread.start()

    @property
    def is_asked(self) -> bool:
        """Whether a wish for newer profiles is still open."""
        return self._wanted.is_set()

    @property
    def is_away(self) -> bool:
        """Whether PostgreSQL did not answer last time."""
        return self._away

    def ask(self) -> None:
        """Wish for newer profiles; `basis` has them, or PostgreSQL is away, once `is_asked` is false again."""
        self._check()
        self._wanted.set()

    def save(self, standing: Standing) -> None:
        """Write this down soon. The latest counts."""
        self._check()
        with self._lock:
            self._standing = standing

    def close(self) -> None:
        """Write down what is left, and end. A database that hangs is left behind: a stop must not wait for it."""
        self._closing.set()
        self._thread.join(_CLOSING_SECONDS)
        if self._thread.is_alive():
            log.warning(_UNWRITTEN, "PostgreSQL does not answer.")

    def _check(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _work(self) -> None:
        looked = time.monotonic()
        while not self._closing.wait(_RETRY_SECONDS if self._away else _TURN_SECONDS):
            wanted = self._wanted.is_set()
            try:
                answered = self._write()
                if wanted or time.monotonic() - looked > CHAMPION_SECONDS:
                    looked = time.monotonic()
                    self._read(newer=wanted or self._unread)
                    answered = True
                if answered and not self._unread:  # a turn that asks nothing learns nothing
                    self._found()
            except DatabaseError as error:
                self._lost(error)
            except Exception as error:  # noqa: BLE001 - raised again where the stream is watched
                self._failure = error
                return
            finally:
                if wanted:
                    self._wanted.clear()
        try:
            self._write()
        except DatabaseError as error:
            log.warning(_UNWRITTEN, error.message)

    def _write(self) -> bool:
        """Write down what is to be written; returns whether there was anything. Raises DatabaseError."""
        with self._lock:
            standing, self._standing = self._standing, None
        if standing is None:
            return False
        try:
            offsets.reach(self._postgres, TARGET, standing.topic, standing.reached)
            progress.record(
                self._postgres,
                TARGET,
                standing.topic.name,
                standing.reached,
                standing.ends,
                standing.rows_per_second,
                self._patience_seconds,
            )
        except DatabaseError:
            with self._lock:
                self._standing = self._standing or standing
            raise
        return True

    def _read(self, *, newer: bool) -> None:
        """Follow the champion; profiles are read where the model is another, or `newer` ones were wished for."""
        scoring = self.basis.scoring
        champion = registry.champion_version(self._postgres)
        if champion is not None and champion not in (scoring.model.version, self._refused):
            try:
                scoring = self._ready(self._like(scoring.model, load_champion(self._postgres)))
                log.info("model %s was promoted", champion)
            except (InputError, ModelAltered) as error:
                # For good: neither changes. Whatever else the database says may pass, and the next look tries again.
                self._refused = champion
                log.warning("Keeping model %s: %s", scoring.model.version, error.message)
        if newer or scoring is not self.basis.scoring:
            self.basis = self._fresh(scoring)

    @staticmethod
    def _like(before: Model, champion: Model) -> Model:
        """The champion. Raises InputError where only its estimator can score, and the model before had trees.

        A pickle runs code when it is opened. Who may promote a model must not run theirs as a stream that was started
        on trees, without anybody starting anything.
        """
        if TREES in before.files and TREES not in champion.files:
            raise InputError(
                f"model {champion.version} has no trees, only a pickled estimator, which runs code when opened. To accept"
                " it, restart `fraudstream score --mode microbatch`."
            )
        return champion

    def _fresh(self, scoring: Scoring) -> Basis:
        # py4j's handles on Java's objects point at themselves, and Python's own collector hardly ever comes in a process
        # as large as a driver: without this, every hand-over left another copy of all profiles in the JVM, until its heap was full.
        gc.collect()
        began, taken_at = time.monotonic(), datetime.now(UTC)
        self._unread = True
        found = snapshot.profiles(self._postgres, scoring.reads)
        self._compare(scoring.model, found)
        profiles = scoring.profiles(found, taken_at)
        self._unread = False
        self.reading_seconds = time.monotonic() - began
        log.debug("read %s profiles in %.2f s", f"{profiles.rows:,}", self.reading_seconds)
        return Basis(scoring, profiles)

    def _compare(self, model: Model, found: snapshot.Snapshot) -> None:
        """Not at the start alone: chargebacks may be loaded at any time."""
        warning = other_fraud_share(model.manifest, found.profiles)
        if warning and model.version != self._told:
            self._told = model.version
            log.warning("%s", warning)

    def _lost(self, error: FraudstreamError) -> None:
        if not self._away:
            self._away = True
            if self.basis.scoring.lookup is not None:
                log.warning("%s Decisions wait for it, as every batch asks it for profiles.", error.message)
                return
            log.warning(
                "%s Scoring continues with the profiles of %s.",
                error.message,
                self.basis.profiles.taken_at.strftime("%H:%M:%S"),
            )

    def _found(self) -> None:
        if self._away:
            self._away = False
            log.info("PostgreSQL answers again")
