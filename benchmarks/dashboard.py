"""How long the dashboard's queries take on many stored transactions, and that none of them reads them all.

    python benchmarks/dashboard.py [--rows N | --quick] [--json]

Makes a PostgreSQL of its own in a temporary directory (about 5 GB for 10,000,000 rows) and removes it. Each line is a
call of a page; its time is the median of five, connecting included. `reads` names the largest scan of its plans.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any

import psycopg
from psycopg import sql

from fraudstream.local.home import Home
from fraudstream.local.postgres import DATABASE, USER, EmbeddedPostgres
from fraudstream.settings import PostgresSettings
from fraudstream.store import alerts, connection, history, model_quality, overview, pipeline, registry, review
from fraudstream.store.connection import connect
from fraudstream.store.migrate import migrate

DAYS, CUSTOMERS = 60, 100_000
QUICK_ROWS = 100_000
LIMIT_MS = 1_000
ROUNDS = 5
LARGE = ("transactions", "scores")
"""Tables that no page may read from end to end."""

FILL = (
    """
create temporary table n as
select n, (hashint8(n)::bigint & 2147483647) %% %(customers)s as u,
  now() - (%(rows)s - n) * make_interval(secs => %(days)s * 86400.0 / %(rows)s) as at, exp(3.3 + random_normal() * 0.8) as amount
from generate_series(1, %(rows)s) as n""",
    """
insert into shop.transactions (transaction_id, user_id, timestamp, amount, device, location, transaction_location,
  first_name, last_name, full_name, email, merchant_id, currency, is_fraud)
select 'tx-' || n, 'user-' || u, at, amount, (array['ios', 'android', 'web', 'pos'])[1 + u %% 4], 'City ' || u %% 200,
  'City ' || case when n %% 50 = 0 then n %% 200 else u %% 200 end, 'Ada', 'Lovelace', 'Ada Lovelace',
  'ada.' || u || '@example.com', 'm-' || n %% 3000, 'EUR', false from n where n %% 200 <> 0""",
    """
insert into shop.fraud_transactions (transaction_id, user_id, timestamp, amount, device, location, transaction_location,
  merchant_id, currency, is_fraud)
select 'tx-' || n, 'user-' || u, at, amount * 9, 'web', 'City ' || u %% 200, 'City ' || n %% 200, 'm-' || n %% 3000, 'EUR', true
from n where n %% 200 = 0""",
    """
insert into shop.scores
select 'tx-' || n, 'user-' || u, at, amount, case when n %% 200 < 2 then 0.9 else random() * 0.4 end, n %% 200 < 2,
  '{}', '1', at + interval '12 ms', at from n""",
    """
insert into shop.alerts (transaction_id, user_id, timestamp, amount, device, location, transaction_location, merchant_id,
  currency, risk, rules, model_version, scored_at, sent_at, stored_at, reasons, features)
select 'tx-' || n, 'user-' || u, at, amount, 'web', 'City 1', 'City 2', 'm-1', 'EUR', 0.5 + random() * 0.5, '{}', '1',
  at + interval '12 ms', at, at,
  (select jsonb_agg(jsonb_build_object('feature', 'f' || i, 'contribution', random(), 'value', random() * n,
    'sentence', 'amount 3,204.00 is 41 times what this customer usually pays (78.10)')) from generate_series(1, 4) as i),
  (select jsonb_object_agg('feature_number_' || i, random() * n) from generate_series(1, 40) as i)
from n where n %% 200 < 2""",
    """
insert into shop.labels (transaction_id, is_fraud, labelled_by, labelled_at)
select 'tx-' || n, n %% 200 = 0, 'ana', least(at + interval '2 hours', now()) from n where n %% 200 < 2 and n %% 3 = 0""",
    """
insert into shop.hourly
select k, date_trunc('hour', at), count(*), sum(amount)
from n, unnest(array['transactions', 'fraud', 'scores', 'alerts']) as k
where k in ('transactions', 'scores') or n %% 200 < 1 or k = 'alerts' and n %% 200 < 2 group by 1, 2""",
    """
insert into shop.risk_bins
select '1', date_trunc('hour', at), n %% 20, count(*) from n group by 2, 3""",
    """
insert into shop.latency_bins
select m, b, 60 from generate_series(date_trunc('minute', now()) - interval '59 min', now(), interval '1 min') as m,
  generate_series(-250, -150) as b""",
    """
insert into shop.rejected (topic, topic_id, partition, "offset", value, reason, rejected_at)
select 'transactions-data', 'x', 0, n, convert_to('{"broken": ' || repeat('x', 300), 'UTF8'), 'not JSON: at byte ' || n, at
from n where n %% 50 = 0""",
    """
insert into shop.stream_progress select 'consume', 'transactions-data', p, 1000, 1010, 900 from generate_series(0, 7) as p""",
)


@contextmanager
def server() -> Iterator[PostgresSettings]:
    """A PostgreSQL of our own."""
    with tempfile.TemporaryDirectory(prefix="fraudstream-bench-") as directory:
        Path(directory).chmod(0o711)
        home = Home(Path(directory))
        home.prepare()
        postgres = EmbeddedPostgres(home)
        try:
            postgres.start(Event())
            assert postgres.port is not None
            yield PostgresSettings(
                host="127.0.0.1",
                port=postgres.port,
                user=USER,
                database=DATABASE,
                password_file=home.password,
            )
        finally:
            postgres.stop()
            postgres.remove()


def fill(postgres: PostgresSettings, count: int) -> None:
    """Write everything that the pages read, as the stream would have left it."""
    migrate(postgres)
    registry.register(
        postgres,
        {"version": "1", "algorithm": "gradient_boosting", "threshold": 0.5,
         "score_reference": {"edges": [i / 20 for i in range(1, 20)], "shares": [0.05] * 20, "rows": 1000}},
        b"",
    )  # fmt: skip
    registry.promote(postgres, "1")
    with connect(postgres, autocommit=True) as opened:
        for statement in FILL:
            opened.execute(
                statement.encode(), {"rows": count, "customers": CUSTOMERS, "days": DAYS}
            ) if "%(" in statement else opened.execute(statement.replace("%%", "%").encode())
        opened.execute("vacuum (analyze)")


def calls(postgres: PostgresSettings) -> Mapping[str, Callable[[], object]]:
    """What the pages ask, each as the page asks it."""
    alert = review.queue(postgres, review.Wanted(), 1)[0]
    month = alert.scored_at - timedelta(days=30)
    spans: tuple[tuple[str, int, overview.Step], ...] = (
        ("a day", 1, "hour"), ("7 days", 7, "hour"), ("30 days", 30, "day"), ("a year", 365, "day"),
    )  # fmt: skip
    lists: tuple[tuple[review.State, review.Order], ...] = (
        ("waiting", "newest"), ("waiting", "risk"), ("reviewed", "newest"), ("all", "amount"),
    )  # fmt: skip
    return {
        **{
            f"overview: {name}": partial(overview.overview, postgres, timedelta(days=days), step)
            for name, days, step in spans
        },
        **{
            f"alerts: {state}, {order}, 30 days": partial(
                review.queue, postgres, review.Wanted(state, order, month)
            )
            for state, order in lists
        },
        "alerts: waiting, by risk, of all time": partial(review.queue, postgres, review.Wanted(order="risk")),
        "alerts: of one customer": partial(
            review.queue, postgres, review.Wanted("all", text=alert.user_id)
        ),
        "alerts: tally, 30 days": partial(review.tally, postgres, month),
        "alert: itself": partial(alerts.alert, postgres, alert.transaction_id),
        "alert: the customer's history": partial(
            history.history, postgres, alert.user_id, alert.timestamp, before=60, after=20
        ),
        "alert: how alike ones turned out": partial(
            review.alike, postgres, alert.transaction_id, "1", alert.risk
        ),
        "model: versions": partial(registry.models, postgres),
        "model: at work": partial(model_quality.at_work, postgres, "1"),
        "pipeline": partial(pipeline.pipeline, postgres),
    }  # fmt: skip


def milliseconds(call: Callable[[], object]) -> float:
    """The median of several calls."""
    taken = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        call()
        taken.append((time.perf_counter() - began) * 1000)
    return statistics.median(taken)


def scans(call: Callable[[], object]) -> list[tuple[str, str, int]]:
    """(how, what, rows) of every scan in the plans of a call: each select runs once more under `explain analyze`."""
    plans: list[dict[str, Any]] = []

    class Explaining(psycopg.Cursor[Any]):
        def execute(self, query: Any, *arguments: Any, **options: Any) -> Any:
            composed = query.as_string(self) if isinstance(query, sql.Composable) else query
            text = composed.decode() if isinstance(composed, bytes) else str(composed)
            if text.strip().startswith(("select", "with")):
                with psycopg.Cursor(self.connection) as cursor:
                    cursor.execute(f"explain (analyze, format json) {text}".encode(), *arguments)
                    found = cursor.fetchone()
                    assert found is not None
                    plans.extend(entry["Plan"] for entry in found[0])
            return super().execute(query, *arguments, **options)

    def explaining(postgres: PostgresSettings, *, autocommit: bool = False) -> Any:
        opened = connect(postgres, autocommit=autocommit)
        opened.cursor_factory = Explaining
        return opened

    setattr(connection, "connect", explaining)  # noqa: B010 - the one door of these queries
    try:
        call()
    finally:
        setattr(connection, "connect", connect)  # noqa: B010
    assert plans, "no query of this call was explained, so nothing is known of what it reads"
    return [scan for plan in plans for scan in _scans(plan)]


def _scans(plan: Mapping[str, Any]) -> Iterator[tuple[str, str, int]]:
    if "Relation Name" in plan:
        read = (
            plan["Actual Rows"]
            + plan.get("Rows Removed by Filter", 0)
            + plan.get("Rows Removed by Index Recheck", 0)
        )
        yield plan["Node Type"], plan["Relation Name"], round(read * plan["Actual Loops"])
    for inner in plan.get("Plans", ()):
        yield from _scans(inner)


@dataclass(frozen=True)
class Measured:
    """One call of a page."""

    call: str
    ms: float
    reads: str
    """The largest scan of its plans."""
    whole: tuple[str, ...]
    """Large tables that it reads from end to end; there should be none."""

    @classmethod
    def of(cls, name: str, call: Callable[[], object]) -> "Measured":
        """Time it, then look at its plans."""
        taken, plan = milliseconds(call), scans(call)
        how, what, read = max(plan, key=lambda scan: scan[2], default=("", "", 0))
        whole = tuple(sorted({name for scan, name, _ in plan if "Seq" in scan and name in LARGE}))
        return cls(name, round(taken, 1), f"{read:,} rows of {what}, {how}" if what else "", whole)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--rows", type=int, default=10_000_000, help="stored transactions")
    size.add_argument(
        "--quick", action="store_const", dest="rows", const=QUICK_ROWS, help=f"{QUICK_ROWS:,} of them"
    )
    parser.add_argument("--json", action="store_true", help="one JSON document instead of a table")
    options = parser.parse_args()
    with server() as postgres:
        fill(postgres, options.rows)
        found = [Measured.of(name, call) for name, call in calls(postgres).items()]
    slowest = max(measured.ms for measured in found)
    if options.json:
        document = {
            "benchmark": "dashboard",
            "rows": options.rows,
            "slowest_ms": slowest,
            "under_a_second": slowest < LIMIT_MS,
            "reads_a_large_table_whole": [measured.call for measured in found if measured.whole],
            "calls": [asdict(measured) for measured in found],
        }
        print(json.dumps(document, indent=2))
        return
    for measured in found:
        whole = "; ".join(f"READS ALL OF {name}" for name in measured.whole)
        print(f"{measured.ms:8.1f} ms  {measured.call:45} {measured.reads} {whole}")
    print(f"{options.rows:,} transactions; slowest {slowest:.1f} ms")


if __name__ == "__main__":
    main()
