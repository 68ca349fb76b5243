"""How the columns of a file become our fields."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path

from fraudstream.errors import InputError, UsageError
from fraudstream.files import ROWS, Row, read


@dataclass(frozen=True, slots=True)
class Shape:
    """How the columns of a file are mapped to our fields."""

    fields: Sequence[str]
    required: Sequence[str]
    renamed: Mapping[str, str] = field(default_factory=dict)
    """Our field → their column."""
    filled: Mapping[str, str] = field(default_factory=dict)
    """Our field → the value if the file has none."""

    def source(self, name: str) -> str:
        """The column of a field."""
        return self.renamed.get(name, name)

    def portions(self, path: Path, also: str = "") -> Iterator[list[Row]]:
        """The rows of a file, in its order, as many at a time as are processed together.

        `also` is what else helps if a required field has no column; `{}` stands for the field. Raises InputError if
        the file cannot be read at all, or lacks required fields.
        """
        rows = read(path, partial(self._chosen, path, also))
        while some := list(islice(rows, ROWS)):
            yield some

    def _chosen(self, path: Path, also: str, have: Sequence[str]) -> list[str]:
        """The columns to read. Raises InputError if a mapped one does not exist or a required field has none."""
        refuse_unknown(path, have, self.renamed.values())
        wanted = dict.fromkeys(map(self.source, self.fields))
        refuse_repeated(path, have, wanted)
        missing = [n for n in self.required if self.source(n) not in have and n not in self.filled]
        if missing:
            raise InputError(
                f"{path} lacks {', '.join(missing)}.",
                hint=f"Name its column with --map THEIRS={missing[0]} (the columns are {_some(have)})"
                f"{also.format(missing[-1])}.",
            )
        return [name for name in wanted if name in have]


def renames(texts: Iterable[str], ours: Collection[str]) -> dict[str, str]:
    """Parse `THEIRS=OURS` strings into our field → their column. Raises UsageError if one is malformed or names no field."""
    renamed: dict[str, str] = {}
    for text in texts:
        # A column's name may contain an equals sign, ours do not.
        theirs, _, name = text.rpartition("=")
        if not theirs or name not in ours:
            raise malformed("--map", text, "THEIRS=OURS", ours)
        if name in renamed:
            raise UsageError(f"--map gives {name} twice.", hint="Keep one of them.")
        renamed[name] = theirs
    return renamed


def malformed(option: str, text: str, form: str, ours: Iterable[str]) -> UsageError:
    """The error for an option whose value does not have its form."""
    return UsageError(
        f"{option} {text!r} must have the form {form}, where OURS is one of our fields.",
        hint=f"Our fields are {', '.join(ours)}.",
    )


def refuse_repeated(path: Path, have: Sequence[str], read: Iterable[str]) -> None:
    """Raise InputError if one of the columns to `read` occurs twice, as either may be meant."""
    twice = sorted(name for name in set(read) if have.count(name) > 1)
    if twice:
        raise InputError(f"{path} has two columns called {listed(twice)}.", hint="Rename one of them.")


def refuse_unknown(path: Path, have: Sequence[str], mapped: Iterable[str]) -> None:
    """Raise InputError if a column that --map names does not exist."""
    unknown = [theirs for theirs in mapped if theirs not in have]
    if unknown:
        raise InputError(
            f"{path} has no column {', '.join(unknown)}, which --map names.",
            hint=f"Its columns are {_some(have)}.",
        )


def _some(have: Sequence[str]) -> str:
    """The first columns of a file for an error message."""
    return listed(have[:30]) or "none"


def listed(names: Iterable[str]) -> str:
    """Columns for an error message: a table with an index has one without a name."""
    return ", ".join(name or '""' for name in names)
