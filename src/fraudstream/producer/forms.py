"""Messages in a company's own format as transactions: which of their fields are ours, and which messages are payments.

Pure functions; `conversion` reads and sends. A message that cannot be converted is passed on as it is, so that the consumer
keeps it in `shop.rejected`: what converts messages must lose none.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

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
Simple = str | int | float | None
"""A value that `--only` can name; a boolean is the text `true` or `false`."""
LONGEST_VALUE: Final = 60
"""Characters of a value that an error shows."""


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
    others: Mapping[str, int]
    """What stands instead where `Form.only` looks, with how often: `type=login`."""
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
    only: Mapping[str, frozenset[Simple]] = field(default_factory=dict)
    """Path → the values of which a message must have one there; others are skipped. None is null, or no value."""
    epoch: Epoch | None = None
    """The unit of timestamps that are numbers."""

    def converted(self, originals: Sequence[Original]) -> Portion:
        """Convert these messages. Never raises because of one."""
        sent: list[tuple[int, bytes, bytes]] = []
        unreadable: dict[int, str] = {}
        others: Counter[str] = Counter()
        for place, original in enumerate(originals):
            if original.value is None:
                continue
            try:
                theirs = parsed(original.value)
                if (other := self._other(theirs)) is not None:
                    others[other] += 1
                else:
                    found = self._document(theirs)
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
        return Portion(batch, unreadable, passed_on, others, len(originals) - len(sent))

    def _document(self, theirs: dict[str, Any]) -> dict[str, Any]:
        return document(lambda name: at(theirs, self.renamed.get(name, name)), self.filled, self.epoch)

    def _other(self, theirs: dict[str, Any]) -> str | None:
        """What a message has where `only` wants another value, if it is to be skipped."""
        for path, wanted in self.only.items():
            if (found := _simple(at(theirs, path))) not in wanted:
                return f"{path}={'null' if found is None else str(found)[:LONGEST_VALUE]}"
        return None


def form(maps: Iterable[str], fills: Iterable[str], only: Iterable[str], epoch: Epoch | None = None) -> Form:
    """Parse `THEIRS=OURS`, `OURS=VALUE` and `THEIRS=VALUE` strings. Raises UsageError if one is malformed or names no field of ours."""
    wanted: dict[str, frozenset[Simple]] = {}
    for path, value in map(_condition, only):
        wanted[path] = wanted.get(path, frozenset()) | _meant(value)
    return Form(renames(maps, FIELDS), fillings(fills), wanted, epoch)


def _meant(text: str) -> frozenset[Simple]:
    """The values that a condition may mean: a text, and the number or null that JSON reads in it.

    >>> sorted(map(repr, _meant("1.0"))), sorted(map(repr, _meant("null"))), _meant("007")
    (["'1.0'", '1.0'], ["'null'", 'None'], frozenset({'007'}))
    """
    try:
        read = msgspec.json.decode(text)
    except REFUSED:
        return frozenset({text})
    is_simple = read is None or (isinstance(read, (int, float)) and not isinstance(read, bool))
    return frozenset({text, read}) if is_simple else frozenset({text})


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
    """The value at a path, None if there is none. Keys may contain dots; the longer key comes first.

    >>> at({"card": {"number": 7}}, "card.number"), at({"a.b": 1, "a": {"b": 2}}, "a.b"), at({"a": {"b.c": 3}}, "a.b.c")
    (7, 1, 3)
    """
    found = theirs.get(path)
    dot = len(path)
    while found is None and (dot := path.rfind(".", 0, dot)) >= 0:
        inner = theirs.get(path[:dot])
        if isinstance(inner, dict):
            found = at(inner, path[dot + 1 :])
    return found


def _simple(value: Any) -> Simple:
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, Simple) else "…"


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
