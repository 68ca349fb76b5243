"""A table of transactions as arrays: times, amounts, and keys of entities, each computed once."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fraudstream.arrays import Floats, Integers
from fraudstream.errors import InputError
from fraudstream.features.catalogue import LARGEST_AMOUNT, SMALLEST_AMOUNT
from fraudstream.schema import arrow_types

INSTANT = arrow_types()["instant"]
KEY_SEPARATOR = ":"


def pair_key(first: str, second: str) -> str:
    """The key of an entity of two fields: `LENGTH:FIRST:SECOND`, LENGTH in characters of FIRST.

    The length makes it unambiguous, whatever the strings contain.

    >>> pair_key("alice", "ios"), pair_key("a:1", "b"), pair_key("a", "1:b")
    ('5:alice:ios', '3:a:1:b', '1:a:1:b')
    """
    return f"{len(first)}{KEY_SEPARATOR}{first}{KEY_SEPARATOR}{second}"


@dataclass(frozen=True)
class Keys:
    """The keys of one entity in a table of transactions."""

    code: Integers
    """For each row the number of its key, -1 if a field is null."""
    count: int
    texts: pa.Array | None
    """The string of each key, for entities of one field."""
    parts: tuple["Keys", "Keys", Integers] | None = None
    """For a pair: the keys of both fields, and the code of each pair, first · count of second + second."""

    def text(self) -> pa.Array:
        """The key of each code, as in the table."""
        if self.parts is None:
            return self.texts
        first, second, pairs = self.parts
        one = first.text().take(pa.array(pairs // second.count))
        two = second.text().take(pa.array(pairs % second.count))
        length = pc.cast(pc.utf8_length(one), pa.string())
        return pc.binary_join_element_wise(length, one, two, KEY_SEPARATOR)


class Events:
    """Columns of a table of transactions as arrays, each computed once.

    Needs timestamp and amount; every other column may be missing or contain nulls.
    Raises InputError if a required value is missing.
    """

    def __init__(self, transactions: pa.Table) -> None:
        self.table = transactions
        self._keys: dict[tuple[str, ...], Keys] = {}

    def __len__(self) -> int:
        rows: int = self.table.num_rows
        return rows

    def has(self, field: str) -> bool:
        """Whether any row has this field; empty strings do not count."""
        if field not in self.table.column_names:
            return False
        values = self.table[field]
        if pa.types.is_string(values.type):
            values = values.filter(pc.not_equal(values, ""))
            return len(self) == 0 or len(values) > 0
        return len(self) == 0 or values.null_count < len(self)

    @cached_property
    def micros(self) -> Integers:
        """Time of each transaction, microseconds since 1970."""
        return instants(self._required("timestamp"))

    @cached_property
    def amount(self) -> Floats:
        """Amount of each transaction, within SMALLEST_AMOUNT and LARGEST_AMOUNT."""
        amount = self._required("amount").cast(pa.float64()).to_numpy(zero_copy_only=False)
        if not (np.isfinite(amount) & (amount >= 0)).all():
            raise InputError(
                "Some amounts are negative, infinite or not numbers.",
                hint="Remove those rows, or give refunds a table of their own.",
            )
        limited: Floats = np.clip(amount, SMALLEST_AMOUNT, LARGEST_AMOUNT)
        return limited

    @cached_property
    def fraud(self) -> Floats:
        """1 for fraud, 0 for legitimate, NaN if unknown."""
        if "is_fraud" not in self.table.column_names:
            return np.full(len(self), np.nan)
        known: Floats = _flat(self.table["is_fraud"]).cast(pa.float64()).to_numpy(zero_copy_only=False)
        return known

    def text(self, field: str) -> pa.Array:
        """A string column; nulls if the table has no such column."""
        if field not in self.table.column_names:
            return pa.nulls(len(self), pa.string())
        return _flat(self.table[field]).cast(pa.string())

    def keys(self, *fields: str) -> Keys:
        """The keys of the rows in these fields (none, one or two)."""
        if fields not in self._keys:
            self._keys[fields] = self._encode(fields)
        return self._keys[fields]

    def _encode(self, fields: tuple[str, ...]) -> Keys:
        if not fields:
            return Keys(np.zeros(len(self), dtype=np.int64), min(len(self), 1), pa.array([""][: len(self)]))
        if len(fields) == 1:
            encoded = self.text(fields[0]).dictionary_encode()
            return Keys(codes(encoded), len(encoded.dictionary), encoded.dictionary)
        first, second = self.keys(fields[0]), self.keys(fields[1])
        missing = (first.code < 0) | (second.code < 0)
        encoded = pa.array(first.code * second.count + second.code, mask=missing).dictionary_encode()
        pairs = encoded.dictionary.to_numpy()
        return Keys(codes(encoded), len(pairs), None, (first, second, pairs))

    def _required(self, field: str) -> pa.Array:
        if field not in self.table.column_names:
            raise InputError(
                f"The transactions have no column {field}.",
                hint=f"Name its column: `--map THEIRS={field}`.",
            )
        column = _flat(self.table[field])
        if column.null_count:
            raise InputError(
                f"{column.null_count} transactions have no {field}.", hint="Remove or complete those rows."
            )
        return column


def instants(column: pa.Array) -> Integers:
    """Timestamps as microseconds since 1970; those without a zone are UTC."""
    micros: Integers = column.cast(INSTANT, safe=False).cast(pa.int64()).to_numpy(zero_copy_only=False)
    return micros


def _flat(column: pa.ChunkedArray) -> pa.Array:
    """The column as one array; a dictionary column is decoded."""
    flat = column.combine_chunks()
    return flat.cast(flat.type.value_type) if pa.types.is_dictionary(flat.type) else flat


def codes(encoded: pa.DictionaryArray) -> Integers:
    """The place of each value in the dictionary, -1 for a null."""
    codes: Integers = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
    return codes
