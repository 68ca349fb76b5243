"""New alerts as they are stored, each of them once."""

from datetime import datetime, timedelta

from fraudstream.settings import PostgresSettings
from fraudstream.store.alerts import ALERTS, Alert
from fraudstream.store.connection import connected
from fraudstream.store.rows import one, rows

OVERLAP = timedelta(minutes=5)
"""How far each step looks back: `stored_at` is when an alert's slice began, but the alert is visible only once that commits.
A slice may take this long."""


class Feed:
    """Alerts stored since this feed was created. A step that fails changes nothing: the next one returns the same alerts."""

    def __init__(self, postgres: PostgresSettings) -> None:
        """Raises DatabaseError."""
        self._postgres = postgres
        with connected(postgres) as connection:
            now: datetime
            (now,) = one(connection, "select now()")
            found = connection.execute(
                "select transaction_id, stored_at from shop.alerts where stored_at > %s", (now - OVERLAP,)
            ).fetchall()
        self._newest = now
        self._seen: dict[str, datetime] = dict(found)

    def step(self) -> list[Alert]:
        """The alerts stored since the last step, in the order of the decisions. Raises DatabaseError."""
        since = self._newest - OVERLAP
        query = (
            f"{ALERTS} where stored_at > %s and transaction_id <> all(%s) order by scored_at, transaction_id"
        )
        with connected(self._postgres) as connection:
            new = rows(connection, Alert, query, (since, list(self._seen)))
        self._seen |= {alert.transaction_id: alert.stored_at for alert in new}
        self._newest = max((self._newest, *(alert.stored_at for alert in new)))
        since = self._newest - OVERLAP
        self._seen = {name: stored_at for name, stored_at in self._seen.items() if stored_at > since}
        return new
