"""Who may do what in the database: each role does its own work through the real program, and nothing else."""

import itertools
import json
import secrets
import subprocess
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg import sql
from psycopg.errors import CheckViolation, InsufficientPrivilege

from commands import printed
from fraudstream.errors import DatabaseError
from fraudstream.metrics import Standing
from fraudstream.schema import PERSONAL
from fraudstream.settings import PostgresSettings, Settings
from fraudstream.spark.consume import consume
from fraudstream.store import (
    alerts,
    explanation,
    forget,
    glance,
    held,
    history,
    labels,
    migrate,
    model_quality,
    offsets,
    overview,
    pipeline,
    progress,
    registry,
    review,
    roles,
    training_rows,
    upgrade,
)
from fraudstream.store.connection import connect
from fraudstream.store.label_folding import fold_known
from fraudstream.store.review import Wanted
from fraudstream.store.slices import store_slice
from fraudstream.store.tables import metadata
from fraudstream.store.targets import TARGETS, select
from model_world import ensemble, packed
from profile_world import ALL, messages
from samples import decision, message
from sending import send
from slice_world import SOURCE, TOPIC

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@dataclass(frozen=True)
class Member:
    """A login that is a member of one role."""

    postgres: PostgresSettings

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """What a query returns to it."""
        with connect(self.postgres) as connection:
            return connection.execute(query.encode()).fetchall()

    def refused(self, statement: str) -> bool:
        """Whether it lacks the right."""
        with psycopg.connect(**self._reach()) as connection, connection.cursor() as cursor:
            try:
                cursor.execute(statement.encode())
            except InsufficientPrivilege:
                return True
            finally:
                connection.rollback()
        return False

    def adds(self, values: str) -> None:
        """Write labels (transaction_id, is_fraud, labelled_at, labelled_by)."""
        with connect(self.postgres) as connection:
            statement = (
                f"insert into shop.labels (transaction_id, is_fraud, labelled_at, labelled_by) {values}"
            )
            connection.execute(statement.encode())

    def _reach(self) -> dict[str, Any]:
        assert self.postgres.password_file is not None
        return {
            "host": self.postgres.host, "port": self.postgres.port, "dbname": self.postgres.database,
            "user": self.postgres.user, "password": self.postgres.password_file.read_text(),
        }  # fmt: skip

    @property
    def environment(self) -> dict[str, str]:
        """The variables that make the program this member."""
        return {
            "FRAUDSTREAM_POSTGRES__USER": self.postgres.user,
            "FRAUDSTREAM_POSTGRES__PASSWORD_FILE": str(self.postgres.password_file),
        }


@pytest.fixture
def member(settings: Settings, tmp_path: Path) -> Iterator[Callable[[str], Member]]:
    """`member("reader")` is a new login with that role."""
    roles.apply(settings.postgres)
    logins: list[str] = []
    members: list[Member] = []

    def make(work: str) -> Member:
        name, password = f"{work}_{secrets.token_hex(4)}", secrets.token_hex(8)
        file = tmp_path / f"{name}.password"
        file.write_text(password)
        with connect(settings.postgres, autocommit=True) as connection:
            statement = sql.SQL("create role {} login password {} in role {}").format(
                sql.Identifier(name), sql.Literal(password), sql.Identifier(f"fraudstream_{work}")
            )
            connection.execute(statement)
        logins.append(name)
        members.append(Member(settings.postgres.model_copy(update={"user": name, "password_file": file})))
        return members[-1]

    yield make
    for each in members:
        held.close(each.postgres)
    with connect(settings.postgres, autocommit=True) as connection:
        # Roles belong to the whole server, which other tests share.
        for name in [*logins, *(role.name for role in reversed(roles.ROLES))]:
            connection.execute(sql.SQL("drop owned by {}").format(sql.Identifier(name)))
            connection.execute(sql.SQL("drop role {}").format(sql.Identifier(name)))


def test_the_stream_is_stored_by_a_writer_and_read_by_a_reader_without_names(
    settings: Settings, spark: "SparkSession", member: Callable[[str], Member]
) -> None:
    """`consume` works as a member of `fraudstream_writer`, profiles, truths, duplicates and rejects included."""
    writer, reader = member("writer"), member("reader")
    named = message(first_name="Ada", email="ada@example.org")
    fraud = message(transaction_id="f", is_fraud=1, full_name="Mallory")
    send(settings, [(value, 0) for value in (named, named, fraud, b'{"first_name": "Ada')])
    as_writer = settings.model_copy(update={"postgres": writer.postgres})
    done = consume(spark, as_writer, tuple(TARGETS), once=True, stop=threading.Event())
    assert (done.stored["transactions"], done.duplicates["transactions"]) == (1, 1)
    assert writer.refused("delete from shop.transactions")
    assert writer.refused("update shop.transactions set amount = 1")
    assert writer.refused("insert into shop.models (version) values ('mine')")
    assert writer.refused("insert into shop.labels (transaction_id, is_fraud) values ('f', false)")

    assert reader.rows("select transaction_id, amount from shop.transactions") == [("t-1", 12.5)]
    assert reader.rows("select count(*) from shop.fraud_transactions") == [(1,)]
    assert reader.rows("select reason from shop.rejected")[0][0].startswith("not JSON")
    for table in ("transactions", "fraud_transactions"):
        for column in PERSONAL:
            assert reader.refused(f"select {column} from shop.{table}")
        assert reader.refused(f"select * from shop.{table}")
        assert reader.refused(f"select {table} from shop.{table}"), "a row as a whole holds its names"
    for column in ("key", "value"):
        assert reader.refused(f"select {column} from shop.rejected")


def test_a_reader_changes_nothing(member: Callable[[str], Member]) -> None:
    """Neither a table, nor a sequence, nor by making something of its own."""
    reader = member("reader")
    for table in metadata.sorted_tables:
        assert reader.refused(f"insert into shop.{table.name} default values")
        assert reader.refused(f"delete from shop.{table.name}")
        assert reader.refused(f"truncate shop.{table.name}")
        assert reader.refused(f'update shop.{table.name} set "{next(iter(table.columns)).name}" = default')
    assert reader.refused("create table shop.mine ()")
    assert reader.refused("create table public.mine ()")
    assert reader.refused("set role fraudstream_writer")
    assert reader.refused("drop view shop.alert_reviews")
    assert reader.refused("lock table shop.watermarks in share mode"), "slices would wait for it"


PROMISED = (
    ("reviewer", "INSERT", "labels", "transaction_id is_fraud labelled_at labelled_by note"),
    ("reviewer", "INSERT", "label_files", "sha256 name added"),
    ("trainer", "INSERT UPDATE", "models", "*"),
    ("writer", "SELECT INSERT", "transactions fraud_transactions scores alerts rejected", "*"),
    ("writer", "UPDATE", "rejected", "replayed_at topic_id"),
    (
        "writer",
        "SELECT INSERT UPDATE",
        "stream_offsets profiles watermarks hourly risk_bins latency_bins",
        "*",
    ),
    ("writer", "SELECT INSERT UPDATE DELETE", "stream_progress", "*"),
    ("writer", "SELECT", "labels models alembic_version", "*"),
    ("writer", "UPDATE", "labels", "folded_at"),
    ("writer", "SELECT", "alert_reviews alert_quality alert_rate score_drift decision_latency", "*"),
)
"""What docs/security.md says in words: who, which rights, to which relations and columns. All but the writer also read."""
NOT_READ = {
    "transactions": {"first_name", "last_name", "full_name", "email"},
    "fraud_transactions": {"first_name", "last_name", "full_name", "email"},
    "rejected": {"key", "value"},
}
"""By hand, as a name that is missing in the program's own list is what this is to find."""
RIGHTS = """
with role (name) as (select unnest(array['reader', 'reviewer', 'trainer', 'writer'])),
relation as (
  select oid, relname, relkind from pg_class where relnamespace = 'shop'::regnamespace and relkind in ('r', 'v', 'p')
)
select name, privilege, relname, attname
from role, relation, unnest(array['SELECT', 'INSERT', 'UPDATE', 'REFERENCES']) as privilege, pg_attribute
where attrelid = relation.oid and attnum > 0 and not attisdropped
  and has_column_privilege('fraudstream_' || name, relation.oid, attnum, privilege)
union all
select name, privilege, relname, '*'
from role, relation, unnest(array['DELETE', 'TRUNCATE', 'TRIGGER']) as privilege
where has_table_privilege('fraudstream_' || name, relation.oid, privilege)
"""
"""What each role may do, by itself, as a member of another, or as anybody."""
BESIDES = """
with role (name) as (select 'fraudstream_' || unnest(array['reader', 'reviewer', 'trainer', 'writer']))
select name, privilege, relname from role, pg_class, unnest(array['USAGE', 'SELECT', 'UPDATE']) as privilege
where relnamespace = 'shop'::regnamespace and relkind = 'S' and has_sequence_privilege(name, pg_class.oid, privilege)
union all
select name, 'CREATE', 'shop' from role where has_schema_privilege(name, 'shop', 'CREATE')
union all
select name, 'CREATE', current_database() from role where has_database_privilege(name, current_database(), 'CREATE')
union all
select name, privilege, rolname from role, pg_roles, unnest(array['login', 'superuser', 'createrole', 'bypassrls']) as privilege
where rolname = name
  and case privilege when 'login' then rolcanlogin when 'superuser' then rolsuper
    when 'createrole' then rolcreaterole else rolbypassrls end
union all
select name, 'owner of', relname from role, pg_class
where relnamespace = 'shop'::regnamespace and pg_has_role(name, relowner, 'MEMBER')
"""
"""What none may: draw from a sequence, make objects, log in, or act as an owner."""


@pytest.mark.usefixtures("member")
def test_each_role_may_do_to_each_column_what_the_page_on_security_says_and_no_more(
    settings: Settings,
) -> None:
    """Where the trainer could delete a model, or the writer change a label, every command went on as before."""
    with connect(settings.postgres) as connection:
        given = set(connection.execute(RIGHTS.encode()).fetchall())
        assert connection.execute(BESIDES.encode()).fetchall() == []
        columns: dict[str, set[str]] = {}
        for relation, column in connection.execute(
            "select table_name, column_name from information_schema.columns where table_schema = 'shop'"
        ):
            columns.setdefault(relation, set()).add(column)
    wanted = {
        (work, "SELECT", relation, name)
        for work in ("reader", "reviewer", "trainer")
        for relation, names in columns.items()
        for name in names - NOT_READ.get(relation, set())
    }
    for work, rights, relations, listed in PROMISED:
        for right, relation in itertools.product(rights.split(), relations.split()):
            whole = {"*"} if right == "DELETE" else columns[relation]  # rows are deleted, not columns
            wanted |= {(work, right, relation, name) for name in (whole if listed == "*" else listed.split())}
    assert sorted(given - wanted) == [], "nobody was promised that"
    assert sorted(wanted - given) == [], "somebody cannot do his work"


def test_a_function_that_a_reader_made_never_runs_with_the_rights_of_others(
    settings: Settings, member: Callable[[str], Member]
) -> None:
    """Before PostgreSQL 15 anybody might create one in `public`, and a better match than the system's was preferred."""
    reader = member("reader")
    with connect(settings.postgres) as connection:
        connection.execute("grant create on schema public to public")
    with connect(reader.postgres) as connection:
        connection.execute(
            "create function public.array_position(text[], text) returns integer language plpgsql"
            " as $$ begin raise 'in the name of %', current_user; end $$"
        )
    values = [message(transaction_id=name, user_id="ann") for name in ("a", "b")]
    store_slice(settings.postgres, SOURCE, select([*ALL]), {}, iter([messages(values)]))
    removed: Counter[str] = Counter()
    forget.forget(settings.postgres, forget.of_user("ann"), removed)
    assert removed["transactions"] == 2


def test_a_reviewer_adds_labels_and_cannot_take_one_back(member: Callable[[str], Member]) -> None:
    reviewer = member("reviewer")
    assert reviewer.refused("delete from shop.labels")
    assert reviewer.refused("update shop.labels set is_fraud = true")
    assert reviewer.refused(
        "insert into shop.labels (transaction_id, is_fraud, folded_at) values ('t', true, now())"
    )
    assert not reviewer.refused(
        "insert into shop.labels (transaction_id, is_fraud, labelled_by) values ('t', true, 'me')"
    )
    assert reviewer.refused(
        "insert into shop.labels (transaction_id, is_fraud, recorded_by) values ('t', true, 'me')"
    )
    assert reviewer.refused("insert into shop.scores default values")
    file = "insert into shop.label_files (sha256, name, added"
    assert not reviewer.refused(f"{file}) values ('0', 'a.csv', 1)")
    assert reviewer.refused(f"{file}, read_at) values ('0', 'a.csv', 1, 'infinity')")
    assert reviewer.refused("select email from shop.transactions")
    assert reviewer.rows("select count(*) from shop.alert_reviews") == [(0,)]


def test_a_label_is_corrected_by_a_later_one_and_names_its_login_whatever_it_says(
    settings: Settings, run: Run, member: Callable[[str], Member]
) -> None:
    """The latest counts, so a label of the future would count for ever; its author may call himself anything."""
    reviewer = member("reviewer")
    reviewer.adds("values ('t', false, now() - interval '1 day', 'the.boss')")
    with pytest.raises(CheckViolation, match="labels_not_of_the_future"):
        reviewer.adds("values ('t', false, '2999-01-01', 'the.boss')")
    for unreadable in ("-infinity", "0044-03-15 BC"):
        with pytest.raises(CheckViolation, match="labels_of_a_year"):
            reviewer.adds(f"values ('t', true, '{unreadable}', 'the.boss')")
    with pytest.raises(CheckViolation, match="labels_of_a_length"):
        reviewer.adds("values ('t', true, now(), repeat('x', 257))")
    printed(run("label", "t", "--fraud", "--by", "me"))
    said = labels.said(settings.postgres, "t")
    assert [(label.is_fraud, label.labelled_by) for label in said] == [(False, "the.boss"), (True, "me")]
    assert reviewer.rows("select recorded_by from shop.labels order by labelled_at") == [
        (reviewer.postgres.user,),
        (settings.postgres.user,),
    ]


def test_applying_the_roles_again_takes_away_what_was_given_by_hand(
    settings: Settings, run: Run, member: Callable[[str], Member]
) -> None:
    reader = member("reader")
    with connect(settings.postgres) as connection:
        connection.execute("grant select (email), delete on shop.transactions to fraudstream_reader")
        connection.execute("grant create on schema shop to fraudstream_reader")
        connection.execute("grant usage on all sequences in schema shop to fraudstream_reader")
    assert not reader.refused("select email from shop.transactions")
    applied = run("roles", "apply", "--json")
    assert applied.returncode == 0, applied.stderr
    assert json.loads(applied.stdout)["roles"] == [role.name for role in roles.ROLES]
    assert reader.refused("select email from shop.transactions")
    assert reader.refused("delete from shop.transactions")
    assert reader.refused("create table shop.mine ()")
    assert reader.refused("select nextval(pg_get_serial_sequence('shop.labels', 'label_id'))")
    assert reader.rows("select count(*) from shop.labels") == [(0,)]


def test_an_owner_applies_roles_that_an_administrator_has_made(
    settings: Settings, member: Callable[[str], Member]
) -> None:
    """Since PostgreSQL 16 only who made a role may grant it; the second database of a server, and each upgrade, failed."""
    owner = member("reader").postgres
    name, database = sql.Identifier(owner.user), sql.Identifier(f"second_{secrets.token_hex(4)}")
    with connect(settings.postgres, autocommit=True) as connection:
        connection.execute(sql.SQL("alter role {} createrole").format(name))
        connection.execute(sql.SQL("create database {} owner {}").format(database, name))
    try:
        second = owner.model_copy(update={"database": database.as_string().strip('"')})
        assert roles.apply(second) == roles.ROLES
    finally:
        with connect(settings.postgres, autocommit=True) as connection:
            connection.execute(sql.SQL("drop database {} with (force)").format(database))


def test_a_lock_that_anybody_can_hold_does_not_delay_an_upgrade_for_ever(
    settings: Settings,
    member: Callable[[str], Member],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    reader = member("reader")
    monkeypatch.setattr("fraudstream.store.upgrade.WAIT_MINUTES", 0.01)
    with connect(settings.postgres, autocommit=True) as connection:
        connection.execute("update shop.alembic_version set version_num = '0012'")
    with connect(reader.postgres) as holder:
        holder.execute("select pg_advisory_lock(%s)", (upgrade.LOCK,))
        with (
            caplog.at_level("INFO"),
            pytest.raises(DatabaseError, match=r"has held the lock on .* for 0\.01 min"),
        ):
            migrate.migrate(settings.postgres)
    assert "Waiting for another session that makes or upgrades the tables." in caplog.messages


def test_who_may_not_make_roles_is_told_so(
    environment: dict[str, str], call: Run, member: Callable[[str], Member]
) -> None:
    done = call("roles", "apply", env=environment | member("writer").environment)
    assert done.returncode == 1
    assert "permission denied" in done.stderr
    assert "Traceback" not in done.stderr


def test_rights_that_postgresql_did_not_give_are_not_reported_as_given(
    settings: Settings, member: Callable[[str], Member]
) -> None:
    """It only warns whoever has some right to a table, and may give none away."""
    writer = member("writer")
    with connect(settings.postgres, autocommit=True) as connection:
        clerk = sql.Identifier(writer.postgres.user)
        connection.execute(sql.SQL("alter role {} createrole").format(clerk))
        connection.execute(sql.SQL("grant select on all tables in schema shop to {}").format(clerk))
    with pytest.raises(DatabaseError, match="PostgreSQL did not do all of") as caught:
        roles.apply(writer.postgres)
    assert "owner of the database" in caught.value.hint


def test_a_database_of_somebody_else_will_do_where_everybody_may_connect(
    settings: Settings, member: Callable[[str], Member]
) -> None:
    """As PUBLIC may unless it was taken away: then nothing is missing, though nothing was granted."""
    owner = member("writer").postgres.user
    with connect(settings.postgres, autocommit=True) as connection:
        database = sql.Identifier(settings.postgres.database)
        connection.execute(sql.SQL("alter database {} owner to {}").format(database, sql.Identifier(owner)))
        assert roles.apply(settings.postgres) == roles.ROLES
        connection.execute(
            sql.SQL("alter database {} owner to {}").format(database, sql.Identifier(settings.postgres.user))
        )


def test_the_printed_sql_is_what_apply_runs(
    settings: Settings, call: Run, member: Callable[[str], Member]
) -> None:
    """One text for an administrator to read and run; it parses as a whole and may run over what is there."""
    reader = member("reader")
    script = printed(call("roles", "sql"))
    assert script == roles.script(settings.postgres.database) + "\n"
    with connect(settings.postgres, autocommit=True) as connection:
        connection.execute(script.encode())
    assert reader.rows("select count(*) from shop.transactions") == [(0,)]


def test_each_role_does_its_whole_work(
    call: Run, environment: dict[str, str], member: Callable[[str], Member], tmp_path: Path
) -> None:
    """A writer stores decisions and folds labels, a trainer registers a model, a reviewer reads the pages and judges."""
    writer, trainer, reviewer = (member(work).postgres for work in ("writer", "trainer", "reviewer"))
    now = datetime.now(UTC)
    fields = {"user_id": "u-1", "timestamp": now.isoformat(), "device": "ios"}
    decided = {**fields, "flagged": True, "risk": 0.9, "model_version": "m-1", "scored_at": now.isoformat()}

    registry.register(trainer, *packed("m-1", ensemble(("amount_to_user_mean", 5.0, -1.0, 3.0))))
    registry.promote(trainer, "m-1")
    store_slice(writer, SOURCE, select([*ALL]), {}, [messages([message(transaction_id="a", **fields)] * 2)])
    decisions = [decision(transaction_id=name, **decided) for name in ("a", "b")]
    store_slice(writer, SOURCE, select(["scores"]), {}, [messages([*decisions, decisions[0]])])
    offsets.move(writer, "transactions", TOPIC, 0, 0)
    assert not offsets.known(writer, "convert", TOPIC)
    assert offsets.begin(writer, ["convert"], TOPIC, {0: 3}) == {("convert", 0): 3}
    offsets.reach(writer, "convert", TOPIC, {0: 5})
    assert training_rows.transactions(trainer).num_rows == 1
    progress.record(writer, "consume", Standing("t", {0: 1}, {0: 1}, 1.0))

    asked = Wanted(since=now - timedelta(days=1))
    assert {alert.transaction_id for alert in review.queue(reviewer, asked)} == {"a", "b"}
    assert review.tally(reviewer).waiting == 2
    assert [past.transaction_id for past in history.history(reviewer, "u-1", now)] == ["a"]
    assert explanation.explain(reviewer, "a").alert is not None
    assert overview.overview(reviewer, timedelta(days=1), "hour") is not None
    pipeline.pipeline(reviewer)
    model_quality.at_work(reviewer, "m-1")
    glance.glance(reviewer, now - timedelta(days=1))

    as_reviewer = {"env": environment | Member(reviewer).environment}
    labels = tmp_path / "labels.csv"
    labels.write_text("transaction_id,is_fraud\nb,0\n")
    for command in (
        ("label", "a", "--fraud", "--note", "stolen", "--json"),
        ("label", "--from", str(labels), "--json"),
        ("alerts", "list", "--json"),
        ("health", "--json"),
        ("models", "list", "--json"),
    ):
        done = call(*command, **as_reviewer)
        assert "permission denied" not in done.stdout + done.stderr, command
        assert done.returncode == 0 or command[0] == "health", done.stdout
    looked = call("health", "--json", env=environment | member("reader").environment)
    assert json.loads(looked.stdout)["model"]["version"] == "m-1", looked.stdout + looked.stderr
    verdicts = {alert.transaction_id: alert.verdict for alert in alerts.alerts(reviewer)}
    assert verdicts == {"a": True, "b": False}
    assert fold_known(writer, datetime.now(UTC), timedelta(days=7)).labels == 1
