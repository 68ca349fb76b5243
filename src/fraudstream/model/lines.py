"""Transactions as lines of NDJSON from a pipe: like messages, but without fields that the model does not need."""

from codecs import BOM_UTF8
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import msgspec

from fraudstream import decision
from fraudstream.decode import Decoder
from fraudstream.files import LONGEST_LINE, BadRow

if TYPE_CHECKING:
    import pyarrow as pa

READ: Final = 1 << 20
"""Bytes requested per read; a pipe returns what it has."""
MOST_LINES: Final = 4_096
"""Lines answered together: answers to a long file must not wait for its end, nor fill the memory."""
FIELDS: Final = decision.TRANSACTION_FIELDS
"""The fields that are read from a line, as live."""
OPTIONAL_TEXTS: Final = ("device", "location", "transaction_location")
"""Required in a message of the topic; a line may lack them if no feature of the model needs them."""

Line = tuple[int, "bytes | None"]
"""Its number from 1, and its bytes; None if it is longer than any transaction."""


def lines(read: Callable[[int], bytes]) -> Iterator[list[Line]]:
    """Lines as they arrive, at most MOST_LINES together; `read(n)` waits for some bytes and returns none at the end.

    Empty lines are counted and skipped.
    """
    number, rest, too_long = 0, b"", False
    while True:
        got = read(READ)
        whole = (rest + got).split(b"\n")
        rest = whole.pop() if got else b""  # at the end, the rest is a complete line
        found: list[Line] = []
        for line in whole:
            number += 1
            if number == 1:
                line = line.removeprefix(BOM_UTF8)  # noqa: PLW2901 - as in a file
            if too_long or len(line) > LONGEST_LINE:
                found.append((number, None))
            elif line.strip():
                found.append((number, line))
            too_long = False
        if len(rest) > LONGEST_LINE:
            rest, too_long = b"", True
        for start in range(0, len(found), MOST_LINES):
            yield found[start : start + MOST_LINES]
        if not got:
            return


@dataclass(frozen=True, slots=True)
class Read:
    """Parsed lines: `rows` of `schema.arrow_schema()`, the line number of each, and the refused lines."""

    rows: "pa.Table"
    numbers: list[int]
    bad: list[BadRow]


class LineReader:
    """Parses lines as transactions."""

    def __init__(self, needed: Collection[str], mapping: Mapping[str, str] | None = None) -> None:
        """`needed` are the required fields, `mapping` is {ours: theirs}."""
        self._decoder = Decoder()
        self._filled = [name for name in OPTIONAL_TEXTS if name not in needed]
        self._mapping = dict(mapping or {})

    def read(self, batch: Sequence[Line]) -> Read:
        """The transactions among these lines. Never raises because of a line."""
        bad = [BadRow(n, f"a line of more than {LONGEST_LINE:,} bytes") for n, line in batch if line is None]
        kept = [(number, line) for number, line in batch if line is not None]
        if self._mapping:
            kept = [(number, self._completed(number, line)) for number, line in kept]
        decoded = self._decoder.decode([line for _, line in kept])
        if decoded.rejects and not self._mapping:
            for reject in decoded.rejects:
                number, line = kept[reject.position]
                kept[reject.position] = number, self._completed(number, line)
            decoded = self._decoder.decode([line for _, line in kept])
        bad += [BadRow(kept[reject.position][0], reject.reason) for reject in decoded.rejects]
        return Read(decoded.rows, [kept[position][0] for position in decoded.positions], bad)

    def _completed(self, number: int, line: bytes) -> bytes:
        """The line with our names, and defaults for optional fields; unchanged if it is not an object."""
        try:
            theirs: Any = msgspec.json.decode(line)
            if not isinstance(theirs, dict):
                return line
            ours = {name: theirs.get(self._mapping.get(name, name)) for name in FIELDS}
            given = {name: value for name, value in ours.items() if value is not None}
            for name in self._filled:
                given.setdefault(name, "")
            given.setdefault("transaction_id", f"line-{number}")
            return msgspec.json.encode(given)
        except (ValueError, RecursionError):
            return line
