"""Personal data: where it is, where it never goes, and how it goes away."""

import json
import re
import subprocess
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from commands import answered
from fraudstream.features.events import pair_key
from fraudstream.kafka import Messages
from fraudstream.settings import PostgresSettings
from fraudstream.store import alerts, forget, roles
from fraudstream.store.connection import connect
from fraudstream.store.glance import glance
from fraudstream.store.health import snapshot
from fraudstream.store.model_quality import at_work
from fraudstream.store.slices import store_slice
from fraudstream.store.tables import metadata
from fraudstream.store.targets import select
from profile_world import ALL, transaction
from rows import query
from samples import decision, message
from slice_world import SOURCE
from waiting import wait_until

Run = Callable[..., "subprocess.CompletedProcess[str]"]
OLD, NEW = datetime(2024, 1, 5, tzinfo=UTC), datetime(2025, 3, 5, tzinfo=UTC)
DOCS = Path(__file__).parents[2] / "docs"
LIMIT = datetime(2025, 1, 1, tzinfo=UTC)


def store(
    postgres: PostgresSettings, *values: bytes, targets: tuple[str, ...] = ALL, first: int = 0
) -> Counter[str]:
    keys = [json.loads(value)["user_id"].encode() if value.startswith(b"{") else b"u9" for value in values]
    batch = Messages(range(first, first + len(values)), keys, values)
    return store_slice(postgres, SOURCE, select([*targets]), {}, [batch]).stored


def rows(postgres: PostgresSettings) -> dict[str, int]:
    """How many rows each table has."""
    return {
        table.name: query(postgres, f"select count(*) from shop.{table.name}")[0][0]
        for table in metadata.sorted_tables
    }


def sent(user: str, name: str, at: datetime, **changes: Any) -> dict[str, Any]:
    """Fields of a transaction and of its decision."""
    return {
        "transaction_id": name,
        "user_id": user,
        "timestamp": at.isoformat(),
        "device": f"{user}'s phone",
        **changes,
    }


def fill(postgres: PostgresSettings) -> None:
    """Three customers, one of whom is called like the start of another; old and new; fraud, alerts, labels, rejects."""
    some = [
        sent(user, f"{user}-{at.year}-{n}", at, merchant_id="m1", is_fraud=int(n == 1))
        for user in ("u1", "u10", 'it\'s "u\\1"%')
        for at in (OLD, NEW)
        for n in range(2)
    ]
    unreadable = [b'{"user_id": "u1", "amount": -1}', b'{"user_id": "u10"}', b"{nobody's"]
    values = [*(message(**fields) for fields in some), *unreadable]
    store(postgres, *values[:-1], b"nobody's")
    chosen = ("transaction_id", "user_id", "timestamp", "device")
    decided = [decision(**{name: fields[name] for name in chosen}, flagged=True, risk=0.9) for fields in some]
    store(postgres, *decided, targets=("scores",))
    with connect(postgres) as connection:
        for fields in some:
            connection.execute(
                "insert into shop.labels (transaction_id, is_fraud, labelled_at) values (%s, true, %s)",
                (fields["transaction_id"], fields["timestamp"]),
            )
        connection.execute(
            "insert into shop.labels (transaction_id, is_fraud) values ('not stored yet', true)"
        )
        connection.execute(
            "insert into shop.labels (transaction_id, is_fraud, labelled_at) values ('never stored', true, %s)",
            (OLD,),
        )


def mentions(postgres: PostgresSettings, text: str) -> list[str]:
    """The tables of which some row, written as text, has `text` in it."""
    return [
        table.name
        for table in metadata.sorted_tables
        if query(
            postgres, f"select from shop.{table.name} as t where position(%s in t::text) > 0 limit 1", text
        )
    ]


def test_a_forgotten_customer_is_in_no_table_and_the_others_are_untouched(
    postgres: PostgresSettings, run: Run, call: Run
) -> None:
    fill(postgres)
    kept = ("u10", 'it\'s "u\\1"%')
    before = {user: query(postgres, "select * from shop.profiles where key = %s", user) for user in kept}
    counted = rows(postgres)
    dry = answered(call("forget", "--user", "u1", "--dry-run", "--json"))
    expected = {
        "transactions": 2, "fraud_transactions": 2, "scores": 4, "alerts": 4, "labels": 4, "rejected": 1, "profiles": 4,
    }  # fmt: skip
    assert (dry["rows"], dry["dry_run"]) == (expected, True)
    assert rows(postgres) == counted, "a dry run deletes nothing"

    done = answered(run("forget", "--user", "u1", "--yes", "--json"))
    assert (done["rows"], done["total"]) == (expected, sum(expected.values()))
    left = rows(postgres)
    assert left == {name: number - expected.get(name, 0) for name, number in counted.items()}
    assert query(postgres, "select count(*) from shop.transactions where user_id = 'u1'") == [(0,)]
    assert mentions(postgres, "u1-2025") == []
    assert mentions(postgres, pair_key("u1", "")) == []
    for user in kept:
        assert query(postgres, "select * from shop.profiles where key = %s", user) == before[user]
    again = answered(call("forget", "--user", "u1", "--yes", "--json"))
    assert again["total"] == 0


def escaped(letter: str, way: int) -> str:
    """A character in a JSON text: as `json` writes it with or without ASCII, or as codes with large, small or mixed letters."""
    units = letter.encode("utf-16-be").hex()
    codes = "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))
    ways = (
        json.dumps(letter)[1:-1],
        json.dumps(letter, ensure_ascii=False)[1:-1],
        codes,
        codes.upper().replace("U", "u"),
        "".join(sign.upper() if n % 2 and sign != "u" else sign for n, sign in enumerate(codes)),
        "\\/" if letter == "/" else letter if letter not in '\\"' else codes,
    )
    return ways[way % len(ways)]


def mentioned(postgres: PostgresSettings, held: bytes, name: str) -> bool:
    """Whether this message is found to be about a customer."""
    asked = "select " + forget.NAMED.replace("{0}", "%(held)s")
    given = {"held": held, "beginning": forget.beginning(name), "mention": forget.mention(name)}
    with connect(postgres) as connection:
        row = connection.execute(asked.encode(), given).fetchone()
    assert row is not None
    return bool(row[0])


NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=12)
OUTER = st.lists(st.booleans(), max_size=2)
"""Whether each string around a message is written in ASCII only."""
BACK, CODE = "\\", "\\u0022"


@given(NAMES, NAMES, st.lists(st.integers(0, 5), min_size=12, max_size=12), OUTER, st.booleans())
@example(" ", "0", [0] * 12, [], False).via("a blank, which stands behind the colon of everybody")
@example("Zoë", "Zoé", [0] * 12, [True, True], False).via("an escape within strings")
@example("ü😀", "Zoé", [4] * 12, [True], False).via("large and small digits in one code")
@example("\t", "\\t", [0] * 12, [True], False).via("the letters of an escape are another name")
@example("\\t", "\t", [0] * 12, [True], False).via("the same the other way round")
@example("\\", '"', [0] * 12, [], False).via("a backslash that belongs to a quote")
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_customer_is_found_in_a_message_however_its_sender_wrote_the_name(  # noqa: PLR0913, PLR0917 - all vary
    postgres: PostgresSettings, name: str, other: str, ways: list[int], outer: list[bool], cut: bool
) -> None:
    """Also in a JSON text that is a string in another one, or in two: a name with an escape in it was not found there."""

    def found(text: str) -> bool:
        for in_ascii in outer:
            text = json.dumps({"payload": text}, ensure_ascii=in_ascii)
        return mentioned(postgres, text.encode()[:-1] if cut else text.encode(), name)

    written = "".join(map(escaped, name, ways))
    assert found(f'{{"user_id": "{written}", "amount": -1}}')
    # An id that quotes another customer cannot be told from a message that quotes one of theirs.
    bare = other.replace("\\", "")
    if name != other and not any(f"{quote}{name}{quote}" in bare for quote in "\"'"):
        assert not found(f'{{"user_id": {json.dumps(other)}, "amount": -1}}')


@pytest.mark.parametrize("name", ["alice", "Zoë", 'al"ice', "back\\slash", "a\tb", "a/b", "😀", "O'Brien"])
@pytest.mark.parametrize("times", [1, 2])
def test_a_customer_is_found_where_programs_write_quotes_as_codes(
    postgres: PostgresSettings, name: str, times: int
) -> None:
    """As those in C# do, which also write every letter outside ASCII so: nobody was found in a text within a string."""
    text, bystander = json.dumps({"user_id": name}).replace("/", "\\/"), json.dumps({"user_id": f"{name}s"})
    for _ in range(times):
        text, bystander = (
            f'{{"payload":"{held.replace(BACK, BACK * 2).replace(chr(34), CODE)}"}}'
            for held in (text, bystander)
        )
    assert mentioned(postgres, text.encode(), name)
    assert not mentioned(postgres, bystander.encode(), name)


@pytest.mark.parametrize("name", ["alice", "42"])
@pytest.mark.parametrize(
    "wrong",
    [
        json.dumps,
        lambda text: json.dumps({"payload": text}),
        lambda text: json.dumps({"payload": json.dumps(text)}),
        lambda text: json.dumps({"payload": json.dumps(json.dumps(text))}),
        lambda text: repr(json.loads(text)),
    ],
    ids=["a string of JSON", "an envelope", "an envelope in a string", "three strings", "Python"],
)
def test_a_customer_is_found_in_what_programs_send_by_mistake(
    postgres: PostgresSettings, wrong: Callable[[str], str], name: str
) -> None:
    """Such a message is rejected as a whole, and holds names and addresses as any other."""
    said = [json.dumps({"user_id": who}) for who in ({name, int(name)} if name.isdigit() else {name})]
    for text in map(wrong, said):
        assert mentioned(postgres, text.encode(), name)
        assert not mentioned(postgres, text.encode(), "bob")


@pytest.mark.parametrize("name", ["alice", "Zoë", 'al"ice', "back\\slash", "a\tb", "😀"])
def test_a_customer_is_found_where_python_doubled_the_backslashes(
    postgres: PostgresSettings, name: str
) -> None:
    """As `repr` does without escaping quotes: two backslashes are before each, which no string of JSON has."""
    text, bystander = (
        repr(json.dumps({"payload": json.dumps({"user_id": who})})) for who in (name, f"{name}s")
    )
    assert mentioned(postgres, text.encode(), name)
    assert not mentioned(postgres, bystander.encode(), name)


@pytest.mark.parametrize("other", ["O'Brien", 'O"Brien', "D'O", 'D"O', "O\\"])
def test_a_customer_whose_name_only_begins_or_ends_anothers_is_not_found(
    postgres: PostgresSettings, other: str
) -> None:
    """A quote in a name is not where it ends: messages of somebody else would be deleted."""
    text = json.dumps({"user_id": other})
    assert mentioned(postgres, text.encode(), other)
    for held in (text, json.dumps(text), json.dumps(json.dumps(json.dumps(text))), repr(json.dumps(text))):
        assert not mentioned(postgres, held.encode(), "O")


def test_a_customer_who_is_forgotten_while_truths_are_folded_does_not_come_back(
    postgres: PostgresSettings,
) -> None:
    """The fold has read their payments already, and would make their profile anew."""
    store(postgres, message(**sent("u1", "t1", OLD)))
    removed: Counter[str] = Counter()
    with ThreadPoolExecutor(1) as pool, connect(postgres) as folding:
        folding.execute("lock table shop.watermarks in exclusive mode")
        forgetting = pool.submit(forget.forget, postgres, forget.of_user("u1"), removed)
        waiting = "select from pg_locks where relation = 'shop.watermarks'::regclass and not granted"
        wait_until(lambda: bool(query(postgres, waiting)), "forgetting to wait for the fold")
        folding.execute("update shop.profiles set count_30d = 2 where entity = 'user' and key = 'u1'")
        folding.commit()
        forgetting.result(30)
    assert not query(postgres, "select from shop.profiles where entity = 'user' and key = 'u1'")


def test_a_customer_whose_id_came_as_a_number_is_found_and_nobody_else(postgres: PostgresSettings) -> None:
    def found(text: str) -> bool:
        return mentioned(postgres, text.encode(), "4711")

    assert found('{"user_id": 4711, "full_name": "Jane Doe"}')
    assert found('{"user_id"\n:4711')
    assert found('{"us\\u0065r_id":4711}')
    assert not any(found(f'{{"user_id": {other}}}') for other in (47110, 4711.5, 14711, '"4711x"'))
    assert not found('{"user_id": 1, "amount": 4711}')


def nested(text: str, times: int) -> str:
    """A JSON text as a string in an envelope, and so on."""
    for _ in range(times):
        text = json.dumps({"payload": text})
    return text


WAYS: dict[str, Callable[[Any], str]] = {
    "a line": json.dumps,
    "lines": lambda fields: json.dumps(fields, indent=1),
    "Python": repr,
    "an envelope": lambda fields: nested(json.dumps(fields), 1),
    "two envelopes": lambda fields: nested(json.dumps(fields, ensure_ascii=False), 2),
}


@pytest.mark.parametrize("name", ["1", "596", "ios", "Rome", "Zürich", 'a "b"', "a/b"])
def test_a_customer_whose_id_is_a_common_value_takes_nobody_elses_messages_along(
    postgres: PostgresSettings, name: str
) -> None:
    """Every message with `"is_fraud": "1"` was deleted with the customer 1, whoever had paid."""
    values = dict.fromkeys(forget.IMPERSONAL, name)
    told: list[dict[str, Any]] = [
        *({**values, field: name} for field in ("user_id", "first_name", "email", "customer", "note")),
        *({"user_id": "somebody", "device": owner} for owner in ([name], {"owner": name})),
        {"user_id": "somebody", "mydevice": name},
    ]
    for way, written in WAYS.items():
        assert not mentioned(postgres, written({"user_id": "somebody", **values}).encode(), name), way
        for fields in told:
            assert mentioned(postgres, written(fields).encode(), name), (way, fields)


def test_a_common_value_is_passed_over_where_programs_write_quotes_as_codes(
    postgres: PostgresSettings,
) -> None:
    text = json.dumps({"user_id": "somebody", "device": "ios"}).replace('"', CODE)
    assert not mentioned(postgres, f'{{"payload":"{text}"}}'.encode(), "ios")
    assert mentioned(postgres, f'{{"payload":"{text}"}}'.encode(), "somebody")


@pytest.mark.parametrize("broken", ['"x', '"x\\"', "x", "'x", '"', ""])
def test_a_value_that_is_broken_hides_no_customer(postgres: PostgresSettings, broken: str) -> None:
    """What stands before a name counts, not where a reader would believe that a string ends."""
    text = f'{{"is_fraud": "1", "device": {broken}, "user_id": "ios", "location": "Ro'
    assert mentioned(postgres, text.encode(), "ios")
    assert not mentioned(postgres, text.encode(), "1")


@pytest.mark.parametrize("name", ["device", "user_id", "email", "risk"])
def test_a_customer_who_is_called_like_a_field_takes_only_messages_with_that_value(
    postgres: PostgresSettings, name: str
) -> None:
    for times in (0, 1):
        others, own = ({"user_id": who, "device": "ios", "email": "", "risk": 1} for who in ("u", name))
        assert not mentioned(postgres, nested(json.dumps(others), times).encode(), name)
        assert mentioned(postgres, nested(json.dumps(own), times).encode(), name)


def test_rejected_messages_of_others_stay_when_a_customer_with_a_common_id_is_forgotten(
    postgres: PostgresSettings, call: Run
) -> None:
    """The question names the rejected messages, as nobody but their sender knows for sure whose they are."""
    own, others = (
        [message(user_id=who, amount="1", is_fraud="1") for _ in range(n)] for who, n in (("1", 2), ("u", 3))
    )
    store(postgres, *own, *others, message(user_id="1"), targets=("transactions",))
    asked = call("forget", "--user", "1", input="n\n")
    assert "Permanently delete 3 rows about 1, 2 of them rejected messages?" in asked.stderr
    done = answered(call("forget", "--user", "1", "--yes", "--json"))
    assert (done["rows"]["rejected"], done["rows"]["transactions"]) == (2, 1)
    assert query(postgres, "select key from shop.rejected") == [(b"u",)] * 3


def test_a_customer_whose_name_is_full_of_signs_is_forgotten_alone(postgres: PostgresSettings) -> None:
    fill(postgres)
    removed: Counter[str] = Counter()
    forget.forget(postgres, forget.of_user('it\'s "u\\1"%'), removed)
    assert removed["transactions"] + removed["fraud_transactions"] == 4
    assert query(postgres, "select count(distinct user_id) from shop.scores") == [(2,)]


BOTH = ("transactions", "fraud_transactions")
INDEXES = """
select indexname, replace(indexdef, ' ON ONLY ', ' ON ') from pg_indexes
where schemaname = 'shop' and tablename = any(%s) and indexname !~ 'pkey' order by 1"""
PLACES = "select distinct tableoid::regclass::text from shop.{} where timestamp > now() - interval '1 hour'"


@pytest.fixture
def partitioned(postgres: PostgresSettings) -> PostgresSettings:
    """With rows in it, then as docs/scaling.md has it, month maker of the next month included."""
    fill(postgres)
    counted, indexes = rows(postgres), query(postgres, INDEXES, [*BOTH])
    for statement in re.findall(r"```sql\n(.*?)```", (DOCS / "scaling.md").read_text(), re.DOTALL):
        with connect(postgres) as connection:
            connection.execute(statement.encode())
    assert rows(postgres) == counted, "what was stored is kept"
    assert query(postgres, INDEXES, [*BOTH]) == indexes
    return postgres


def test_tables_by_month_have_places_for_this_month_and_the_next_two(partitioned: PostgresSettings) -> None:
    now = datetime.now(UTC)
    odd = datetime(1, 1, 2, tzinfo=UTC)
    values = [message(**sent("u", f"n{n}", at, is_fraud=n % 2)) for n, at in enumerate([now, now, odd, odd])]
    assert store(partitioned, *values, first=100)["transactions"] == 2
    for table in BOTH:
        leaves = query(
            partitioned,
            "select relid::regclass::text from pg_partition_tree(%s) where isleaf order by 1",
            f"shop.{table}",
        )
        months = [
            f"{now.year + (now.month - 1 + ahead) // 12}_{(now.month - 1 + ahead) % 12 + 1:02}"
            for ahead in range(3)
        ]
        assert leaves == [(f"shop.{table}_{part}",) for part in (*months, "rest")]
        assert query(partitioned, PLACES.format(table)) == [(f"shop.{table}_{months[0]}",)]


def test_tables_by_month_forget_and_everything_else_goes_on(
    partitioned: PostgresSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A payment of the year 1 is stored, and forgotten with the old ones; health, alerts and roles are those of plain tables."""
    monkeypatch.setattr(forget, "PAGES", 1)
    odd, now = datetime(1, 1, 2, tzinfo=UTC), datetime.now(UTC)
    times = [OLD] * 400 + [now] * 50 + [odd] * 300
    values = [message(**sent("u", f"t{n}", at, is_fraud=0)) for n, at in enumerate(times)]
    assert store(partitioned, *values, first=100)["transactions"] == 750
    removed: Counter[str] = Counter()
    forget.forget(partitioned, forget.before(LIMIT), removed)
    assert (removed["transactions"], removed["fraud_transactions"]) == (703, 3)
    assert query(partitioned, "select count(*), min(timestamp) from shop.transactions") == [(53, NEW)]

    fresh = {"transaction_id": "t400", "scored_at": now.isoformat()}
    store(partitioned, decision(**fresh, flagged=True, risk=0.9), targets=("scores",), first=100)
    # The key has the time in it: an id that comes again with another one is stored again, and its alert stays one.
    again = [message(**sent("u", "t400", at, is_fraud=0)) for at in (now, now + timedelta(seconds=1))]
    assert store(partitioned, *again, first=1000)["transactions"] == 1
    assert snapshot(partitioned).reviews.alerts == 1
    assert {alert.truth for alert in alerts.alerts(partitioned)} == {True, False}
    roles.apply(partitioned)
    with connect(partitioned) as connection:
        connection.execute(f"set role {roles.READER}".encode())
        for view in roles.VIEWS:
            connection.execute(f"select * from shop.{view}".encode())
        assert connection.execute("select count(transaction_id) from shop.transactions").fetchone() == (54,)


def test_tables_by_month_count_an_alert_and_a_fraud_once_whose_id_comes_again(
    partitioned: PostgresSettings,
) -> None:
    """On the Model page and at the end of the demo: two rows of one id made two alerts of one."""
    now = datetime.now(UTC)
    twice = [message(**sent("u", "t", at, is_fraud=1)) for at in (now, now + timedelta(seconds=1))]
    assert store(partitioned, *twice, first=100)["fraud"] == 2
    with connect(partitioned) as connection:
        connection.execute("delete from shop.alerts")
    fresh = {"transaction_id": "t", "scored_at": now.isoformat(), "sent_at": now.isoformat()}
    store(partitioned, decision(**fresh, flagged=True, risk=0.9), targets=("scores",), first=100)
    (day,) = at_work(partitioned, "m-1").quality
    assert (day.alerts, day.known_fraud) == (1, 1)
    assert glance(partitioned, now - timedelta(minutes=1)).frauds == 1


def test_what_is_older_than_a_day_is_forgotten_and_the_stream_goes_on(
    postgres: PostgresSettings, call: Run
) -> None:
    """Labels go with their transactions; counts by the hour and offsets stay, so nothing forgotten is stored again."""
    fill(postgres)
    # Several stretches of the table, some of which hold old and new rows side by side.
    with connect(postgres) as connection:
        connection.execute("update shop.rejected set rejected_at = '2024-05-05' where value = 'nobody''s'")
        connection.execute(
            "insert into shop.latency_bins select day, bin, 1 from generate_series(1, 3) as bin,"
            " (values (timestamptz '2024-12-31 23:59Z'), ('2025-01-01 00:00Z')) as v (day)"
        )
    offsets = query(postgres, "select * from shop.stream_offsets order by target")
    hours = query(postgres, "select * from shop.hourly order by kind, hour")
    expected = forget.count(postgres, forget.before(LIMIT))
    done = answered(call("forget", "--older-than", "2025-01-01", "--yes", "--json"))
    assert done["rows"] == dict(expected)
    assert (done["rows"]["transactions"], done["rows"]["fraud_transactions"], done["rows"]["alerts"]) == (
        3,
        3,
        6,
    )
    assert (done["rows"]["labels"], done["rows"]["rejected"]) == (7, 1)
    assert done["rows"]["latency_bins"] == 3
    assert query(postgres, "select distinct minute >= '2025-01-01' from shop.latency_bins") == [(True,)]
    assert mentions(postgres, "-2024-") == []
    assert query(postgres, "select transaction_id from shop.labels where transaction_id ~ 'stored'") == [
        ("not stored yet",)
    ]
    assert query(postgres, "select min(timestamp) >= '2025-01-01' from shop.scores") == [(True,)]
    assert query(postgres, "select * from shop.stream_offsets order by target") == offsets
    assert query(postgres, "select * from shop.hourly order by kind, hour") == hours
    assert store(postgres, message(**sent("u1", "u1-2024-0", OLD))).total() == 0, "below the offset"


def test_profiles_of_whom_nothing_was_seen_since_go_and_the_sum_of_all_stays(
    postgres: PostgresSettings,
) -> None:
    store(
        postgres,
        message(**sent("gone", "a", OLD)),
        message(**sent("here", "b", OLD)),
        message(**sent("here", "c", NEW)),
    )
    forget.forget(postgres, forget.before(LIMIT), Counter())
    left = query(
        postgres, "select entity, key from shop.profiles where entity in ('user', 'total') order by 1, 2"
    )
    assert left == [("total", ""), ("user", "here")]


def test_forgetting_in_stretches_takes_every_old_row_and_no_other(
    postgres: PostgresSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hundreds of pages, two at a time, old and new in disorder; a stretch that fails leaves the ones before it done."""
    monkeypatch.setattr(forget, "PAGES", 2)
    chance = Random(1)
    days = [LIMIT + timedelta(days=chance.choice([-200, -1, 1])) for _ in range(3_000)]
    store(
        postgres,
        *(
            transaction(f"t{n}", chance, timestamp=day.isoformat(), is_fraud=None)
            for n, day in enumerate(days)
        ),
        targets=("transactions",),
    )
    removed: Counter[str] = Counter()
    forget.forget(postgres, forget.before(LIMIT), removed)
    assert removed["transactions"] == sum(day < LIMIT for day in days)
    assert rows(postgres)["transactions"] == sum(day >= LIMIT for day in days)


def test_what_was_forgotten_makes_room_for_new_rows_at_once(postgres: PostgresSettings) -> None:
    """Without a vacuum its bytes stay in the files, names included, until one comes by itself; untouched tables need none."""
    fill(postgres)
    counts = (
        "select relname, vacuum_count from pg_stat_user_tables where schemaname = 'shop' and vacuum_count > 0"
    )
    assert query(postgres, counts) == []
    removed: Counter[str] = Counter()
    forget.forget(postgres, forget.of_user("u1"), removed)
    # The server writes its statistics down a moment later.
    wait_until(lambda: len(query(postgres, counts)) >= len(+removed), "vacuumed tables")
    assert sorted(query(postgres, counts)) == [(table, 1) for table in sorted(+removed)]


def test_without_a_yes_nothing_is_forgotten(postgres: PostgresSettings, run: Run, call: Run) -> None:
    """The question says how many rows of whom; a script that cannot answer is told of --yes."""
    store(postgres, message(**sent("u1\x1b[2J", "a", OLD)))
    refused = call("forget", "--user", "u1\x1b[2J", input="n\n")
    assert refused.returncode == 1
    assert "rows about u1\\x1b[2J?" in refused.stderr
    assert run("forget", "--user", "u1\x1b[2J", stdin=subprocess.DEVNULL).returncode == 2
    assert rows(postgres)["transactions"] == 1


def test_names_and_addresses_stay_where_they_were_stored(postgres: PostgresSettings) -> None:
    """Profiles, decisions, alerts, labels and counts of a customer hold no name of theirs."""
    person = {
        "first_name": "Zebulon", "last_name": "Quackenbush", "full_name": "Zebulon Quackenbush",
        "email": "zebulon@example.org",
    }  # fmt: skip
    store(
        postgres,
        message(**sent("u1", "a", NEW), **person),
        message(**sent("u1", "b", NEW, is_fraud=1), **person),
    )
    # A scorer that was led to send names on would not get them past the door either.
    store(postgres, decision(transaction_id="a", user_id="u1", flagged=True, **person), targets=("scores",))
    for text in ("Zebulon", "Quackenbush", "zebulon"):
        assert mentions(postgres, text) == ["fraud_transactions", "transactions"]
