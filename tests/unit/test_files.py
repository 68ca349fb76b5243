"""Files as people have them: arrays, objects over several lines, byte order marks, two columns of one name, gzip, tabs."""

import csv
import gzip
import json
import os
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fraudstream.errors import InputError
from fraudstream.files import DAMAGED, LONGEST_LINE, Rejects, read
from fraudstream.model.files import read_file
from fraudstream.model.tables import parse_map, read_transactions
from fraudstream.producer.replay import replay, shape
from fraudstream.store.label_files import Imported, _portions
from samples import GOOD

ROW = {"transaction_id": "t1", "amount": 12.5}


@pytest.mark.parametrize("text", [json.dumps([ROW]), json.dumps(ROW, indent=2), json.dumps([ROW], indent=1)])
def test_json_that_has_no_object_on_a_line_is_told_so_with_what_makes_one(text: str, tmp_path: Path) -> None:
    """And not which columns it lacks, whoever reads it."""
    path = tmp_path / "rows.json"
    path.write_text(text)
    for attempt in (lambda: list(read(path, lambda columns: columns)), lambda: read_file(path, ROW, {})):
        with pytest.raises(InputError, match=r"has no line with one object; line 1: not ") as caught:
            attempt()
        assert "jq -c '.[]'" in caught.value.hint


def test_ndjson_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "rows.ndjson"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(ROW).encode() + b"\n")
    assert list(read(path, lambda columns: columns)) == [(1, ROW)]


def test_ndjson_has_the_same_bad_rows_for_who_learns_from_it_and_who_sends_it(tmp_path: Path) -> None:
    """Two files with byte order marks in one, a line that is only a mark, lines that are too long, and no JSON."""
    good = json.dumps(GOOD).encode() + b"\n"
    marked = b"\xef\xbb\xbf" + good
    parts = [marked, b"\n", good, b"[1]\n", marked, b"x" * (2 * LONGEST_LINE + 7) + b"\n", b"\xef\xbb\xbf\n"]
    parts += [
        b"{nonsense\n",
        b"\xff\n",
        b"\xef\xbb\xbf" + b" " * LONGEST_LINE + b"\n",
        b"[" * 50_000 + b"\n",
        good[:-1],
    ]
    path = tmp_path / "rows.ndjson"
    path.write_bytes(b"".join(parts))
    rows = list(read(path, lambda columns: columns))
    learned = read_file(path, GOOD, {})
    assert [(number, row) for number, row in rows if isinstance(row, str)] == [
        (bad.row, bad.reason) for bad in learned.broken
    ]
    assert [number for number, row in rows if not isinstance(row, str)] == learned.numbers == [1, 3, 5, 12]
    assert [bad.row for bad in learned.broken] == [4, 6, 8, 9, 10, 11]


CELL = st.sampled_from(
    ["", "a", "15", '"15" inch', '"a,b"', '"say ""u"""', '"', '"x\ny"', "two\rlines", "é", " a "]
)
END = st.sampled_from(["\n", "\r\n", "\r", "\n\n", ""])


@given(st.lists(st.tuples(st.lists(CELL, min_size=1, max_size=4), END), max_size=12))
@example([(["15", '"15" inch'], "\n")])
@example([(["15", "two\rlines"], "\r\n")])
def test_cells_are_the_same_ones_for_who_learns_from_a_file_and_who_sends_it(
    tmp_path: Path, lines: list[tuple[list[str], str]]
) -> None:
    """With quotes that are stray, doubled or never closed, line ends of every kind, and rows that are too short or long."""
    path = tmp_path / "rows.csv"
    path.write_bytes(("one,two\n" + "".join(",".join(cells) + end for cells, end in lines)).encode())
    sent = list(read(path, lambda columns: columns))
    learned = read_file(path, ("one", "two"), {})
    assert [(number, reason) for number, reason in sent if isinstance(reason, str)] == [
        (bad.row, bad.reason) for bad in learned.broken
    ]
    good = [(number, row) for number, row in sent if not isinstance(row, str)]
    assert [learned.number(place) for place in range(learned.columns.num_rows)] == [n for n, _ in good]
    assert learned.columns.to_pylist() == [
        {name: cell or None for name, cell in row.items()} for _, row in good
    ]


def repeated(tmp_path: Path, kind: str, *more: str) -> Path:
    """A file with these columns beside those that it has, whose cells are empty."""
    names, cells = [*GOOD, *more], [*map(str, GOOD.values()), *("" for _ in more)]
    path = tmp_path / f"rows.{kind}"
    if kind == "parquet":
        pq.write_table(pa.table([[cell] for cell in cells], names), path)
    else:
        path.write_text(f"{','.join(names)}\n{','.join(cells)}\n")
    return path


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_two_columns_of_one_name_are_refused_by_whatever_reads_them(kind: str, tmp_path: Path) -> None:
    """Else the last one wins, in silence."""
    path = repeated(tmp_path, kind, "location")
    for attempt in (lambda: list(replay(path, shape((), ()), Rejects())), lambda: read_transactions(path)):
        with pytest.raises(InputError, match="has two columns called location"):
            attempt()
    path = repeated(tmp_path, kind, "is_fraud")
    with pytest.raises(InputError, match="has two columns called is_fraud"):
        list(_portions(path, {}, "ann", datetime.now(UTC), Imported()))


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_two_columns_of_one_name_that_nobody_reads_do_no_harm(kind: str, tmp_path: Path) -> None:
    """As the empty names of a table with an index, or one that another column stands for."""
    path, rejects = repeated(tmp_path, kind, "location", "", ""), Rejects()
    (batch,) = replay(path, shape(["device=location"], []), rejects)
    assert (len(batch.values), rejects.count) == (1, 0)
    loaded = read_transactions(path, parse_map(["device=location"]))
    assert (loaded.rows["location"].to_pylist(), loaded.bad) == ([GOOD["device"]], ())
    with pytest.raises(InputError, match="has no column nonsense") as caught:
        read_transactions(path, parse_map(["nonsense=location"]))
    assert caught.value.hint.endswith('location, "", "".')


def test_gzip_and_tabs_are_read_by_whatever_reads_a_file(tmp_path: Path) -> None:
    """By `produce --from` and `label --from` as by `train` and `score`."""
    rows = [GOOD | {"transaction_id": f"t{n}", "location": 'a, "b"\tc'} for n in range(5)]
    found = []
    for kind, delimiter in (("csv", ","), ("tsv", "\t")):
        path = tmp_path / f"rows.{kind}"
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(GOOD), delimiter=delimiter)
            writer.writeheader()
            writer.writerows(rows)
            file.write("short\r\n")
        packed = tmp_path / f"rows.{kind.upper()}.gz"
        packed.write_bytes(gzip.compress(path.read_bytes()))
        for one in (path, packed):
            rejects, done = Rejects(), Imported()
            (batch,) = replay(one, shape((), ()), rejects)
            (labels,) = _portions(one, {}, "ann", datetime.now(UTC), done)
            loaded = read_transactions(one)
            found.append((batch.keys, batch.values, rejects, labels, done.rejects, loaded.rows, loaded.bad))
    assert all(one == found[0] for one in found)
    assert [len(part) for part in (found[0][1], found[0][3], found[0][5], found[0][6])] == [5, 5, 5, 1]


def test_packed_ndjson_is_read_as_the_same_lines(tmp_path: Path) -> None:
    path = tmp_path / "rows.ndjson.gz"
    path.write_bytes(gzip.compress(json.dumps(ROW).encode()))
    assert list(read(path, lambda columns: columns)) == [(1, ROW)]


@pytest.mark.parametrize("damage", ["cut", "altered"])
def test_a_damaged_gzip_is_a_sentence(damage: str, tmp_path: Path) -> None:
    lines = [",".join(GOOD), *(",".join(map(str, GOOD.values())) + str(n * 7919) for n in range(20_000))]
    packed = bytearray(gzip.compress("\n".join(lines).encode()))
    packed[len(packed) // 2 :] = b"" if damage == "cut" else b"\xff" * (len(packed) // 2)
    path = tmp_path / "rows.csv.gz"
    path.write_bytes(packed)
    for attempt in (lambda: list(replay(path, shape((), ()), Rejects())), lambda: read_transactions(path)):
        with pytest.raises(InputError, match="cannot be read") as caught:
            attempt()
        assert caught.value.hint == DAMAGED


def known_by_content(tmp_path: Path) -> list[Path]:
    """One row as CSV, NDJSON and Parquet, under names that say nothing or something else."""
    parquet, paths = tmp_path / "rows", [tmp_path / name for name in ("rows.txt", "rows.parquet", "rows.csv")]
    csv_text = f"\n\n{','.join(GOOD)}\n{','.join(map(str, GOOD.values()))}\n"
    paths[0].write_text(csv_text)
    paths[1].write_bytes(gzip.compress(csv_text.encode()))
    paths[2].write_text(" " * 300 + "\n" + json.dumps(GOOD) + "\n")
    pq.write_table(pa.Table.from_pylist([GOOD]), parquet)
    return [*paths, parquet]


def test_what_a_file_holds_is_told_by_its_content_whoever_reads_it(tmp_path: Path) -> None:
    """By `produce --from` and `label --from` as by `train --data`: a name is no promise."""
    for path in known_by_content(tmp_path):
        (batch,) = replay(path, shape((), ()), Rejects())
        (labels,) = _portions(path, {}, "ann", datetime.now(UTC), Imported())
        ids = read_transactions(path).rows["transaction_id"].to_pylist()
        assert (batch.keys, labels[0][:2], ids) == ([b"u-1"], ("t-1", False), ["t-1"]), path.name


BINARY = {
    "rows.xlsx": b"PK\x03\x04\x0a\x00\x08\x00",
    "rows.db": b"SQLite format 3\x00",
    "rows.avro": b"Obj\x01\x04\x14avro.codec",
    "rows.csv": "one,two\n1,2\n".encode("utf-16"),
}


@pytest.mark.parametrize("name", BINARY)
def test_a_file_of_another_kind_is_told_which_kinds_there_are(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(BINARY[name])
    for attempt in (lambda: list(read(path, lambda columns: columns)), lambda: read_file(path, ROW, {})):
        with pytest.raises(InputError, match="is neither UTF-8 text nor Parquet") as caught:
            attempt()
        assert "NDJSON" in caught.value.hint


def test_a_pipe_is_refused_where_a_file_is_read_twice(tmp_path: Path) -> None:
    """Its first rows would be gone by the second time, in silence."""
    path = tmp_path / "rows.csv"
    os.mkfifo(path)
    for attempt in (lambda: list(read(path, lambda columns: columns)), lambda: read_file(path, ROW, {})):
        with pytest.raises(InputError, match="is a pipe") as caught:
            attempt()
        assert "Save it to a file" in caught.value.hint
