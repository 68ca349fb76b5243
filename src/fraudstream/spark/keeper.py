"""Exchanges state with PostgreSQL for the scorer, in a separate thread, so that a lost database never delays a decision.

It reads the current profiles and the champion, and writes the progress of the stream.
While PostgreSQL is unavailable, the stream continues with what it has.
"""

import gc
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

from fraudstream.errors import DatabaseError, DatabaseUnreachable, FraudstreamError, InputError, ModelAltered
from fraudstream.kafka import Topic
from fraudstream.logs import get_logger
from fraudstream.metrics import Standing
from fraudstream.model.artifact import TREES, Model
from fraudstream.model.scoring import other_fraud_share
from fraudstream.settings import PostgresSettings
from fraudstream.spark.backoff import Backoff
from fraudstream.spark.failures import summary_of
from fraudstream.spark.live_query import Basis
from fraudstream.spark.scoring import Scoring
from fraudstream.spark.silence import Silence
from fraudstream.store import offsets, progress, registry, snapshot
from fraudstream.store.connection import abandon

log = get_logger("score")

TARGET: Final = "score"
"""The target of the scorer's offsets, below which every message is answered, and its name in `shop.stream_progress`."""
CHAMPION_SECONDS: Final = 3.0
"""Seconds between two checks of the champion: a promotion takes effect a few seconds later."""
LONGEST_PAUSE_SECONDS: Final = 60.0
"""Maximum number of seconds before profiles or a promoted model that could not be loaded are tried again."""
SILENCE_SECONDS: Final = 300.0
"""Seconds after which a question without any answer is given up, and asked again. Long, as the first of many profiles may
come late on a slow disk, and nothing is gained by asking twice; decisions wait for none of it."""
_TURN_SECONDS: Final = 0.2
_RETRY_SECONDS: Final = 1.0
_CLOSING_SECONDS: Final = 15.0
"""Longer than the final write takes if PostgreSQL responds, and less than a supervisor waits before it kills."""
_UNWRITTEN: Final = "Progress could not be saved; the next start will score some messages again. %s"


class Keeper:
    """Reads and writes in the background; `basis` is the newest one."""

    def __init__(
        self,
        postgres: PostgresSettings,
        ready: Callable[[Model], Scoring],
        model: Model,
        patience_seconds: float = 60.0,
    ) -> None:
        """Reads the first profiles immediately. Raises DatabaseError, InputError.

        A stream that makes no progress for `patience_seconds` is reported as stuck, a silent PostgreSQL as unavailable.
        """
        self._postgres = postgres
        self._patience_seconds = patience_seconds
        self._ready = ready
        self._refused: tuple[str, str] | None = None
        """A champion that cannot be used, so that it is logged once, and tried again once its row was written."""
        self._loading = Backoff(CHAMPION_SECONDS, LONGEST_PAUSE_SECONDS)
        self._preparing = Backoff(CHAMPION_SECONDS, LONGEST_PAUSE_SECONDS)
        self._promoted: tuple[str, str] | None = None
        """The champion that `_preparing` is about."""
        self._told: str | None = None
        """A model that met another share of fraud than it learned from, so that it is logged once."""
        self._unread = False
        """Whether requested profiles could not be read: PostgreSQL may accept writes while a lock blocks these."""
        self._silence = Silence()
        self.basis = self._fresh(ready(model))
        self._wanted = threading.Event()
        self._pending: tuple[Topic, Standing] | None = None
        self._lock = threading.Lock()
        self._away = False
        self._closing = threading.Event()
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._work, name="keeper", daemon=True)
        self._thread.start()

    @property
    def is_asked(self) -> bool:
        """Whether a request for newer profiles is still pending; not if PostgreSQL is away, and silent at this attempt, too."""
        is_silent = self._away and self._silence.seconds > CHAMPION_SECONDS
        return self._wanted.is_set() and not is_silent

    @property
    def is_away(self) -> bool:
        """Whether PostgreSQL was unavailable at the last attempt, or has been silent for too long at this one."""
        return self._away

    def ask(self) -> None:
        """Request newer profiles; once `is_asked` is false again, `basis` has them or PostgreSQL is unavailable."""
        self._check()
        self._wanted.set()

    def save(self, topic: Topic, standing: Standing) -> None:
        """Have this written soon. The latest one counts."""
        self._check()
        with self._lock:
            self._pending = topic, standing

    def close(self) -> None:
        """Write what is pending, and end. A database that hangs is abandoned: shutdown must not wait for it."""
        self._closing.set()
        self._thread.join(_CLOSING_SECONDS)
        if self._thread.is_alive():
            log.warning(_UNWRITTEN, "PostgreSQL does not answer.")

    def _check(self) -> None:
        """Called every few seconds by the thread that watches the stream. Raises what ended this one."""
        if self._failure is not None:
            raise self._failure
        # Timeouts are the server's to keep: one that hangs keeps none.
        silent = self._silence.seconds
        if silent > self._patience_seconds:
            self._lost(DatabaseUnreachable(f"PostgreSQL has not answered for {silent:.0f} s."))
        if silent > SILENCE_SECONDS:
            abandon(self._thread.ident)

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
                if answered and not self._unread:  # a turn without a query shows nothing
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
        """Write what is pending; returns whether there was anything. Raises DatabaseError."""
        with self._lock:
            pending, self._pending = self._pending, None
        if pending is None:
            return False
        topic, standing = pending
        try:
            with self._silence.while_asking():
                offsets.reach(self._postgres, TARGET, topic, standing.reached)
                self._silence.heard()
                progress.record(self._postgres, TARGET, standing, self._patience_seconds)
        except DatabaseError:
            with self._lock:
                self._pending = self._pending or pending
            raise
        return True

    def _read(self, *, newer: bool) -> None:
        """Follow the champion; profiles are read if the model changed, or `newer` ones were requested."""
        with self._silence.while_asking():
            champion = registry.champion(self._postgres)
        promoted = (
            champion is not None
            and champion[0] != self.basis.scoring.model.version
            and champion != self._refused
            and self._promote(champion)
        )
        if newer and not promoted:
            present = self.basis
            kept = f"Keeping profiles of {present.profiles.taken_at:%H:%M:%S}: newer ones could not be loaded"
            self._renew(self._loading, lambda: present.scoring, kept)

    def _promote(self, champion: tuple[str, str]) -> bool:
        """Prepare the champion, with profiles; returns whether `basis` has it. Raises DatabaseError."""
        if champion != self._promoted:
            self._promoted = champion
            self._preparing.reset()
        present = self.basis.scoring.model
        kept = f"Keeping model {present.version}: model {champion[0]} could not be prepared"
        try:
            promoted = self._renew(
                self._preparing,
                lambda: self._ready(self._like(present, self._opened())),
                kept,
            )
        except (InputError, ModelAltered) as error:
            # Permanent errors, until somebody changes the row. All others may be temporary, and are tried again.
            self._refused = champion
            log.warning("Keeping model %s: %s", present.version, error.message)
            return False
        if promoted:
            log.info("model %s was promoted", champion[0])
        return promoted

    def _opened(self) -> Model:
        with self._silence.while_asking():
            return registry.opened(self._postgres)

    def _renew(self, backoff: Backoff, find: Callable[[], Scoring], kept: str) -> bool:
        """Replace `basis` by what `find` returns, with newer profiles; returns whether it did. Raises DatabaseError, InputError.

        Whatever else fails, decisions go on with the present one until it works; `kept` says so, once for each kind of error.
        """
        if not backoff.is_due:
            return False
        try:
            self.basis = self._fresh(find())
        except (DatabaseError, InputError):
            raise
        except Exception as error:  # a full disk, too many open files, or whatever Java raises
            kind = type(error).__name__
            if backoff.failed(kind):
                again = f"this is tried again at least every {LONGEST_PAUSE_SECONDS:.0f} s"
                log.warning("%s; %s: %s: %s", kept, again, kind, summary_of(str(error)))
            log.debug("%s", kept, exc_info=True)
            return False
        backoff.reset()
        return True

    @staticmethod
    def _like(before: Model, champion: Model) -> Model:
        """The champion. Raises InputError if only its estimator can score, and the model before had trees.

        A pickle runs code when it is opened. A stream that was started on trees must not run code merely because
        somebody may promote models.
        """
        if TREES in before.files and TREES not in champion.files:
            raise InputError(
                f"model {champion.version} has no trees, only a pickled estimator, which runs code when opened. To accept"
                " it, restart `fraudstream score --mode microbatch`."
            )
        return champion

    def _fresh(self, scoring: Scoring) -> Basis:
        # py4j's handles of Java objects are cyclic garbage, and Python's collector hardly ever runs in a process as large
        # as a driver: without this, every hand-over left another copy of all profiles in the JVM, until its heap was full.
        gc.collect()
        began, taken_at = time.monotonic(), datetime.now(UTC)
        self._unread = True
        with self._silence.while_asking():
            found = snapshot.profiles(self._postgres, scoring.reads, self._silence.heard)
        self._unread = False
        self._compare(scoring.model, found)
        profiles = scoring.profiles(found, taken_at)
        seconds = time.monotonic() - began
        log.debug("read %s profiles in %.2f s", f"{profiles.rows:,}", seconds)
        return Basis(scoring, profiles, seconds)

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
                log.warning("%s Decisions wait for it, as every batch looks up profiles.", error.message)
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
