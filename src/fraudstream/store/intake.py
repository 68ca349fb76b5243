"""How a topic's messages are processed in one slice: decoded, stored by each target, and added up at the end."""

from typing import TYPE_CHECKING, Protocol

from fraudstream.decode import Decoded, Decoder
from fraudstream.store.connection import Cursor
from fraudstream.store.copy import insert_new
from fraudstream.store.hourly import Hourly, Kind
from fraudstream.store.profiles import Folding

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa


class Intake(Protocol):
    """One slice's work, inside the transaction that the caller holds."""

    cursor: Cursor
    from_future: int
    """Transactions left out of the profiles because they are too far in the future."""

    def decode(self, values: "Sequence[bytes | None]") -> Decoded:
        """Decode messages into rows and rejects, in their order. Never raises because of a message."""

    def write(self, target: str, rows: "pa.Table") -> tuple[int, int]:
        """Store the rows that belong to this target; returns how many were stored and how many already were."""

    def finish(self) -> None:
        """Merge what was added up, once: the last step before the offsets advance."""


class Transactions:
    """The intake of the transactions topic: the targets `fraud`, `transactions` and `profiles`."""

    def __init__(self, cursor: Cursor) -> None:
        self.cursor = cursor
        self._decoder = Decoder()
        self._folding = Folding(cursor)
        self._hourly = Hourly(cursor)
        self.from_future = 0

    def decode(self, values: "Sequence[bytes | None]") -> Decoded:
        return self._decoder.decode(values)

    def write(self, target: str, rows: "pa.Table") -> tuple[int, int]:
        import pyarrow.compute as pc

        if target == "profiles":
            return self._folding.add(rows)
        if target == "fraud":
            return self._insert("fraud_transactions", "fraud", rows.filter(rows["is_fraud"]))
        legitimate = rows.filter(pc.invert(pc.fill_null(rows["is_fraud"], False)))
        return self._insert("transactions", "transactions", legitimate)

    def _insert(self, table: str, kind: Kind, rows: "pa.Table") -> tuple[int, int]:
        new = insert_new(self.cursor, table, rows, "transaction_id")
        self._folding.stored(rows, new)
        self._hourly.add(kind, new)
        return new.num_rows, rows.num_rows - new.num_rows

    def finish(self) -> None:
        self._folding.finish()
        self.from_future = self._folding.from_future
        self._hourly.finish()
