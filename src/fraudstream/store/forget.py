"""Forgetting: deletes a customer, or everything before a time, from every table with personal data.

What stays is about no person: numbers of rows per hour (`hourly`, `risk_bins`), the totals and, unless
they are inactive since the given time, the sums of merchants (`profiles`), models, and the offsets of the stream. So nothing that was forgotten is stored again,
unless it is sent again. Kafka's topics keep messages for as long as their own retention.

Old rows are deleted one range of pages at a time, each in a transaction of its own together with its labels: an
interrupted run resumes at the next call. A customer is deleted in one transaction, completely or not at all.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg import sql

from fraudstream import decision
from fraudstream.errors import InputError
from fraudstream.features.catalogue import ENTITIES, MERGE_ORDER
from fraudstream.logs import get_logger
from fraudstream.schema import FIELDS, ID_LENGTH, PERSONAL
from fraudstream.settings import PostgresSettings
from fraudstream.store.connection import SCHEMA, Connection, Cursor, connected
from fraudstream.store.labels import unfit
from fraudstream.store.profiles import LOCK_WATERMARK
from fraudstream.store.rows import one

log = get_logger("forget")

PAGES = 8_192
"""Pages of a table per transaction: 64 MB, some 250,000 transactions, half a second."""


NAMED = "(encode({0}, 'escape') ~ %(beginning)s and encode({0}, 'escape') ~ %(mention)s)"
"""Whether the bytes in this column name a customer."""
_FIELDS = frozenset({*FIELDS, *decision.FIELDS})
IMPERSONAL = tuple(sorted(_FIELDS - {"user_id"} - PERSONAL))
"""Fields of our messages whose value names no customer: `"is_fraud": "1"` is not about the customer 1."""
_HAVE_LABELS = ("transactions", "fraud_transactions", "scores", "alerts")
"""Tables whose rows have a transaction_id, and therefore labels."""


@dataclass(frozen=True, slots=True)
class Scope:
    """What to forget: a condition for each table, and their common parameters."""

    conditions: Mapping[str, str]
    values: Mapping[str, Any]
    in_stretches: bool
    """Whether there may be so many rows that several transactions are needed."""


def of_user(user: str) -> Scope:
    """Everything about one customer. Raises InputError if no customer can have this id."""
    from fraudstream.features.events import pair_key

    complaint = unfit(user, ID_LENGTH)
    if complaint:
        raise InputError(
            f"No customer can have this id: {complaint}.", hint="Give a user_id as messages have it."
        )
    pairs = [
        name for name, entity in ENTITIES.items() if entity.fields[:1] == ("user_id",) and entity.fields[1:]
    ]
    return Scope(
        {
            **dict.fromkeys(_HAVE_LABELS, "user_id = %(user)s"),
            # A rejected message has no columns: its key or its text names the customer.
            "rejected": f"key = %(key)s or {NAMED.format('key')} or {NAMED.format('value')}",
            "profiles": "entity = 'user' and key = %(user)s or entity = any(%(pairs)s) and starts_with(key, %(prefix)s)",
        },
        {
            "user": user,
            "key": user.encode(),
            "beginning": beginning(user),
            "mention": mention(user),
            "pairs": pairs,
            "prefix": pair_key(user, ""),
        },
        in_stretches=False,
    )


def beginning(user: str) -> str:
    """A regular expression for the first letters of a name, wherever they are: it leaves few messages to `mention`.

    That takes up to thirty times as long, for a long name far from English: 150 s for 100,000 messages and 128 emoji.
    """
    return "|".join("".join(_letter(letter, depth) for letter in user[:2]) for depth in range(len(_OPENED)))


def mention(user: str) -> str:
    r"""A regular expression of PostgreSQL that finds a customer in `encode(message, 'escape')`, however JSON escapes the name.

    It finds the name as a string anywhere but in a field of IMPERSONAL, unknown fields and free text included, and as a
    number after a `user_id`, which is a common error in a message. Others are JSON in a string of JSON, single quotes and a
    truncated message, so it does not rely on valid JSON: what counts is what stands before the string.
    """
    return "|".join(_mention(user, depth) for depth in range(len(_OPENED)))


def _mention(user: str, depth: int) -> str:
    """Such an expression for a JSON text within `depth` strings, each in the next: every one doubles the backslashes."""
    name, field = ("".join(_letter(letter, depth) for letter in text) for text in (user, "user_id"))
    code = "|u002[27]" if depth else ""
    before, quote = _backslashes(_OPENED[depth]), rf"""(?:["']{code})"""
    # What opens a string closes it, with all the backslashes before it: neither "O'Brien" nor "D\"O" is about O.
    opened, closed = rf"(?<!\\)({before}{quote})", rf"\{depth + 1}"
    # Behind the name, of which there are few: behind the quote, which every string has, this takes four times as long.
    elsewhere = rf"{quote}(?:{'|'.join(IMPERSONAL)}){before}{quote}\s*:\s*{before}{quote}{name}"
    ends = rf"{closed}(?!\s*:)" if user in _FIELDS else closed
    # For any other name this would find other customers: every `"user_id":` is followed by a blank.
    number = rf"|{field}{closed}\s*:\s*{name}(?![\w.])" if _NUMBER.fullmatch(user) else ""
    return f"{opened}(?:{name}(?<!{elsewhere}){ends}{number})"


def _letter(letter: str, depth: int) -> str:
    """A regular expression for a character in such a text: literally, as codes, or as its short escape."""
    # Whoever escapes it within the strings doubles its backslash in each; who does so in the last one, never.
    once = _backslashes(f"1,{2**depth}")
    units = letter.encode("utf-16-be").hex()
    digits = [f"[{digit}{digit.upper()}]" if digit.isalpha() else digit for digit in units]
    ways = ["".join(f"{once}u{''.join(digits[at : at + 4])}" for at in range(0, len(digits), 4))]
    if letter == "\\":
        ways.append(_backslashes(f"{2 ** (depth + 1)}"))
        if not depth:  # Only by hand is it written as itself, and nobody writes a string in a string by hand.
            # Not before a quote, which it would escape, nor before another, with which it is one.
            ways.append(rf"""{_BACKSLASH}(?!["'\\])""")
        return f"(?:{'|'.join(ways)})"
    if letter == '"':  # The quote has backslashes of its own.
        ways.append(rf"""{_backslashes(f"1,{2 ** (depth + 1) - 1}")}(?:"|u0022)""")
    elif letter in _SHORT:
        ways.append(once + _SHORT[letter])
    # `encode(…, 'escape')` gives bytes from 128 on as three octal digits.
    ways.append("".join(rf"\\{byte:03o}" if byte > 127 else re.escape(chr(byte)) for byte in letter.encode()))  # noqa: PLR2004
    return f"(?:{'|'.join(ways)})"


def _backslashes(times: str) -> str:
    """A regular expression for so many backslashes of a message."""
    return f"(?:{_BACKSLASH}){{{times}}}"


_NUMBER = re.compile(r"-?\d[\d.eE+-]*", re.ASCII)
_OPENED = ("0", "1", "2,")
"""How many backslashes open a name in a message, in a string of an envelope, and in all that is further within.

There they differ with the program: in two strings of JSON they are three, or two where quotes are codes; and two in one
string whose backslashes Python doubled.
"""
_BACKSLASH = r"\\\\"
"""A backslash of a message: two in the encoded text, each escaped in a regular expression."""
_SHORT = {
    "/": "/", "\b": "b", "\f": "f", "\n": "n", "\r": "r", "\t": "t",
}  # fmt: skip
"""The short escapes of JSON, without their backslash; those of a quote and of a backslash are longer within strings."""


def before(instant: datetime) -> Scope:
    """Everything that happened before a time, and the profiles of those who have been inactive since."""
    return Scope(
        {
            **dict.fromkeys(_HAVE_LABELS, "timestamp < %(before)s"),
            "rejected": "rejected_at < %(before)s",
            # Old labels of transactions that are not stored (any more).
            "labels": "labelled_at < %(before)s"
            " and not exists (select from shop.transactions as t where t.transaction_id = labels.transaction_id)"
            " and not exists (select from shop.fraud_transactions as t where t.transaction_id = labels.transaction_id)",
            "profiles": "entity <> 'total' and last_at < %(before)s",
            # About no person, but with forty rows a minute the one table of counts that fills a disk.
            "latency_bins": "minute < %(before)s",
        },
        {"before": instant},
        in_stretches=True,
    )


def count(postgres: PostgresSettings, scope: Scope) -> Counter[str]:
    """How many rows of each table `forget` would delete. Raises DatabaseError."""
    found: Counter[str] = Counter()
    with connected(postgres) as connection:
        ids = " union all ".join(
            f"select transaction_id from shop.{table} where {scope.conditions[table]}"  # noqa: S608 - constants
            for table in _HAVE_LABELS
        )
        meant = scope.conditions.get("labels", "false")
        conditions = {**scope.conditions, "labels": f"transaction_id in ({ids}) or ({meant})"}
        for table, condition in conditions.items():
            (found[table],) = one(
                connection,
                f"select count(*) from shop.{table} where {condition}",  # noqa: S608 - constants
                scope.values,
            )
    return found


def forget(postgres: PostgresSettings, scope: Scope, removed: Counter[str]) -> None:
    """Delete what `scope` names, adding to `removed` (rows by table) after every transaction.

    Raises DatabaseError; the user must own the tables.
    """
    with connected(postgres, autocommit=True) as connection:
        if not scope.in_stretches:
            with _deleting(connection) as cursor:
                gone: Counter[str] = Counter()
                for table in scope.conditions:
                    whole = sql.Identifier(SCHEMA, table)
                    gone += _delete(cursor, table, scope, whole, sql.SQL("true"))
            removed.update(gone)
        else:
            for table in scope.conditions:
                for part, stretch in _stretches(connection, table):
                    with _deleting(connection) as cursor:
                        gone = _delete(cursor, table, scope, part, stretch)
                    removed.update(gone)
                log.info("%s: %s rows forgotten", table, f"{removed[table]:,}")
        for table in +removed:
            # So that new rows take their room, in which their bytes stay until then.
            connection.execute(sql.SQL("vacuum {}").format(sql.Identifier(SCHEMA, table)))


@contextmanager
def _deleting(connection: Connection) -> Iterator[Cursor]:
    """A transaction beside which no truth is folded: one that was read before would bring its customer's profile back."""
    with connection.transaction(), connection.cursor() as cursor:
        cursor.execute(LOCK_WATERMARK.format("share"))
        yield cursor


_PARTS = """
select n.nspname, c.relname, pg_relation_size(c.oid) / current_setting('block_size')::int
from pg_class as c join pg_namespace as n on n.oid = c.relnamespace where c.relkind = 'r'
  and (c.oid = %(table)s::regclass or c.oid in (select relid from pg_partition_tree(%(table)s::regclass)))
order by 1, 2"""
"""The relations with a table's rows, and their pages: the table itself, or its partitions."""


def _stretches(connection: Connection, table: str) -> Iterator[tuple[sql.Composable, sql.Composable]]:
    """Ranges of a table's pages, each with its partition.

    Each row is read once, however many others were deleted before.
    """
    for schema, part, pages in connection.execute(_PARTS, {"table": f"{SCHEMA}.{table}"}).fetchall():
        for first in range(0, pages + 1, PAGES):
            yield (
                sql.Identifier(schema, part),
                sql.SQL("ctid >= {} and ctid < {}").format(
                    sql.Literal(f"({first},0)"), sql.Literal(f"({first + PAGES},0)")
                ),
            )


def _delete(
    cursor: Cursor, table: str, scope: Scope, part: sql.Composable, stretch: sql.Composable
) -> Counter[str]:
    """Delete the scope's rows in a range of a table or a partition; returns rows by table, including labels."""
    shape = _PROFILES if table == "profiles" else _LABELLED if table in _HAVE_LABELS else _PLAIN
    query = sql.SQL(shape).format(
        part=part, table=sql.Identifier(table), stretch=stretch, condition=sql.SQL(scope.conditions[table])
    )
    rows, labels = one(cursor, query, {**scope.values, "order": list(MERGE_ORDER)})
    gone = Counter({table: rows})
    gone["labels"] += labels
    return gone


_PLAIN = """
with gone as (delete from {part} as {table} where {stretch} and ({condition}) returning 1) select count(*), 0 from gone"""
_LABELLED = """
with gone as (delete from {part} as {table} where {stretch} and ({condition}) returning transaction_id),
  unsaid as (delete from shop.labels where transaction_id in (select transaction_id from gone) returning 1)
select (select count(*) from gone), (select count(*) from unsaid)"""
_PROFILES = """
-- locked in the same order as by slices, so that they cannot deadlock
with meant as (
  select entity, key from {part} as {table} where {stretch} and ({condition})
  order by array_position(%(order)s, entity), key collate "C" for update
), gone as (delete from {part} as p using meant as m where p.entity = m.entity and p.key = m.key returning 1)
select count(*), 0 from gone"""
