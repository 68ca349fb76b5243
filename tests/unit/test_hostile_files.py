"""Parquet files that hold what Python cannot: the row is told, its neighbours are read, and nothing crashes."""

import json
import uuid
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fraudstream.cells import to_text
from fraudstream.errors import InputError
from fraudstream.files import DAMAGED, Rejects, read
from fraudstream.model.columns import converted
from fraudstream.model.tables import read_transactions
from fraudstream.producer.replay import replay, shape
from fraudstream.store.label_files import parse
from samples import GOOD

NO_TEXT = pa.Array.from_buffers(
    pa.string(), 3, [None, pa.py_buffer(b"\0\0\0\0\1\0\0\0\2\0\0\0\3\0\0\0"), pa.py_buffer(b"a\xffc")]
)
"""Three texts, of which the second is no UTF-8."""


def written(path: Path, name: str, column: pa.Array) -> Path:
    rows = pa.Table.from_pylist([GOOD | {"transaction_id": f"t-{n}"} for n in range(3)])
    pq.write_table(rows.set_column(rows.column_names.index(name), name, column), path / "rows.parquet")
    return path / "rows.parquet"


@pytest.mark.parametrize(
    "instants",
    [
        pa.array([0, 2**62, 1], pa.timestamp("us")),
        pa.array([0, -(2**62), 1], pa.timestamp("us", "UTC")),
        # In microseconds both would wrap around to an instant that looks sound.
        pa.array([0, 2**64 // 10**6 + 5, 1], pa.timestamp("s")),
        pa.array([0, 2**64 // 1_000 + 5, 1], pa.timestamp("ms", "UTC")),
        pa.array([0, 2**30, 1], pa.date32()),
        # The first second of the year 10000.
        pa.array([0, 253_402_300_800, 1], pa.timestamp("s")),
        pa.array([0, 253_402_300_800 * 10**6, 1], pa.timestamp("us", "UTC")),
    ],
    ids=lambda array: f"{array.type}-{array[1].value}",
)
def test_an_instant_that_no_calendar_holds_spoils_its_own_row(instants: pa.Array, tmp_path: Path) -> None:
    path, rejects = written(tmp_path, "timestamp", instants), Rejects()
    sent = [value for batch in replay(path, shape((), ()), rejects) for value in batch.values]
    assert (len(sent), rejects.count, rejects.first[0][0]) == (2, 1, 2)
    assert rejects.first[0][1].startswith("timestamp: ")
    loaded = read_transactions(path)
    assert loaded.rows["transaction_id"].to_pylist() == ["t-0", "t-2"]
    assert [(bad.row, bad.reason) for bad in loaded.bad] == [(2, "timestamp: not an ISO 8601 date and time")]


@pytest.mark.parametrize("name", ["transaction_id", "user_id"])
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("kind", [pa.float64(), pa.float32(), pa.float16()], ids=str)
def test_a_number_that_is_none_is_no_customer(
    name: str, bad: float, kind: pa.DataType, tmp_path: Path
) -> None:
    """Tables with holes hold NaN in a column of ids: nobody is called `nan`."""
    path, rejects = written(tmp_path, name, pa.array([17.0, bad, 18.5], kind)), Rejects()
    sent = [
        json.loads(value)[name] for batch in replay(path, shape((), ()), rejects) for value in batch.values
    ]
    assert (sent, rejects.first) == (["17", "18.5"], [(2, f"{name}: not a string but {bad}")])
    loaded = read_transactions(path)
    assert sorted(loaded.rows[name].to_pylist()) == ["17", "18.5"]
    assert [(row.row, row.reason.split(",")[:2]) for row in loaded.bad] == [
        (2, [f"{name}: empty", " infinite"])
    ]


def test_a_number_that_is_none_is_no_merchant(tmp_path: Path) -> None:
    """A training file need not say which merchant, and NaN says nothing; infinity is none."""
    rows = pa.Table.from_pylist([GOOD | {"transaction_id": f"t-{n}"} for n in range(3)])
    merchants = pa.array([17.0, float("nan"), float("inf")])
    pq.write_table(rows.append_column("merchant_id", merchants), tmp_path / "rows.parquet")
    rejects = Rejects()
    assert sum(len(batch.values) for batch in replay(tmp_path / "rows.parquet", shape((), ()), rejects)) == 1
    assert [reason for _, reason in rejects.first] == [
        f"merchant_id: not a string but {n}" for n in ("nan", "inf")
    ]
    loaded = read_transactions(tmp_path / "rows.parquet")
    assert loaded.rows["merchant_id"].to_pylist() == ["17", None]
    assert [row.row for row in loaded.bad] == [3]


@pytest.mark.parametrize("name", ["transaction_id", "user_id", "merchant_id"])
@pytest.mark.parametrize("bad", [2.0**53, -(2.0**53), 1e18], ids=str)
def test_a_number_that_may_have_lost_digits_is_no_identifier(name: str, bad: float, tmp_path: Path) -> None:
    """From 2**53 on a float skips whole numbers: two customers may have become one, so nobody guesses which."""
    rows = pa.Table.from_pylist([GOOD | {"transaction_id": f"t-{n}", "merchant_id": "m"} for n in range(4)])
    ids = pa.array([2.0**53 - 1, bad, 18.5, 1e15])
    path, rejects = tmp_path / "rows.parquet", Rejects()
    pq.write_table(rows.set_column(rows.column_names.index(name), name, ids), path)
    sent = [
        json.loads(value)[name] for batch in replay(path, shape((), ()), rejects) for value in batch.values
    ]
    assert sent == ["9007199254740991", "18.5", "1000000000000000"]
    ((number, reason),) = rejects.first
    assert (number, reason) == (
        2,
        f"{name}: not a string but {bad}, a float of 2**53 or more, which may have lost digits: store identifiers as strings",
    )
    loaded = read_transactions(path)
    assert sorted(loaded.rows[name].to_pylist()) == sorted(sent)
    ((row, why),) = [(row.row, row.reason) for row in loaded.bad]
    assert row == 2
    assert why.endswith("a float of 2**53 or more, which may have lost digits: store identifiers as strings")


@given(st.lists(st.floats(width=32) | st.floats(), min_size=1, max_size=5))
@example([1e-5, 1e-7, 0.1, 123456789.25, 1e15, -0.0])
def test_a_number_is_the_same_customer_for_who_learns_from_it_and_who_sends_it(numbers: list[float]) -> None:
    """Beside whichever others it stands in its column."""
    ids = pa.chunked_array([pa.array(numbers)])
    text, bad, _ = converted("user_id", ids)
    for number, found, refused in zip(numbers, text.to_pylist(), bad, strict=True):
        if refused:
            with pytest.raises(ValueError, match="not a string"):
                to_text(number)
        else:
            assert found == to_text(number)


def test_a_text_that_is_no_utf_8_spoils_its_own_row_of_a_replay(tmp_path: Path) -> None:
    path, rejects = written(tmp_path, "device", NO_TEXT), Rejects()
    assert sum(len(batch.values) for batch in replay(path, shape((), ()), rejects)) == 2
    assert rejects.first[0][0] == 2
    assert "device: 'utf-8' codec" in rejects.first[0][1]


def test_a_training_file_with_texts_that_are_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot be read as Parquet: .*UTF8"):
        read_transactions(written(tmp_path, "device", NO_TEXT))


BYTES = (
    pa.binary(),
    pa.large_binary(),
    pa.binary(2),
    pa.binary_view(),
    pa.dictionary(pa.int32(), pa.binary()),
)
"""How writers without a type for strings, such as Hive's, leave them."""


@pytest.mark.parametrize("kind", BYTES, ids=str)
def test_strings_that_a_table_holds_as_bytes_are_strings(kind: pa.DataType, tmp_path: Path) -> None:
    """And no base64, with a customer of another name for who learns from the same file."""
    found = []
    for column in (pa.array(["u1", "u2", "u3"]), pa.array([b"u1", b"u2", b"u3"], pa.binary()).cast(kind)):
        path, rejects = written(tmp_path, "user_id", column), Rejects()
        (batch,) = replay(path, shape((), ()), rejects)
        found.append((batch.keys, batch.values, rejects.count, read_transactions(path).rows))
    assert found[0] == found[1]
    assert found[1][0] == [b"u1", b"u2", b"u3"]


@pytest.mark.parametrize("kind", BYTES, ids=str)
def test_a_label_whose_id_is_bytes_is_one(kind: pa.DataType, tmp_path: Path) -> None:
    ids = pa.array([b"t1", b"t2"], pa.binary()).cast(kind)
    pq.write_table(pa.table({"transaction_id": ids, "is_fraud": [1, 0]}), tmp_path / "labels.parquet")
    rows = [row for _, row in read(tmp_path / "labels.parquet", lambda columns: columns)]
    now = datetime.now(UTC)
    assert [parse(row, "ann", now)[0] for row in rows if not isinstance(row, str)] == ["t1", "t2"]


def test_bytes_that_are_no_utf_8_spoil_their_own_row_of_a_replay(tmp_path: Path) -> None:
    path, rejects = written(tmp_path, "user_id", pa.array([b"u1", b"\xff", b"u3"])), Rejects()
    assert [key for batch in replay(path, shape((), ()), rejects) for key in batch.keys] == [b"u1", b"u3"]
    assert [number for number, _ in rejects.first] == [2]
    assert "user_id: 'utf-8' codec" in rejects.first[0][1]


def test_bytes_that_are_no_utf_8_are_refused_in_a_training_file(tmp_path: Path) -> None:
    """As other strings that are none; else every customer of the file would be called `b'…'`."""
    with pytest.raises(InputError, match=r"cannot be read as Parquet: .*UTF8"):
        read_transactions(written(tmp_path, "user_id", pa.array([b"u1", b"\xff", b"u3"])))


def test_a_truncated_table_is_damaged_for_who_learns_from_it_and_who_sends_it(tmp_path: Path) -> None:
    """And not asked to become a CSV."""
    path = written(tmp_path, "user_id", pa.array(["u1", "u2", "u3"]))
    path.write_bytes(path.read_bytes()[:-20])
    for reader in (read_transactions, lambda path: list(read(path, lambda columns: columns))):
        with pytest.raises(InputError, match="cannot be read as Parquet: ") as caught:
            reader(path)
        assert caught.value.hint == DAMAGED


def test_an_id_that_is_a_uuid_is_the_same_string_everywhere(tmp_path: Path) -> None:
    names = [uuid.UUID(int=n + 2**127) for n in range(3)]
    path = written(tmp_path, "user_id", pa.array([name.bytes for name in names], pa.uuid()))
    (batch,) = replay(path, shape((), ()), Rejects())
    assert [json.loads(value)["user_id"] for value in batch.values] == [str(name) for name in names]
    assert read_transactions(path).rows["user_id"].to_pylist() == [str(name) for name in names]


@pytest.mark.parametrize(
    ("column", "kind"),
    [
        (pa.array([1, 2, 3], pa.duration("s")), "timedelta"),
        (pa.array([1, 2, 3], pa.date32()), "date"),
        (pa.array([["a"], ["b"], ["c"]]), "list"),
        (pa.array([True, False, True]), "bool"),
    ],
    ids=["duration", "date", "list", "bool"],
)
def test_what_is_no_string_is_no_customer(column: pa.Array, kind: str, tmp_path: Path) -> None:
    """JSON has a spelling for some of it, which would pass."""
    path, rejects = written(tmp_path, "user_id", column), Rejects()
    assert not any(batch.values for batch in replay(path, shape((), ()), rejects))
    assert (rejects.count, rejects.first[0][1]) == (3, f"user_id: not a string but {kind}")


def test_a_training_file_in_another_encoding_is_told_at_its_line(tmp_path: Path) -> None:
    path = tmp_path / "latin.csv"
    path.write_bytes(
        "user_id,timestamp,amount,device\nu,2025-03-01,1,ios\nu,2025-03-02,1,téléphone\n".encode("latin-1")
    )
    with pytest.raises(InputError, match="is not UTF-8: line 3 has other bytes") as caught:
        read_transactions(path)
    assert "iconv -f latin1 -t utf-8 latin.csv" in caught.value.hint


@pytest.mark.parametrize("kind", ["decimal", "dictionary"])
def test_a_whole_number_of_a_database_has_its_digits_and_not_those_of_its_columns_scale(
    kind: str, tmp_path: Path
) -> None:
    """Oracle's NUMBER and PostgreSQL's numeric come as decimals of a fixed scale: 17 was 17.0000000000, another customer."""
    users = pa.array([0, 17, 2_500], pa.decimal128(38, 10))
    truths = pa.array([0, 1, 0], pa.decimal128(38, 10))
    if kind == "dictionary":
        users, truths = users.dictionary_encode(), truths.dictionary_encode()
    rows = pq.read_table(written(tmp_path, "user_id", users))
    path = tmp_path / "rows.parquet"
    pq.write_table(rows.append_column("is_fraud", truths) if "is_fraud" not in rows.column_names
                   else rows.set_column(rows.column_names.index("is_fraud"), "is_fraud", truths), path)  # fmt: skip
    sent = [json.loads(value) for batch in replay(path, shape((), ()), Rejects()) for value in batch.values]
    assert [row["user_id"] for row in sent] == ["0", "17", "2500"]
    assert [row["is_fraud"] for row in sent] == [0, 1, 0]
    loaded = read_transactions(path).rows
    assert loaded["user_id"].to_pylist() == ["0", "17", "2500"]
    assert loaded["is_fraud"].to_pylist() == [False, True, False]


def test_a_column_that_nobody_reads_does_not_make_a_file_unreadable(tmp_path: Path) -> None:
    """A comment that is no UTF-8: `produce` sent all rows, and `train` called the file damaged."""
    rows = pa.Table.from_pylist([GOOD | {"transaction_id": f"t-{n}"} for n in range(3)])
    path = tmp_path / "rows.parquet"
    pq.write_table(rows.append_column("comment", NO_TEXT), path)
    assert read_transactions(path).rows.num_rows == 3
