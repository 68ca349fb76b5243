"""Roles with the rights that each kind of work needs, and no more.

    fraudstream_reader     reads: Grafana, reports; no names, no e-mail, no raw messages
    fraudstream_reviewer   a reader who also labels: the dashboard, `label`
    fraudstream_trainer    a reader who also registers and promotes models: `train`, `models`
    fraudstream_writer     stores the stream: `consume`, `score`, `rejected`; changes and deletes no transaction

They have no login and no password: people and services get logins of their own, as members. The creator of the tables
remains their owner, who alone migrates and forgets. Models have a separate role because an estimator is a pickle:
whoever may write `shop.models` can run code wherever it is opened.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from psycopg import sql
from sqlalchemy import Table

from fraudstream.errors import DatabaseError
from fraudstream.schema import PERSONAL
from fraudstream.settings import PostgresSettings
from fraudstream.store.connection import SCHEMA, Connection, connected
from fraudstream.store.migrate import migrate
from fraudstream.store.tables import metadata

READER, REVIEWER, TRAINER, WRITER = (
    f"fraudstream_{work}" for work in ("reader", "reviewer", "trainer", "writer")
)

HIDDEN: Mapping[str, frozenset[str]] = {"rejected": frozenset({"key", "value"})}
"""Further columns that readers may not see besides `schema.PERSONAL`: a rejected message may contain any name."""
VIEWS = ("alert_reviews", "alert_quality", "alert_rate", "score_drift", "decision_latency")
"""Views, which read with their owner's rights; none of them shows a personal column."""
VERSION_TABLE = "alembic_version"
"""Every command checks whether the tables are up to date."""


@dataclass(frozen=True, slots=True)
class Role:
    """A name and its rights: the columns by table and privilege, or None for all columns."""

    name: str
    meaning: str
    rights: Mapping[str, Mapping[str, tuple[str, ...] | None]]
    member_of: str | None = None


def _public_columns(table: Table) -> tuple[str, ...] | None:
    hidden = PERSONAL | HIDDEN.get(table.name, frozenset())
    names = tuple(column.name for column in table.columns if column.name not in hidden)
    return None if len(names) == len(table.columns) else names


_READ: dict[str, Mapping[str, tuple[str, ...] | None]] = {
    **{table.name: {"select": _public_columns(table)} for table in metadata.sorted_tables},
    **{name: {"select": None} for name in (*VIEWS, VERSION_TABLE)},
}
_APPEND: Mapping[str, None] = {"select": None, "insert": None}
_KEEP: Mapping[str, None] = {**_APPEND, "update": None}
_WRITE: dict[str, Mapping[str, tuple[str, ...] | None]] = {
    **dict.fromkeys(("transactions", "fraud_transactions", "scores", "alerts"), _APPEND),
    **dict.fromkeys(
        ("stream_offsets", "profiles", "watermarks", "hourly", "risk_bins", "latency_bins"), _KEEP
    ),
    # Rows of partitions that a topic no longer has are deleted.
    "stream_progress": {**_KEEP, "delete": None},
    # `topic_id`, as the offsets of messages that Kafka lost are used again.
    "rejected": {**_APPEND, "update": ("replayed_at", "topic_id")},
    "labels": {"select": None, "update": ("folded_at",)},
    "models": {"select": None},
    **{name: {"select": None} for name in (*VIEWS, VERSION_TABLE)},
}

ROLES: tuple[Role, ...] = (
    Role(READER, "reads everything but names, e-mail addresses and raw messages", _READ),
    Role(
        REVIEWER,
        "a reader who adds labels",
        # Not `folded_at`, which the stream sets, nor the label's number, nor the login that wrote it.
        {
            "labels": {"insert": ("transaction_id", "is_fraud", "labelled_at", "labelled_by", "note")},
            "label_files": {"insert": ("sha256", "name", "added")},
        },
        READER,
    ),
    # `lock table … in share row exclusive mode`, which serialises promotions, needs the right on the whole table.
    Role(
        TRAINER,
        "a reader who registers and promotes models",
        {"models": {"insert": None, "update": None}},
        READER,
    ),
    Role(WRITER, "stores the stream; changes and deletes no transaction, decision or label", _WRITE),
)
"""In the order in which they are created."""


def statements(database: str) -> Iterator[str]:
    """The SQL that creates the roles and grants their rights in `database`; running it again changes nothing.

    Rights that an earlier version granted and this one does not are revoked.
    """
    names = sql.SQL(", ").join(sql.Identifier(role.name) for role in ROLES)
    schema = sql.Identifier(SCHEMA)
    yield from map(_create, ROLES)
    yield _text("revoke all on all tables in schema {} from {}", schema, names)
    yield _text("revoke all on all sequences in schema {} from {}", schema, names)
    yield _text("revoke all on schema {} from {}", schema, names)
    yield _text("grant connect on database {} to {}", sql.Identifier(database), names)
    # Profiles, and rows with existing ids, are written through a temporary table.
    yield _text("grant temporary on database {} to {}", sql.Identifier(database), sql.Identifier(WRITER))
    yield _text("grant usage on schema {} to {}", schema, names)
    for role in ROLES:
        name = sql.Identifier(role.name)
        if role.member_of:
            yield _membership(role.name, role.member_of)
        for table, rights in role.rights.items():
            wanted = sql.SQL(", ").join(_privilege(*right) for right in rights.items())
            yield _text("grant {} on {} to {}", wanted, sql.Identifier(SCHEMA, table), name)


def _create(role: Role) -> str:
    # Roles belong to the whole server, and `create role` has no `if not exists`.
    return _text(
        "do $$ begin if not exists (select from pg_roles where rolname = {}) then create role {} nologin; end if; end $$",
        sql.Literal(role.name),
        sql.Identifier(role.name),
    )


def _membership(name: str, of: str) -> str:
    # Since PostgreSQL 16 only those who created a role may grant it, or have it granted again.
    return _text(
        "do $$ begin if not pg_has_role({}, {}, 'member') then grant {} to {}; end if; end $$",
        sql.Literal(name),
        sql.Literal(of),
        sql.Identifier(of),
        sql.Identifier(name),
    )


def _privilege(name: str, columns: Iterable[str] | None) -> sql.Composable:
    if columns is None:
        return sql.SQL(name)
    return sql.SQL("{} ({})").format(sql.SQL(name), sql.SQL(", ").join(map(sql.Identifier, columns)))


def _text(template: str, *parts: sql.Composable) -> str:
    return sql.SQL(template).format(*parts).as_string()


def script(database: str) -> str:
    """The same as a file for psql, in one transaction."""
    heading = [
        "-- Roles of fraudstream. Run it as the owner of the database and the tables, with the right to create roles;",
        "-- run it again after every upgrade. The roles cannot log in; give people and services logins of their own, which",
        "-- have the role in all databases of the server where this was run:",
        f"--   create role grafana login password '…' in role {READER};",
    ]
    return "\n".join([*heading, "begin;", *(f"{line};" for line in statements(database)), "commit;"])


_NOT_GRANTED = ("01006", "01007")
"""SQLSTATEs of a grant or a revoke without effect: no error for who has some right to the object, and none to give away."""


def apply(postgres: PostgresSettings) -> tuple[Role, ...]:
    """Create the roles in the database, after bringing its tables up to date.

    Raises DatabaseError if the user does not own the database and the tables, or may not create roles.
    """
    migrate(postgres)
    with connected(postgres) as connection:
        warnings: list[str | None] = []
        connection.add_notice_handler(
            lambda said: warnings.append(said.message_primary) if said.sqlstate in _NOT_GRANTED else None
        )
        for statement in statements(postgres.database):
            connection.execute(statement.encode())
            if warnings and not _has_what_it_needs(connection, postgres.database, statement):
                raise DatabaseError(
                    f"PostgreSQL did not do all of `{statement}`: {warnings[0]}.",
                    hint="Run this as the owner of the database and of the tables, or have an owner run what"
                    " `fraudstream roles sql` prints.",
                )
            warnings.clear()
    return ROLES


def _has_what_it_needs(connection: Connection, database: str, statement: str) -> bool:
    """Whether the roles have all rights to the database, of which this grants one: PUBLIC may have them anyway."""
    if " on database " not in statement:
        return False
    rights = [(role.name, "connect") for role in ROLES] + [(WRITER, "temporary")]
    asked = "select has_database_privilege(%s, %s, %s)"
    return all(
        connection.execute(asked, (name, database, right)).fetchone() == (True,) for name, right in rights
    )
