"""Records of CSV and TSV, one by one; of one that cannot be read, only its first line is lost."""

import csv
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TextIO

from fraudstream.errors import InputError

LONGEST_RECORD = 1_048_576
"""Maximum length of a record in characters, so that neither a file without line breaks nor an unclosed quote fills
the memory."""
NO_CHANCE = 6
"""A quoted field with this many delimiters, laid out like rows, is taken for rows; with fewer it may be prose."""


def records(file: TextIO, delimiter: str = ",") -> Iterator[list[str] | str]:
    """The cells of the header, then the same number for each record, or why there are none. `file` has newline="".

    A quoted field may contain line breaks, so a stray quote includes the lines after it. If the result is not a valid
    record, these are read again, each as the start of a record: whatever is in a line, the others are not lost.
    """
    lines, width = _Lines(file), 0
    while True:
        try:
            # Strict: otherwise text after a closing quote, and a quote that is still open at the file's end, are accepted.
            for cells in csv.reader(lines, delimiter=delimiter, strict=True):
                width = width or len(cells)
                if cells and len(cells) != width:
                    reason = f"{len(cells)} cells where the header has {width}"
                    break
                if len(lines.taken) > 1 and _holds_rows(cells, lines.taken, delimiter):
                    reason = "it would contain whole rows"
                    break
                if cells:
                    yield cells
                lines.begin()
            else:
                return
        except csv.Error as error:
            reason = f"not CSV: {error}"
        yield lines.put_back(reason)


def header_of(found: Iterator[list[str] | str], path: Path) -> list[str]:
    """The names of the columns, which `records` returns first; none if the file is empty. Raises InputError."""
    header = next(found, [])
    if isinstance(header, str):
        raise InputError(
            f"The header of {path} cannot be read: {header}.", hint="Its first line names the columns."
        )
    return header


def _holds_rows(cells: Sequence[str], lines: Sequence[str], delimiter: str) -> bool:
    """Whether these cells result from a stray quote that another one closes, in the same column by chance.

    `"15 inch` in one row and `15"` in a later one are such a pair, and would lose all rows between them. Strictly that is
    a record of RFC 4180, but one of its cells has as many delimiters as rows would have, and each line as many as one row.
    """
    full = [line for line in lines if line.strip()]
    within = (len(full) - 1) * (len(cells) - 1)
    return (
        within >= NO_CHANCE
        and within <= max(cell.count(delimiter) for cell in cells)
        and all(line.count(delimiter) == len(cells) - 1 for line in full)
    )


class _Lines:
    """The lines of a file; those of the current record can be put back."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._again: deque[str] = deque()
        self.taken: list[str] = []
        self._length = 0

    def __iter__(self) -> Iterator[str]:
        while line := self._again.popleft() if self._again else self._line():
            self.taken.append(line)
            self._length += len(line)
            if self._length > LONGEST_RECORD:
                raise csv.Error(f"a record of more than {LONGEST_RECORD:,} characters")
            yield line

    def _line(self) -> str:
        """The next line, or the start of one that is too long."""
        line = rest = self._file.readline(LONGEST_RECORD + 1)
        while len(rest) > LONGEST_RECORD and not rest.endswith(("\n", "\r")):
            rest = self._file.readline(LONGEST_RECORD + 1)
        return line

    def begin(self) -> None:
        """Start a record with the next line."""
        self.taken.clear()
        self._length = 0

    def put_back(self, reason: str) -> str:
        """Put back all but the first line of the record, which is invalid for `reason`; returns the reason for that line."""
        more = self.taken[1:]
        self._again.extendleft(reversed(more))
        self.begin()
        if not more:
            return reason
        return (
            f"a quote is not closed in this line, and with the next {len(more):,} it is not a row: {reason}"
        )
