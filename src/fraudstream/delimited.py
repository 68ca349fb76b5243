"""Records of CSV and TSV, one by one; one that cannot be read costs its first line and no other."""

import csv
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TextIO

from fraudstream.errors import InputError

LONGEST_RECORD = 1_048_576
"""Characters of a record: more is no row, and neither a file without line ends nor a quote that is never closed
must fill the memory."""
NO_CHANCE = 6
"""Delimiters in a quoted field, all where those of rows would be: fewer may be a sentence with commas."""


def records(file: TextIO, delimiter: str = ",") -> Iterator[list[str] | str]:
    """The cells of the header, then of each record as many, or why there are none. `file` is opened with newline="".

    A quoted field may hold line ends, so one stray quote takes in the lines after it. Where that gives no record,
    they are read again, each as the beginning of one: whatever stands in a line, its neighbours are not lost.
    """
    lines, width = _Lines(file), 0
    while True:
        try:
            # Strict: else whatever follows a closing quote, and a quote that the file's end leaves open, pass for cells.
            for cells in csv.reader(lines, delimiter=delimiter, strict=True):
                width = width or len(cells)
                if cells and len(cells) != width:
                    reason = f"{len(cells)} cells where the header has {width}"
                    break
                if len(lines.taken) > 1 and _holds_rows(cells, lines.taken, delimiter):
                    reason = "it would hold whole rows"
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
    """The names of the columns, which `records` gives first; none where the file is empty. Raises InputError."""
    header = next(found, [])
    if isinstance(header, str):
        raise InputError(
            f"The header of {path} cannot be read: {header}.", hint="Its first line names the columns."
        )
    return header


def _holds_rows(cells: Sequence[str], lines: Sequence[str], delimiter: str) -> bool:
    """Whether these cells come of one stray quote that another one closes, in the same column by chance.

    `"15 inch` in one row and `15"` in a later one are such a pair, and would cost all rows between them. That is a
    record by the letter of RFC 4180, but one cell of it holds as many delimiters as rows, each line as many as one.
    """
    full = [line for line in lines if line.strip()]
    within = (len(full) - 1) * (len(cells) - 1)
    return (
        within >= NO_CHANCE
        and within <= max(cell.count(delimiter) for cell in cells)
        and all(line.count(delimiter) == len(cells) - 1 for line in full)
    )


class _Lines:
    """Lines of a file as long as it has some; those of the record under way can be put back."""

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
        """The next line, of one that is too long its beginning."""
        line = rest = self._file.readline(LONGEST_RECORD + 1)
        while len(rest) > LONGEST_RECORD and not rest.endswith(("\n", "\r")):
            rest = self._file.readline(LONGEST_RECORD + 1)
        return line

    def begin(self) -> None:
        """The next line begins a record."""
        self.taken.clear()
        self._length = 0

    def put_back(self, reason: str) -> str:
        """All but the first line of the record, which is none for this reason; returns it in the words of that line."""
        more = self.taken[1:]
        self._again.extendleft(reversed(more))
        self.begin()
        if not more:
            return reason
        return f"a quote does not close in this line, and with the next {len(more):,} it is no row: {reason}"
