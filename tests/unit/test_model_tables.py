"""Training files: what is read, what is left out, and what is refused, each with a sentence."""

import gzip
import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fraudstream.errors import InputError, UsageError
from fraudstream.features.definitions import FEATURES, available
from fraudstream.features.training import view
from fraudstream.files import Rejects
from fraudstream.model.tables import parse_map, read_transactions
from fraudstream.producer.replay import replay, shape

HEADER = "transaction_id,user_id,timestamp,amount,is_fraud\n"


def file(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "t.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_instants_of_several_zones_end_in_utc_and_in_order(tmp_path: Path) -> None:
    """A zone, another zone, none (which means UTC), a date alone and the basic format."""
    rows = (
        "a,u,2024-05-01T12:00:00+02:00,1,0\n"
        "b,v,2024-05-01T11:00:00-05:00,1,0\n"
        "c,u,2024-05-01 09:30:00,1,0\n"
        "d,u,2024-05-01,1,0\n"
        "e,u,20240501T230000Z,1,0\n"
    )
    loaded = read_transactions(file(tmp_path, HEADER + rows))
    times = dict(
        zip(loaded.rows["transaction_id"].to_pylist(), loaded.rows["timestamp"].to_pylist(), strict=True)
    )
    assert times == {
        "d": datetime(2024, 5, 1, tzinfo=UTC),
        "c": datetime(2024, 5, 1, 9, 30, tzinfo=UTC),
        "a": datetime(2024, 5, 1, 10, tzinfo=UTC),
        "b": datetime(2024, 5, 1, 16, tzinfo=UTC),
        "e": datetime(2024, 5, 1, 23, tzinfo=UTC),
    }
    assert list(times) == ["d", "c", "a", "b", "e"]


@pytest.mark.parametrize("name", ["t.csv", "t.ndjson"])
@pytest.mark.parametrize(
    "bad", ["0001-01-01T00:00:00+01:00", "0000-01-01 00:00:00", "9999-12-31T23:59:59-05:00"]
)
def test_a_timestamp_outside_the_years_1_to_9999_costs_its_own_row(
    bad: str, name: str, tmp_path: Path
) -> None:
    """Python has no such years in UTC, so whatever used the row later would crash."""
    times = ["0001-01-01T00:00:00Z", bad, "9999-12-31T23:59:59.999999Z", "9999-12-31 23:59:59.999999"]
    if name == "t.csv":
        text = HEADER + "".join(f"t{i},u,{time},1,0\n" for i, time in enumerate(times))
    else:
        text = "".join(f'{{"user_id": "u", "timestamp": "{time}", "amount": 1}}\n' for time in times)
    (tmp_path / name).write_text(text)
    loaded = read_transactions(tmp_path / name)
    last = datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)
    assert loaded.rows["timestamp"].to_pylist() == [datetime(1, 1, 1, tzinfo=UTC), last, last]
    assert [(bad.row, bad.reason) for bad in loaded.bad] == [(2, "timestamp: not an ISO 8601 date and time")]


def test_rows_that_cannot_be_read_are_counted_and_listed_with_their_reason(tmp_path: Path) -> None:
    good = "".join(f"g{i},u{i % 3},2024-05-01T12:00:{i:02d}Z,10.5,0\n" for i in range(20))
    bad = (
        "x1,u,2024-13-01T00:00:00Z,1,0\n"
        "x2,u,2024-05-01T00:00:00Z,nan,0\n"
        "x3,u,2024-05-01T00:00:00Z,-4,0\n"
        "x4,u,2024-05-01T00:00:00Z,1e999,0\n"
        "x5,,2024-05-01T00:00:00Z,1,0\n"
        "x6,u,2024-05-01T00:00:00Z,1,maybe\n"
        "x7,u,2024-05-01T00:00:00Z,1\n"
    )
    loaded = read_transactions(file(tmp_path, HEADER + good + bad))
    assert loaded.rows.num_rows == 20
    assert (loaded.read, loaded.unparsable) == (27, 7)
    reasons = {bad.row: bad.reason for bad in loaded.examples}
    assert reasons[21] == "timestamp: not an ISO 8601 date and time"
    assert {reasons[22], reasons[23], reasons[24]} == {"amount: not a number above 0"}
    assert reasons[25].startswith("user_id: empty")
    assert reasons[26] == "is_fraud: not 0 or 1, true or false, yes or no"
    assert reasons[27] == "4 cells where the header has 5"


def test_truths_are_spelled_as_in_every_other_file(tmp_path: Path) -> None:
    said = ("1", "yes", "T", "true", "1.0", "0", "no", "F", "False", "0.0", "")
    rows = "".join(f"t{n},u,2024-05-01T12:00:{n:02d}Z,10.5,{truth}\n" for n, truth in enumerate(said))
    loaded = read_transactions(file(tmp_path, HEADER + rows))
    assert loaded.rows["is_fraud"].to_pylist() == [True] * 5 + [False] * 5 + [None]


def test_a_number_in_text_is_read_to_its_last_digit(tmp_path: Path) -> None:
    """A split on an amount must fall to the same side in a CSV as in Parquet; spaces and signs do no harm."""
    numbers = [x.item() for x in np.random.default_rng(0).random(500)]
    rows = "".join(f"t{i},u{i % 3},2024-05-01T12:00:00Z, +{x!r} ,0\n" for i, x in enumerate(numbers))
    assert read_transactions(file(tmp_path, HEADER + rows)).rows["amount"].to_pylist() == numbers


def test_rows_keep_their_number_behind_one_that_was_skipped(tmp_path: Path) -> None:
    """The number is that of the file, not of what could be read of it."""
    good = "".join(f"g{i},u{i % 3},2024-05-01T12:00:{i:02d}Z,10.5,0\n" for i in range(9))
    loaded = read_transactions(
        file(tmp_path, HEADER + "short,u\n" + good + "x,u,2024-05-01T00:00:00Z,-4,0\n")
    )
    assert [(bad.row, bad.reason) for bad in loaded.bad] == [
        (1, "2 cells where the header has 5"), (11, "amount: not a number above 0"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "stray", ['x,"15 inch,2024-05-01T12:00:00Z,1.5,0', 'x,u,2024-05-01T12:00:00Z,1.5,"0']
)
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_stray_quote_costs_its_own_row_of_a_training_file(stray: str, end: str, tmp_path: Path) -> None:
    """However many rows follow: what they fill is less than what is read at once, and more."""
    for count in (30, 60_000):
        rows = [f"g{i},u{i % 3},2024-05-01T12:00:{i % 60:02d}Z,10.5,0" for i in range(count)]
        text = end.join([HEADER.strip(), *rows[:9], stray, *rows[9:]])
        path = tmp_path / "t.csv"
        path.write_text(text, encoding="utf-8", newline="")
        loaded = read_transactions(path)
        assert (loaded.rows.num_rows, loaded.read) == (count, count + 1)
        assert [bad.row for bad in loaded.bad] == [10]
        assert "a quote is not closed in this line" in loaded.bad[0].reason


@pytest.mark.parametrize("end", ["\n", ""])
def test_a_stray_quote_that_a_neighbours_good_one_closes_costs_its_own_row(end: str, tmp_path: Path) -> None:
    """Together they have the cells of one row; a last line counts whether or not it ends."""
    rows = (
        "t1,u1,2024-05-01T12:00:00Z,10.5,0,x\n"
        't2,u2,2024-05-01T12:00:01Z,10.5,0,"15 inch\n'
        't3,u3,2024-05-01T12:00:02Z,10.5,0,"16 inch"\n'
        't4,u4,2024-05-01T12:00:03Z,10.5,0,"17, or 18 inch"'
    )
    loaded = read_transactions(file(tmp_path, HEADER.strip() + ",device\n" + rows + end))
    assert loaded.rows["transaction_id"].to_pylist() == ["t1", "t3", "t4"]
    assert [bad.row for bad in loaded.bad] == [2]


def test_cells_of_several_lines_and_empty_ones_are_read_as_ever(tmp_path: Path) -> None:
    rows = (
        't1,u1,2024-05-01T12:00:00Z,10.5,0,"two\nlines, one cell"\n'
        "\n"
        't2,u2,2024-05-01T12:00:01Z,10.5,,""\n'
        "t3,u3,2024-05-01T12:00:02Z,-1,1,x\n"
        't4,"say ""u""",2024-05-01T12:00:03Z,1,1,\n'
    )
    loaded = read_transactions(file(tmp_path, HEADER.strip() + ",device\n" + rows))
    assert loaded.rows["device"].to_pylist() == ["two\nlines, one cell", "", ""]
    assert loaded.rows["user_id"].to_pylist() == ["u1", "u2", 'say "u"']
    assert loaded.rows["is_fraud"].to_pylist() == [False, None, True]
    assert [(bad.row, bad.reason) for bad in loaded.bad] == [(3, "amount: not a number above 0")]


LINE = '{"transaction_id": "t%d", "user_id": "u%d", "timestamp": "2024-05-01T12:00:0%dZ", "amount": %d.5, "is_fraud": %s}\n'


def test_ndjson_is_read_like_csv(tmp_path: Path) -> None:
    """Numbers as numbers or as text, keys that nobody wants, missing keys, an empty line, a byte order mark, gzip."""
    lines = [LINE % (i, i % 2, i, i + 1, ("true", "0", "null")[i % 3]) for i in range(6)]
    lines[3] = lines[3].replace("4.5", '"4.5"').replace("}", ', "x": {"deep": [1]}, "device": "ios"}')
    text = "\ufeff" + "".join(lines[:2]) + "\n" + "".join(lines[2:])
    for path, content in (("t.ndjson", text.encode()), ("t.json.gz", gzip.compress(text.encode()))):
        (tmp_path / path).write_bytes(content)
        loaded = read_transactions(tmp_path / path)
        assert loaded.rows["transaction_id"].to_pylist() == [f"t{i}" for i in range(6)]
        assert loaded.rows["amount"].to_pylist() == [i + 1.5 for i in range(6)]
        assert loaded.rows["is_fraud"].to_pylist() == [True, False, None] * 2
        assert loaded.rows["device"].to_pylist() == ["", "", "", "ios", "", ""]
        assert loaded.rows.column_names == [
            "transaction_id",
            "user_id",
            "timestamp",
            "amount",
            "device",
            "is_fraud",
        ]


def rows_of(*changes: Mapping[str, object]) -> str:
    whole: dict[str, object] = {"user_id": "u", "timestamp": "2024-05-01T12:00:00Z", "amount": 1}
    return "".join(
        json.dumps({**whole, "transaction_id": f"t{n}", **row}) + "\n" for n, row in enumerate(changes)
    )


def test_a_number_of_ndjson_is_the_same_customer_as_in_every_other_file(tmp_path: Path) -> None:
    """A table with gaps writes 17.0 for whole numbers: `produce` and Parquet know that customer as 17."""
    path = tmp_path / "t.ndjson"
    path.write_text(rows_of({"user_id": 17.0}, {"user_id": 17}, {"user_id": "17"}, {"user_id": 18.5}))
    assert read_transactions(path).rows["user_id"].to_pylist() == ["17", "17", "17", "18.5"]


def test_what_is_no_string_is_no_customer_and_no_merchant_of_ndjson(tmp_path: Path) -> None:
    """JSON spells it, but `produce` refuses it: a model would learn of customers that the topic never has."""
    path = tmp_path / "t.ndjson"
    bad = ({"who": {"id": 5}}, {"who": [5]}, {"merchant_id": True})
    path.write_text(rows_of({"who": "a"}, *({"who": "b"} | row for row in bad), *[{"who": 5}] * 3))
    loaded = read_transactions(path, {"user_id": "who"})
    assert loaded.rows["user_id"].to_pylist() == ["a", "5", "5", "5"]
    assert [(bad.row, bad.reason) for bad in loaded.bad] == [
        (2, "user_id: not a string but dict"),
        (3, "user_id: not a string but list"),
        (4, "merchant_id: not a string but bool"),
    ]
    path.write_text(rows_of({"who": {}}, {"who": {}}))
    with pytest.raises(InputError, match=r"2 of 2 rows .*; the first: row 1, user_id: not a string but dict"):
        read_transactions(path, {"user_id": "who"})


@pytest.mark.parametrize("name", ["transaction_id", "user_id", "merchant_id", "device"])
@pytest.mark.parametrize(
    ("column", "kind"),
    [
        (pa.array([True, None, False]), "bool"),
        (pa.array([[5], None, []]), "list"),
        (pa.array([{"id": 5}, None, {"id": 6}]), "dict"),
        (pa.array([datetime(2024, 5, 1, tzinfo=UTC), None, None]), "datetime"),
    ],
)
def test_what_is_no_string_is_no_customer_and_no_merchant_of_parquet(
    tmp_path: Path, name: str, column: pa.Array, kind: str
) -> None:
    """`produce` refuses these rows in the same words: a model would learn of ids that the topic never has."""
    whole = {
        "transaction_id": pa.array(["a", "b", "c"]),
        "user_id": pa.array(["u"] * 3),
        "timestamp": pa.array([datetime(2024, 5, 1, tzinfo=UTC)] * 3),
        "amount": pa.array([1.0] * 3),
    }
    path, said = tmp_path / "t.parquet", f"{name}: not a string but {kind}"
    pq.write_table(pa.table(whole | {name: column}), path)
    rejects = Rejects()
    list(replay(path, shape([], ["device=d", "location=l", "transaction_location=l"]), rejects))
    assert said in {reason for _, reason in rejects.first}
    try:
        found = [bad.reason for bad in read_transactions(path).bad]
    except InputError as error:  # most of its rows
        found = [error.message]
    assert any(said in reason for reason in found)


def test_a_customer_that_is_missing_among_booleans_is_no_customer_either(tmp_path: Path) -> None:
    """It would be the customer without a name."""
    with_gap = {
        "user_id": pa.array([None, True, None, None, None]),
        "timestamp": pa.array([datetime(2024, 5, 1, tzinfo=UTC)] * 5),
        "amount": pa.array([1.0] * 5),
    }
    pq.write_table(pa.table(with_gap), tmp_path / "t.parquet")
    with pytest.raises(InputError, match="5 of 5 rows"):
        read_transactions(tmp_path / "t.parquet")


def test_a_bad_line_of_ndjson_is_told_with_its_number(tmp_path: Path) -> None:
    lines = [LINE % (i, i % 2, i, i + 1, "0") for i in range(9)]
    bad = [
        "not JSON\n",
        "[1]\n",
        '{"a": 1} {"b": 2}\n',
        "x" * 2_000_000 + "\n",
        LINE.replace("%d.5", "[%d]") % (9, 9, 9, 9, "0"),
    ]
    (tmp_path / "t.jsonl").write_text("".join([lines[0], *bad, *lines[1:]]))
    loaded = read_transactions(tmp_path / "t.jsonl")
    assert loaded.rows.num_rows == 9
    assert [bad.row for bad in loaded.bad] == [2, 3, 4, 5, 6]
    for found, reason in zip(
        loaded.bad,
        ("not JSON", "not a JSON object", "not JSON", "more than 1,048,576 bytes", "amount: not"),
        strict=True,
    ):
        assert reason in found.reason


def test_ndjson_that_cannot_be_used_is_refused_in_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "t.ndjson"
    path.write_text('{"card": "a", "when": "2024-05-01T12:00:00Z", "amt": 1}\n')
    with pytest.raises(
        InputError, match="has no column user_id and no timestamp and no amount; it has card, when, amt"
    ):
        read_transactions(path)
    mapping = parse_map(["card=user_id", "when=timestamp", "amt=amount"])
    assert read_transactions(path, mapping).rows["user_id"].to_pylist() == ["a"]
    path.write_text("{not JSON}\n")
    with pytest.raises(InputError, match=r"has no line with one object; line 1: not JSON"):
        read_transactions(path)


def test_the_truth_is_not_looked_at_where_it_is_not_wanted(tmp_path: Path) -> None:
    """Not even to refuse a row, or a file that contradicts itself."""
    rows = "a,u,2024-05-01T12:00:00Z,1,maybe\na,u,2024-05-01T12:00:00Z,1,1\nb,v,2024-05-01T12:00:01Z,3,0\n"
    loaded = read_transactions(file(tmp_path, HEADER + rows), with_truth=False)
    assert loaded.rows["transaction_id"].to_pylist() == ["a", "b"]
    assert (loaded.unparsable, loaded.duplicates) == (0, 1)
    assert "is_fraud" not in loaded.rows.column_names


def test_the_first_of_a_repeated_transaction_is_kept(tmp_path: Path) -> None:
    rows = "a,u,2024-05-01T12:00:00Z,1,0\na,u,2024-05-01T12:00:00Z,2,0\nb,v,2024-05-01T12:00:01Z,3,\n"
    loaded = read_transactions(file(tmp_path, HEADER + rows))
    assert loaded.duplicates == 1
    assert loaded.rows["amount"].to_pylist() == [1.0, 3.0]
    assert loaded.rows["is_fraud"].to_pylist() == [False, None]


def test_a_label_in_a_later_row_of_the_same_transaction_is_not_lost(tmp_path: Path) -> None:
    """Exports repeat a transaction when its verdict comes: the first row is kept, with the verdict and its time."""
    rows = (
        "a,u,2024-05-01T12:00:00Z,1,,\n"
        "b,v,2024-05-01T12:00:01Z,2,0,2024-05-02T00:00:00Z\n"
        "c,w,2024-05-01T12:00:02Z,3,,\n"
        "a,u,2024-05-01T12:00:00Z,9,,\n"
        "b,v,2024-05-01T12:00:01Z,9,,\n"
        "a,u,2024-05-01T12:00:00Z,9,1,2024-05-03T00:00:00Z\n"
    )
    loaded = read_transactions(file(tmp_path, HEADER.strip() + ",labelled_at\n" + rows))
    assert loaded.duplicates == 3
    assert loaded.rows["amount"].to_pylist() == [1.0, 2.0, 3.0]
    assert loaded.rows["is_fraud"].to_pylist() == [True, False, None]
    assert loaded.rows["labelled_at"].to_pylist() == [
        datetime(2024, 5, 3, tzinfo=UTC),
        datetime(2024, 5, 2, tzinfo=UTC),
        None,
    ]


def test_a_column_without_a_single_value_offers_no_features(tmp_path: Path) -> None:
    """Every payment would be away from home, whose place nobody wrote down."""
    header = "transaction_id,user_id,timestamp,amount,device,location,transaction_location\n"
    rows = "a,u,2024-05-01T12:00:00Z,1,phone,,Paris\nb,v,2024-05-01T12:00:01Z,2,,,Rome\n"
    names = available(read_transactions(file(tmp_path, header + rows)).rows)
    assert "device_freq" in names
    assert not [name for name in names if "location" in FEATURES[name].needs]


def test_labels_that_contradict_each_other_are_refused_by_name(tmp_path: Path) -> None:
    rows = "a7,u,2024-05-01T12:00:00Z,1,0\na7,u,2024-05-01T12:00:00Z,1,1\n"
    with pytest.raises(InputError, match="both fraud and not fraud: a7"):
        read_transactions(file(tmp_path, HEADER + rows))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is empty"),
        (HEADER, "has no rows"),
        ("a,b\n1,2\n", "has no column user_id and no timestamp and no amount"),
        (HEADER + "1,u,yesterday,1,0\n", "1 of 1 rows"),
        ("user_id,user_id,timestamp,amount\n1,2,3,4\n", "two columns called user_id"),
    ],
)
def test_a_file_that_is_no_transactions_is_refused(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        read_transactions(file(tmp_path, text))


def test_missing_columns_come_with_the_map_that_would_name_them(tmp_path: Path) -> None:
    path = file(
        tmp_path, "TRANSACTION_ID,TX_DATETIME,CUSTOMER_ID,TERMINAL_ID,TX_AMOUNT,TX_FRAUD\n1,2,3,4,5,6\n"
    )
    with pytest.raises(InputError) as refused:
        read_transactions(path)
    for pair in ("CUSTOMER_ID=user_id", "TX_DATETIME=timestamp", "TX_AMOUNT=amount", "TX_FRAUD=is_fraud"):
        assert f"--map {pair}" in refused.value.hint


def test_a_mapped_parquet_of_numbers_and_naive_times_is_read(tmp_path: Path) -> None:
    """Numeric identifiers, a null beside them, naive timestamps in nanoseconds, labels 0 and 1."""
    frame = pd.DataFrame(
        {
            "TX": [1, 2, 3],
            "C": [7.0, 8.0, 7.0],
            "T": pd.to_datetime(["2018-04-01 00:00:31", "2018-04-01 00:02:10", "2018-04-01 00:03:00"]),
            "A": [10, 20, 30],
            "F": [0, 1, 0],
        }
    )
    path = tmp_path / "t.parquet"
    pq.write_table(pa.Table.from_pandas(frame), path)
    mapping = parse_map(["TX=transaction_id", "C=user_id", "T=timestamp", "A=amount", "F=is_fraud"])
    rows = read_transactions(path, mapping).rows
    assert rows["user_id"].to_pylist() == ["7", "8", "7"]
    assert rows["is_fraud"].to_pylist() == [False, True, False]
    assert rows["timestamp"][0].as_py() == datetime(2018, 4, 1, 0, 0, 31, tzinfo=UTC)


@pytest.mark.parametrize(("column", "given"), [("labelled_at", []), ("when", ["when=labelled_at"])])
def test_a_label_counts_from_the_time_that_the_file_gives(
    tmp_path: Path, column: str, given: list[str]
) -> None:
    """Sixty days later than the delay would have it, the same rows have other shares of fraud."""
    start = datetime(2024, 1, 1, tzinfo=UTC)

    def risks(after: timedelta | None) -> list[float]:
        lines = [f"user_id,timestamp,amount,merchant_id,is_fraud,{column}\n"]
        for day in range(80):
            at = start + timedelta(days=day)
            label = (at + after).isoformat() if after and day % 2 == 0 else ""
            lines.append(f"u,{at.isoformat()},10.0,m,{int(day % 4 == 0)},{label}\n")
        rows = read_transactions(file(tmp_path, "".join(lines)), parse_map(given)).rows
        values = view(rows, 7, ("merchant_risk_30d",)).values  # noqa: PD011 - not of pandas
        return [float(value) for value in values[:, 0]]

    assert risks(timedelta(days=7)) == risks(None)
    assert risks(timedelta(days=60)) != risks(None)


def test_a_label_of_the_future_or_of_no_time_costs_its_row(tmp_path: Path) -> None:
    """As in a file of labels; where nothing looks at truth, nothing looks at its time."""
    text = "user_id,timestamp,amount,is_fraud,labelled_at\n" + "".join(
        f"u{i},2024-05-01T12:00:{i:02d}Z,10.5,1,{label}\n"
        for i, label in enumerate(["2024-06-01", "", " ", "2999-01-01T00:00:00Z", "soon"])
    )
    loaded = read_transactions(file(tmp_path, text))
    assert loaded.rows["labelled_at"].to_pylist() == [datetime(2024, 6, 1, tzinfo=UTC), None, None]
    assert {bad.row: bad.reason for bad in loaded.bad} == dict.fromkeys(
        (4, 5), "labelled_at: not an ISO 8601 date and time, or in the future"
    )
    blind = read_transactions(file(tmp_path, text), with_truth=False)
    assert (blind.rows.num_rows, "labelled_at" in blind.rows.column_names) == (5, False)


@pytest.mark.parametrize("kind", [pa.timestamp("ns", "UTC"), pa.date32(), pa.string()])
def test_times_of_labels_are_read_from_every_kind_of_column(tmp_path: Path, kind: pa.DataType) -> None:
    at = datetime(2024, 6, 1, tzinfo=UTC)
    given = at.isoformat() if kind == pa.string() else at.date() if kind == pa.date32() else at
    values = pa.array([given, None], kind)
    path = tmp_path / "labels.parquet"
    pq.write_table(pa.table({
        "user_id": ["a", "b"], "timestamp": [at, at], "amount": [1.0, 2.0], "is_fraud": [True, None], "labelled_at": values,
    }), path)  # fmt: skip
    assert read_transactions(path).rows["labelled_at"].to_pylist() == [at, None]


@pytest.mark.parametrize("pair", ["amount", "=amount", "x=nothing", "x=email"])
def test_a_map_that_is_none_is_refused(pair: str) -> None:
    with pytest.raises(UsageError, match="THEIRS=OURS"):
        parse_map([pair])


def test_a_mapped_column_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no column betrag"):
        read_transactions(file(tmp_path, HEADER + "a,u,2024-05-01,1,0\n"), {"amount": "betrag"})


def test_a_binary_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(b"\xff\xfe\x00\x01" * 100)
    with pytest.raises(InputError, match="is neither UTF-8 text nor Parquet"):
        read_transactions(path)


def test_personal_columns_are_not_read(tmp_path: Path) -> None:
    rows = "transaction_id,user_id,timestamp,amount,email\na,u,2024-05-01,1,a@b.c\n"
    assert "email" not in read_transactions(file(tmp_path, rows)).rows.column_names
