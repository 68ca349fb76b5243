"""Files replayed: what is converted, what is left out and told, and what is refused."""

import csv
import json
import os
import subprocess
import sys
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fraudstream.decode import Decoder
from fraudstream.errors import InputError, UsageError
from fraudstream.files import LONGEST_LINE, LOOKED_AT, ROWS, Rejects
from fraudstream.producer.replay import replay, shape

ROW: dict[str, Any] = {
    "transaction_id": "t1",
    "user_id": "u1",
    "timestamp": "2024-05-01T10:00:00Z",
    "amount": "12.5",
    "device": "iPhone 15",
    "location": "Köln, DE",
    "transaction_location": "Köln, DE",
}


def write_csv(path: Path, rows: list[dict[str, Any]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0] if rows else ROW))
        writer.writeheader()
        writer.writerows(rows)
    return path


def write_parquet(path: Path, rows: list[dict[str, Any]]) -> Path:
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def write_ndjson(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def read(
    path: Path, renames: tuple[str, ...] = (), fills: tuple[str, ...] = ()
) -> tuple[list[dict[str, Any]], Rejects]:
    """The messages of a file as documents, and its rejects; every message obeys the topic's law."""
    rejects = Rejects()
    batches = list(replay(path, shape(renames, fills), rejects))
    values = [value for batch in batches for value in batch.values]
    assert Decoder().decode(values).rejects == []
    documents = [json.loads(value) for value in values]
    assert [d["user_id"].encode() for d in documents] == [key for batch in batches for key in batch.keys]
    return documents, rejects


@pytest.mark.parametrize("kind", ["csv", "parquet", "ndjson"])
def test_each_kind_of_file_becomes_the_same_messages(kind: str, tmp_path: Path) -> None:
    rows = [ROW | {"transaction_id": f"t{n}", "is_fraud": n % 2, "amount": n + 0.25} for n in range(ROWS + 3)]
    write = {"csv": write_csv, "parquet": write_parquet, "ndjson": write_ndjson}[kind]
    documents, rejects = read(write(tmp_path / f"file.{kind}", rows))
    assert rejects.count == 0
    assert documents == rows


def test_texts_of_csv_become_numbers_truths_and_instants(tmp_path: Path) -> None:
    row = ROW | {"amount": " 1e3 ", "is_fraud": "True", "timestamp": "2024-05-01 12:00:00+02:00", "email": ""}
    documents, _ = read(write_csv(tmp_path / "a.csv", [row]))
    assert documents[0]["amount"] == 1000.0
    assert documents[0]["is_fraud"] == 1
    assert documents[0]["timestamp"] == "2024-05-01T10:00:00Z"
    assert "email" not in documents[0]


@pytest.mark.parametrize(("text", "truth"), [("1.0", 1), ("0.0", 0), ("", None)])
def test_truths_of_a_column_with_gaps_are_sent(text: str, truth: int | None, tmp_path: Path) -> None:
    """So pandas writes one; the file that `train` learned from was refused here."""
    documents, rejects = read(write_csv(tmp_path / "a.csv", [ROW | {"is_fraud": text}]))
    assert (documents[0].get("is_fraud"), rejects.count) == (truth, 0)


def test_types_of_parquet_become_texts_numbers_and_instants(tmp_path: Path) -> None:
    """Numbers as identifiers, decimals as amounts, nanoseconds and bare dates: all that tables of others hold."""
    rows = [
        ROW | {"user_id": 17, "amount": Decimal("3.10"), "timestamp": date(2024, 5, 1), "is_fraud": True},
    ]
    documents, _ = read(write_parquet(tmp_path / "a.parquet", rows))
    assert documents[0]["user_id"] == "17"
    assert documents[0]["amount"] == 3.1
    assert documents[0]["timestamp"] == "2024-05-01T00:00:00Z"
    assert documents[0]["is_fraud"] == 1
    table = pa.Table.from_pylist([ROW | {"timestamp": datetime(2024, 5, 1, 10, 0, 0, 123456)}])  # noqa: DTZ001 - tables have such
    nano = table.set_column(2, "timestamp", table["timestamp"].cast(pa.timestamp("ns")))
    pq.write_table(nano, tmp_path / "nano.parquet")
    assert read(tmp_path / "nano.parquet")[0][0]["timestamp"] == "2024-05-01T10:00:00.123456Z"


def test_columns_are_renamed_and_filled(tmp_path: Path) -> None:
    """A public data set with other names and no devices or places is replayed all the same."""
    rows = [
        {"TX_ID": "1", "CUSTOMER": "7", "TX_TIME": "2024-05-01 10:00:00", "TX=AMOUNT": "5", "TERMINAL": "9"}
    ]
    documents, rejects = read(
        write_csv(tmp_path / "a.csv", rows),
        (
            "TX_ID=transaction_id",
            "CUSTOMER=user_id",
            "TX_TIME=timestamp",
            "TX=AMOUNT=amount",
            "TERMINAL=merchant_id",
        ),
        ("device=unknown", "location=a=b", "transaction_location="),
    )
    assert rejects.count == 0
    assert documents == [
        {
            "transaction_id": "1",
            "user_id": "7",
            "timestamp": "2024-05-01T10:00:00Z",
            "amount": 5.0,
            "device": "unknown",
            "location": "a=b",
            "transaction_location": "",
            "merchant_id": "9",
        }
    ]


def test_a_fill_closes_single_holes(tmp_path: Path) -> None:
    rows = [ROW | {"device": ""}, ROW]
    documents, _ = read(write_csv(tmp_path / "a.csv", rows), fills=("device=unknown",))
    assert [d["device"] for d in documents] == ["unknown", "iPhone 15"]


def test_missing_columns_are_named_at_once(tmp_path: Path) -> None:
    rows = [{name: value for name, value in ROW.items() if name not in ("amount", "device")}]
    for path in (
        write_csv(tmp_path / "a.csv", rows),
        write_parquet(tmp_path / "a.parquet", rows),
        write_ndjson(tmp_path / "a.ndjson", rows),
    ):
        with pytest.raises(InputError, match="lacks amount, device") as caught:
            read(path)
        assert "--map" in caught.value.hint
        assert "user_id" in caught.value.hint


def test_a_mapped_column_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no column value"):
        read(write_csv(tmp_path / "a.csv", [ROW]), ("value=amount",))


@pytest.mark.parametrize(
    ("renames", "fills"),
    [
        (("amount",), ()),
        (("a=price",), ()),
        (("a=amount", "b=amount"), ()),
        ((), ("price=3",)),
        ((), ("device",)),
    ],
)
def test_a_map_that_is_none_is_refused(renames: tuple[str, ...], fills: tuple[str, ...]) -> None:
    with pytest.raises(UsageError):
        shape(renames, fills)


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "word": ({"amount": "twelve"}, "not a number"),
    "nan": ({"amount": "nan"}, "not a number"),
    # Python reads these as numbers, and `train` refused what had been sent.
    "underscore": ({"amount": "1_000"}, "not a number"),
    "digits": ({"amount": "\N{ARABIC-INDIC DIGIT ONE}2"}, "not a number"),
    "huge": ({"amount": "1e999"}, "not finite"),
    "negative": ({"amount": "-3"}, "amount"),
    "when": ({"timestamp": "yesterday"}, "timestamp"),
    "truth": ({"is_fraud": "maybe"}, "is_fraud"),
    "nobody": ({"user_id": ""}, "user_id"),
    "long": ({"device": "x" * 300}, "device"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_row_is_told_and_its_neighbours_are_sent(name: str, tmp_path: Path) -> None:
    """Row numbers count from 1 and leave the header out."""
    change, reason = BAD[name]
    good = {"is_fraud": "", **ROW}
    rows = [good, good | change, good]
    documents, rejects = read(write_csv(tmp_path / "a.csv", rows))
    assert len(documents) == 2
    assert rejects.count == 1
    assert rejects.first[0][0] == 2
    assert reason in rejects.first[0][1]


def test_csv_that_is_broken_in_one_place_is_read_on(tmp_path: Path) -> None:
    """Too few and too many cells, a cell of bytes that are no UTF-8, a blank line."""
    path = write_csv(tmp_path / "a.csv", [ROW])
    good = path.read_bytes().splitlines(keepends=True)[1]
    with path.open("ab") as file:
        file.write(
            b"1,2\r\n" + good.replace(b"iPhone", b"\xff\xfe") + b"\r\n" + good[:-2] + b",extra\r\n" + good
        )
    documents, rejects = read(path)
    assert len(documents) == 2
    assert [number for number, _ in rejects.first] == [2, 3, 4]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_stray_quote_in_a_long_file_costs_no_neighbour(end: str, tmp_path: Path) -> None:
    """Without care it takes in all that a cell may hold: 3,374 of these 20,000 rows."""
    lines = [f"t{n},u,2024-05-01T10:00:00Z,{n + 1},phone,Paris,Paris" for n in range(20_000)]
    lines[500] = 't500,u,2024-05-01T10:00:00Z,501,"15 inch,Paris,Paris'
    path = tmp_path / "a.csv"
    path.write_text(end.join([",".join(ROW), *lines]), encoding="utf-8", newline="")
    documents, rejects = read(path)
    assert [d["transaction_id"] for d in documents] == [f"t{n}" for n in range(20_000) if n != 500]
    assert (rejects.count, rejects.first[0][0]) == (1, 501)
    assert "a quote is not closed in this line" in rejects.first[0][1]


def test_a_header_with_a_stray_quote_is_one_sentence(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "a.csv", [ROW] * 9)
    path.write_bytes(path.read_bytes().replace(b"device,", b'"device,', 1))
    with pytest.raises(InputError, match=r"The header of .* cannot be read: a quote is not closed"):
        read(path)


def test_a_mapped_column_that_appears_first_in_a_late_line_of_ndjson_is_sent(tmp_path: Path) -> None:
    """JSON has no header, and fields that are rare or new come late: the file was refused, as if it did not have it."""
    rows = [ROW | {"amount": float(n)} for n in range(1, LOOKED_AT + 2)]
    rows[-1] |= {"shop": "m-9"}
    sent, rejects = read(write_ndjson(tmp_path / "late.ndjson", rows), ("shop=merchant_id",))
    assert (len(sent), rejects.count) == (len(rows), 0)
    assert [row.get("merchant_id") for row in sent[-2:]] == [None, "m-9"]
    with pytest.raises(InputError, match="has no column shops, which --map names"):
        read(tmp_path / "late.ndjson", ("shops=merchant_id",))


def test_ndjson_that_is_broken_in_one_place_is_read_on(tmp_path: Path) -> None:
    path = write_ndjson(tmp_path / "a.ndjson", [ROW | {"amount": 1.0}])
    good = path.read_bytes()
    bad = [
        b"nonsense\n",
        b"[1]\n",
        b"{}\n",
        b"null\n",
        b"x" * (2 * LONGEST_LINE) + b"\n",
        b"[" * 50_000 + b"\n",
        good.replace(b"1.0", b"NaN"),
        good[:-1] + good,
    ]
    path.write_bytes(b"".join(line + good for line in bad) + b"\n")
    documents, rejects = read(path)
    assert len(documents) == len(bad)
    assert rejects.count == len(bad)
    assert [number for number, _ in rejects.first] == [1, 3, 5, 7, 9]


def test_a_file_that_is_no_parquet_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"PAR1hello")
    with pytest.raises(InputError, match="Parquet"):
        read(tmp_path / "a.parquet")


@settings(max_examples=150, deadline=None)
@given(
    lines=st.lists(
        st.binary(max_size=60).map(lambda b: b.replace(b"\n", b" "))
        | st.sampled_from(
            [b't,u,2024-05-01,1,"15 inch,Paris,Paris', b't,u,2024-05-01,1,15",Paris,Paris', b'"']
        ),
        max_size=8,
    ),
    as_csv=st.booleans(),
)
def test_no_bytes_break_the_reader(
    tmp_path_factory: pytest.TempPathFactory, lines: list[bytes], as_csv: bool
) -> None:
    """Whatever stands in a file: every line is a message, a reject, or blank, and the good ones around it are sent."""
    path = tmp_path_factory.mktemp("fuzz") / ("a.csv" if as_csv else "a.ndjson")
    good = (
        write_csv(path, [ROW]).read_bytes()
        if as_csv
        else write_ndjson(path, [ROW | {"amount": 1.0}]).read_bytes()
    )
    last = good.splitlines()[-1].replace(b"t1", b"last")
    path.write_bytes(good + b"\n".join([*lines, last]))
    documents, rejects = read(path)
    assert (documents[0]["transaction_id"], documents[-1]["transaction_id"]) == ("t1", "last")
    assert 2 <= len(documents) + rejects.count <= 2 + len(lines) + sum(line.count(b"\r") for line in lines)


def test_the_command_sends_the_good_rows_and_tells_the_others(tmp_path: Path) -> None:
    """Exit code 0: the rows that could be sent were; what was left out is on stderr."""
    write_csv(tmp_path / "a.csv", [ROW, ROW | {"amount": "x"}, ROW])
    result = subprocess.run(
        [sys.executable, "-m", "fraudstream", "produce", "--from", "a.csv", "--dry-run"],
        capture_output=True, text=True, check=False, cwd=tmp_path, env=os.environ | {"FRAUDSTREAM_HOME": "/nonexistent"},
    )  # fmt: skip
    assert result.returncode == 0
    assert len(result.stdout.splitlines()) == 2
    assert "row 2 skipped: amount: not a number" in result.stderr


@pytest.mark.parametrize(
    ("rows", "sentence"), [([ROW | {"amount": "x"}], "None of the 1 rows"), ([], "a.csv has no rows")]
)
def test_a_file_without_one_good_row_fails(tmp_path: Path, rows: list[dict[str, Any]], sentence: str) -> None:
    """One without any, such as an export that came out empty, ended with exit code 0 and not a word."""
    write_csv(tmp_path / "a.csv", rows)
    result = subprocess.run(
        [sys.executable, "-m", "fraudstream", "produce", "--from", "a.csv", "--dry-run"],
        capture_output=True, text=True, check=False, cwd=tmp_path, env=os.environ | {"FRAUDSTREAM_HOME": "/nonexistent"},
    )  # fmt: skip
    assert result.returncode == 1
    assert sentence in result.stderr
