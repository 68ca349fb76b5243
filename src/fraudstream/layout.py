"""What stands between the values of a message, byte for byte: its layout.

The messages of one program differ in their values alone. Their layout is learned from one of them and compared with thousands
at once, which tells where the values are; `alike` decides what they are. Only flat objects have one.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import TYPE_CHECKING, Final, Self

import numpy as np
import numpy.typing as npt

from fraudstream.arrays import Integers, Truths
from fraudstream.schema import FIELDS, KINDS, REQUIRED

if TYPE_CHECKING:
    import pyarrow as pa

Spans = Integers
"""Where values begin and end: two 32-bit integers in one of 64, which are moved as one, and are Arrow's own offsets."""

LONGEST: Final = 256
"""Bytes between two values of a layout, at most; so many may be read behind the last message."""
QUOTE, BACKSLASH, SPACE = b'"'[0], b"\\"[0], b" "[0]

_PAIR = re.compile(
    rb' *(?P<open>[{,]) *"(?P<name>[^"\\]*)" *: *(?:(?P<quoted>"[^"\\]*")|(?P<bare>[^\s"\\,:{}\[\]]+))'
)
_END = re.compile(rb" *} *")


@dataclass(frozen=True, slots=True)
class Slot:
    """A value in a layout, and the bytes between the previous value and this one, including their quotes."""

    name: str
    quoted: bool
    before: bytes


@dataclass(frozen=True, slots=True)
class Layout:
    """What stands between the values of a message."""

    slots: tuple[Slot, ...]
    tail: bytes
    quotes: int
    """In the whole message."""

    @classmethod
    def learn(cls, message: bytes) -> Self | None:
        """The layout of a message; None if it is not a flat JSON object, or has an escape."""
        slots: list[Slot] = []
        end, closing = 0, b""
        while pair := _PAIR.match(message, end):
            if (pair["open"] == b"{") != (not slots):
                return None
            quoted, end = pair["quoted"] is not None, pair.end()
            quote = b'"' if quoted else b""
            before = closing + message[pair.start() : pair.start("quoted" if quoted else "bare")] + quote
            slots.append(Slot(pair["name"].decode(errors="replace"), quoted, before))
            closing = quote
        tail = closing + message[end:]
        runs = [*(slot.before for slot in slots), tail]
        if not slots or not _END.fullmatch(message, end) or max(map(len, runs)) > LONGEST:
            return None
        if len({slot.name for slot in slots}) < len(slots):
            return None  # of two values of a field, the last one counts
        return cls(tuple(slots), tail, message.count(b'"'))

    def is_readable(self, fields: Sequence[str]) -> bool:
        """Whether it has all of these fields that are required, each with a value that may be of its kind."""
        here = {slot.name: slot.quoted for slot in self.slots if slot.name in fields}
        return all(name in here for name in REQUIRED) and all(
            not quoted if KINDS[name] in {"float", "truth"} else quoted or name not in REQUIRED
            for name, quoted in here.items()
        )

    def unknown(self) -> int:
        """How many of its fields no transaction has."""
        return sum(slot.name not in FIELDS for slot in self.slots)

    def locate(self, messages: "Messages", rows: Integers) -> tuple[Truths, dict[str, Spans]]:
        """Which of these messages have this layout, and where their values are. All have as many quotes as it has."""
        spans: dict[str, Spans] = {}
        at, stop, quote = messages.bounds[rows], messages.bounds[rows + 1], messages.first_quotes[rows]
        fits: Truths = np.ones(len(rows), bool)
        for slot, after in zip(self.slots, self._after(), strict=True):
            fits &= messages.have(slot.before, at)
            begin = at + len(slot.before)
            quote = quote + slot.before.count(b'"')
            # A quoted value ends at the next quote. Behind another one the next quote, if there is one, opens a name.
            if slot.quoted or b'"' in after:
                at = messages.quotes[quote] - after.index(b'"')
            else:
                at = stop - len(after)
            fits &= begin <= at
            spans[slot.name] = spans_of(begin, at)
        fits &= messages.have(self.tail, at) & (at + len(self.tail) == stop)
        return fits, spans

    def _after(self) -> Iterator[bytes]:
        """What follows each value."""
        yield from (slot.before for slot in self.slots[1:])
        yield self.tail


class Messages:
    """The bytes of some messages, joined, and where they and their quotes are."""

    def __init__(self, values: "pa.BinaryArray") -> None:
        _, offsets, data = values.buffers()
        bounds = np.frombuffer(offsets, np.int32)[values.offset : values.offset + len(values) + 1]
        own = memoryview(data)[bounds[0] : bounds[-1]] if data else b""
        self.joined = b"".join((own, bytes(2 * LONGEST)))
        self.bounds: Integers = bounds.astype(np.int64) - bounds[0]
        self._bytes = np.frombuffer(self.joined, np.uint8)[: len(own)]
        self.quotes: Integers = np.flatnonzero(self._bytes == QUOTE)
        places = np.searchsorted(self.quotes, self.bounds)
        self.first_quotes, self.quote_counts = places[:-1], np.diff(places)
        self.are_plain = self._plain(values)

    def __len__(self) -> int:
        return len(self.bounds) - 1

    def __getitem__(self, row: int) -> bytes:
        return self.joined[self.bounds[row] : self.bounds[row + 1]]

    def _plain(self, values: "pa.BinaryArray") -> Truths:
        """Which are there, and have no backslash or control character."""
        plain: Truths = values.is_valid().to_numpy(zero_copy_only=False)
        if b"\\" in self.joined or self._bytes.min(initial=SPACE) < SPACE:
            odd = np.flatnonzero((self._bytes == BACKSLASH) | (self._bytes < SPACE))
            plain[np.searchsorted(self.bounds, odd, "right") - 1] = False
        return plain

    def have(self, run: bytes, at: Integers) -> Truths:
        """At which of these places the bytes `run` are, which contain no NUL."""
        # Strings of this length at every byte, of which those at the places are compared. numpy drops NULs at the end of one.
        every = np.ndarray((len(self.joined) - len(run) + 1,), f"S{len(run)}", self.joined, strides=(1,))
        found: Truths = every[at] == run
        return found

    @cached_property
    def _buffer(self) -> "pa.Buffer":
        import pyarrow as pa

        return pa.py_buffer(self.joined)

    def strings(self, spans: Spans) -> "pa.StringArray":
        """What is in these spans, which ascend."""
        import pyarrow as pa

        # Strings and what is between them take turns in one array, of which every second one is taken.
        turns = max(2 * len(spans) - 1, 0)
        both = pa.Array.from_buffers(pa.string(), turns, [None, pa.py_buffer(spans), self._buffer])
        return both.take(_every_second(len(spans)))


def spans_of(begin: Integers, end: Integers) -> Spans:
    """From each of these places to the other."""
    pairs = np.empty((len(begin), 2), np.int32)
    pairs[:, 0], pairs[:, 1] = begin, end
    return pairs.view(np.int64)[:, 0]


def edges(spans: Spans) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """Where each begins and ends."""
    pairs = spans.view(np.int32)
    return pairs[0::2], pairs[1::2]


@cache
def _capacity(power: int) -> "pa.Array":
    import pyarrow as pa

    return pa.array(np.arange(0, 2 << power, 2))


def _every_second(count: int) -> "pa.Array":
    """The first `count` even numbers."""
    return _capacity(count.bit_length()).slice(0, count)
