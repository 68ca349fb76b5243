"""`fraudstream score --data`: decisions for a file or for lines from a pipe, with no service but the model."""

import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fraudstream import signals
from fraudstream.cli import inputs
from fraudstream.cli.output import print_document
from fraudstream.errors import InputError, UsageError
from fraudstream.logs import get_logger

if TYPE_CHECKING:
    import pyarrow as pa

    from fraudstream.model.decisions import Write
    from fraudstream.model.scoring import Answer, FileScorer

log = get_logger("score")

PIPE = Path("-")


@dataclass(frozen=True)
class Request:
    """What to score, with what, and where the decisions go."""

    data: Path
    mapping: list[str] | None
    model: str | None
    """A directory or a version; None is the champion."""
    output: Path | None
    profiles: bool
    verdicts: bool


@dataclass
class Answered:
    """Counts of the answers so far."""

    decisions: int = 0
    flagged: int = 0
    refused: int = 0

    def add(self, answers: "Sequence[Answer]") -> None:
        """Count some answers."""
        from fraudstream.decision import Decision

        decided = [answer for answer in answers if isinstance(answer, Decision)]
        self.decisions += len(decided)
        self.flagged += sum(answer.flagged for answer in decided)
        self.refused += len(answers) - len(decided)


def run(request: Request, *, as_json: bool) -> None:
    """Score, and report what was done: on stderr, and with --json as a document.

    An interrupt of the wait for lines ends the input; the output is completed before it goes on to the caller.
    """
    from fraudstream.model import decisions, scoring

    if as_json and request.output is None:
        raise UsageError(
            "Without --output decisions go to standard output, where --json would print its report.",
            hint="Name a file with --output, or leave out --json: decisions are NDJSON anyway.",
        )
    if request.verdicts and (request.profiles or request.data == PIPE):
        raise UsageError(
            "--with-verdicts is for a file and starts from empty profiles.",
            hint="Stored profiles already include past verdicts. Leave one of the options out.",
        )
    if request.output is not None:
        decisions.check_output(request.output)
    scorer = scoring.FileScorer(inputs.open_model(request.model))
    _look(request, scorer)
    answered, began = Answered(), time.monotonic()
    interrupted = False
    try:
        with _output(request, scorer) as write:
            try:
                for some in _answers(request, scorer):
                    write(some)
                    answered.add(some)
            except signals.Interrupt:
                if request.data != PIPE:
                    raise
                interrupted = True  # of a pipe only the wait for lines is
    finally:
        seconds = time.monotonic() - began
        log.info(
            "%s decisions, %s flagged, %s could not be read, in %.1f s by model %s",
            *(f"{count:,}" for count in (answered.decisions, answered.flagged, answered.refused)),
            seconds,
            scorer.model.version,
        )
    if as_json:
        document = {"model_version": scorer.model.version, **asdict(answered), "seconds": round(seconds, 3)}
        print_document(document | {"output": str(request.output)})
    if interrupted:
        raise signals.Interrupt


def _answers(request: Request, scorer: "FileScorer") -> "Iterator[Sequence[Answer]]":
    return _from_pipe(request, scorer) if request.data == PIPE else _from_file(request, scorer)


def _look(request: Request, scorer: "FileScorer") -> None:
    """Warn of inputs that the model lacks, and fetch the profiles to start from."""
    from fraudstream.model.scoring import looks_at_verdicts

    if request.profiles:
        _remember(scorer)
    elif not request.verdicts and (names := looks_at_verdicts(scorer.model)):
        log.warning(
            "model %s uses verdicts on past transactions (%s) and none are available, so it will miss more fraud."
            " --profiles loads those in PostgreSQL, --with-verdicts uses those in the file",
            scorer.model.version,
            ", ".join(names),
        )


def _remember(scorer: "FileScorer") -> None:
    from fraudstream.model.scoring import other_delay, other_fraud_share
    from fraudstream.settings import load_model_settings
    from fraudstream.store import snapshot

    if warning := other_delay(scorer.model.manifest, load_model_settings().label_delay_days):
        log.warning("%s", warning)
    profiles = snapshot.profiles(inputs.database(), scorer.reads).profiles
    if warning := other_fraud_share(scorer.model.manifest, profiles):
        log.warning("%s", warning)
    scorer.remember(profiles)
    log.info("starting from %s stored profiles", f"{sum(table.num_rows for table in profiles.values()):,}")


def _output(request: Request, scorer: "FileScorer") -> "AbstractContextManager[Write]":
    from fraudstream.model import decisions

    if request.output is None:
        return nullcontext(decisions.to_stream(sys.stdout.buffer))
    return decisions.to_file(request.output, scorer.features)


def _from_file(request: Request, scorer: "FileScorer") -> "Iterator[Sequence[Answer]]":
    """Refusals first, then decisions in order of time."""
    from fraudstream.model.scoring import LineRefusal, check_fields

    loaded = inputs.load_file(request.data, request.mapping, with_truth=request.verdicts)
    check_fields(scorer.model, loaded.rows.column_names, str(request.data))
    if request.profiles:
        _warn_of_overlap(loaded.rows, scorer)
    now = datetime.now(UTC)
    yield [LineRefusal(rejected=bad.reason, line=bad.row, scored_at=now) for bad in loaded.bad]
    yield from scorer.score_with_verdicts(loaded.rows) if request.verdicts else scorer.score_file(loaded.rows)


def _warn_of_overlap(rows: "pa.Table", scorer: "FileScorer") -> None:
    """Warn of transactions in the file that the stored profiles already include."""
    first = rows["timestamp"][0].as_py()
    if scorer.newest is not None and first <= scorer.newest:
        log.warning(
            "the profiles already include transactions up to %s, and the file begins at %s: the overlap is counted twice",
            *(f"{at:%Y-%m-%d %H:%M:%S}" for at in (scorer.newest, first)),
        )


def _from_pipe(request: Request, scorer: "FileScorer") -> "Iterator[Sequence[Answer]]":
    """Answers in the order of the lines, as soon as they arrive."""
    from fraudstream.model import lines, scoring, tables

    reader = lines.LineReader(scoring.needed_fields(scorer.model), tables.parse_map(request.mapping or []))
    with _unhurried(sys.stdin.fileno()) as read:
        for batch in lines.lines(read):
            found, now = reader.read(batch), datetime.now(UTC)
            answers: list[tuple[int, Answer]] = [
                (bad.row, scoring.LineRefusal(rejected=bad.reason, line=bad.row, scored_at=now))
                for bad in found.bad
            ]
            answers += zip(found.numbers, scorer.score_arrivals(found.rows, now), strict=True)
            yield [answer for _, answer in sorted(answers, key=lambda pair: pair[0])]


@contextmanager
def _unhurried(descriptor: int) -> Iterator[Callable[[int], bytes]]:
    """A reader of a pipe. Ctrl-C and SIGTERM interrupt the wait for input, but never the answer to a batch."""
    waiting = stopped = False

    def stop(*_: Any) -> None:
        nonlocal stopped
        stopped = True
        if waiting:
            raise signals.Interrupt

    def read(size: int) -> bytes:
        nonlocal waiting
        if stopped:
            raise signals.Interrupt
        waiting = True
        try:
            return os.read(descriptor, size)
        except OSError as error:
            raise InputError(
                f"Standard input cannot be read: {error.strerror or error}.",
                hint="Pipe NDJSON into the command, or name the file with --data.",
            ) from None
        finally:
            waiting = False

    with signals.heard(stop):
        yield read
