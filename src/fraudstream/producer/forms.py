"""Messages in a company's own format as transactions: which of their fields are ours, and which messages are payments.

Pure functions; `conversion` reads and sends. A message that cannot be converted is passed on as it is, so that the consumer
keeps it in `shop.rejected`: what converts messages must lose none.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from fraudstream.cells import to_text
from fraudstream.decode import REFUSED, Decoder
from fraudstream.errors import UsageError
from fraudstream.mapping import renames
from fraudstream.micros import Epoch
from fraudstream.producer.delivery import Batch
from fraudstream.producer.fields import document
from fraudstream.producer.replay import fillings
from fraudstream.schema import FIELDS

MOST_NAMES: Final = 30
"""Fields of a message that an error lists."""


@dataclass(frozen=True, slots=True)
class Original:
    """A message as it was read."""

    key: bytes | None
    value: bytes | None


@dataclass(frozen=True, slots=True)
class Portion:
    """Messages to be sent, in the order of their originals."""

    batch: Batch
    unreadable: dict[int, str]
    """Why these, by index among the originals, are passed on as they are."""
    passed_on: frozenset[int]
    """Their indexes in the batch."""
    skipped: int
    """Messages that are no payments: without a value, or other than `Form.only` says."""

    @property
    def converted(self) -> int:
        """Messages that became transactions."""
        return len(self.batch.values) - len(self.unreadable)


@dataclass(frozen=True, slots=True)
class Form:
    """How their messages become transactions. A path is a key, or keys with dots between them: `card.number`."""

    renamed: Mapping[str, str] = field(default_factory=dict)
    """Our field → the path of its value; others have their own name as a key."""
    filled: Mapping[str, str] = field(default_factory=dict)
    """Our field → the value if a message has none."""
    only: Mapping[str, str] = field(default_factory=dict)
    """Path → the value that a message must have there; others are skipped."""
    epoch: Epoch | None = None
    """The unit of timestamps that are numbers."""

    def converted(self, originals: Sequence[Original]) -> Portion:
        """Convert these messages. Never raises because of one."""
        sent: list[tuple[int, bytes, bytes]] = []
        unreadable: dict[int, str] = {}
        for place, original in enumerate(originals):
            if original.value is None:
                continue
            try:
                found = self._document(original.value)
                if found is not None:
                    sent.append((place, str(found.get("user_id", "")).encode(), msgspec.json.encode(found)))
            except REFUSED as error:
                unreadable[place] = str(error)
                sent.append((place, original.key or b"", original.value))
        # The one definition of a transaction: whatever passes is stored, and decided.
        made = [n for n, (place, _, _) in enumerate(sent) if place not in unreadable]
        decoded = Decoder().decode([sent[n][2] for n in made])
        for reject in decoded.rejects:
            number = made[reject.position]
            place = sent[number][0]
            unreadable[place] = reject.reason
            sent[number] = place, originals[place].key or b"", originals[place].value or b""
        batch = Batch([key for _, key, _ in sent], [value for _, _, value in sent])
        passed_on = frozenset(n for n, (place, _, _) in enumerate(sent) if place in unreadable)
        return Portion(batch, unreadable, passed_on, len(originals) - len(sent))

    def _document(self, value: bytes) -> dict[str, Any] | None:
        """The fields of a transaction; None for a message to be skipped. Raises one of REFUSED with the reason."""
        theirs = parsed(value)
        for path, wanted in self.only.items():
            if _as_text(at(theirs, path)) != wanted:
                return None
        return document(lambda name: at(theirs, self.renamed.get(name, name)), self.filled, self.epoch)


def form(maps: Iterable[str], fills: Iterable[str], only: Iterable[str], epoch: Epoch | None = None) -> Form:
    """Parse `THEIRS=OURS`, `OURS=VALUE` and `THEIRS=VALUE` strings. Raises UsageError if one is malformed or names no field of ours."""
    return Form(renames(maps, FIELDS), fillings(fills), dict(map(_condition, only)), epoch)


def _condition(text: str) -> tuple[str, str]:
    path, sign, value = text.partition("=")
    if not sign or not path:
        raise UsageError(
            f"--only {text!r} must have the form THEIRS=VALUE.", hint="For example --only type=payment."
        )
    return path, value


def parsed(value: bytes) -> dict[str, Any]:
    """The object in a message. Raises one of REFUSED with the reason if it is not one."""
    theirs = msgspec.json.decode(value)
    if not isinstance(theirs, dict):
        raise ValueError("expected a JSON object")  # noqa: TRY004 - handled with what the parser raises
    return theirs


def at(theirs: Mapping[str, Any], path: str) -> Any:
    """The value at a path, None if there is none. A key that contains the dots comes first.

    >>> at({"card": {"number": 7}, "a.b": 1, "a": {"b": 2}}, "card.number"), at({"a.b": 1, "a": {"b": 2}}, "a.b")
    (7, 1)
    """
    if path in theirs:
        return theirs[path]
    found: Any = theirs
    for key in path.split("."):
        found = found.get(key) if isinstance(found, dict) else None
    return found


def _as_text(value: Any) -> str | None:
    """A value as a person writes it in a condition; None for what has no such form."""
    if isinstance(value, bool):
        return "true" if value else "false"
    try:
        return to_text(value)
    except ValueError:
        return None


def paths(value: bytes | None) -> list[str]:
    """The paths of the values in a message, for an error that tells what there is to map; none if it is not an object."""
    try:
        return list(_paths(parsed(value or b"")))[:MOST_NAMES]
    except REFUSED:
        return []


def _paths(theirs: Mapping[str, Any], before: str = "") -> Iterator[str]:
    for key, value in theirs.items():
        if isinstance(value, dict):
            yield from _paths(value, f"{before}{key}.")
        else:
            yield f"{before}{key}"
