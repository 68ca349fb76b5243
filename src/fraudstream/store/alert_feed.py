"""New alerts as they are stored, each once, whoever stores them."""

from datetime import datetime, timedelta

from fraudstream.settings import PostgresSettings
from fraudstream.store.alerts import ALERTS, Alert
from fraudstream.store.connection import connected
from fraudstream.store.rows import one, rows

OVERLAP = timedelta(minutes=5)
"""An alert carries the time at which its transaction began, and is seen when it commits: this is how long a slice may
take. It is looked back for so far at each step, past those that were seen."""


class Feed:
    """Alerts that were stored since this feed was made. A step that fails changes nothing: the next one brings the same."""

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
        """What was stored since the last step, in the order of the decisions. Raises DatabaseError."""
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
