"""Of a wide training file only the columns are read that a model may look at, and the names of all of them are told."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fraudstream.cli import inputs, memory
from fraudstream.errors import InputError
from fraudstream.model.files import read_file
from fraudstream.model.tables import read_transactions

OURS = ("user_id", "timestamp", "amount")
ROW = {"user_id": "u", "V1": "-0.1", "timestamp": "2024-05-01T12:00:00Z", "V2": "x", "amount": "1.5"}
KINDS = ("t.csv", "quoted.csv", "t.tsv", "t.parquet", "t.ndjson")


def written(path: Path, *rows: dict[str, str]) -> Path:
    """A file of these rows in the format of its name; one that is quoted is read row by row."""
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(list(rows)), path)
        return path
    if path.suffix == ".ndjson":
        cells = [", ".join(f'"{name}": "{value}"' for name, value in row.items()) for row in rows]
        path.write_text("".join(f"{{{one}}}\n" for one in cells))
        return path
    quote, between = '"' if path.stem == "quoted" else "", "\t" if path.suffix == ".tsv" else ","
    lines = [
        between.join(rows[0]),
        *(between.join(f"{quote}{cell}{quote}" for cell in row.values()) for row in rows),
    ]
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.parametrize("name", ["t.csv", "quoted.csv", "t.tsv", "t.parquet"])
def test_columns_that_nobody_wants_are_not_read(name: str, tmp_path: Path) -> None:
    """A file with two hundred of them took twice the memory of what a model looks at."""
    raw = read_file(written(tmp_path / name, ROW, ROW), [*OURS, "device"], {})
    assert raw.columns.column_names == list(OURS)
    assert raw.columns.num_rows == 2
    assert raw.names == list(ROW)


@pytest.mark.parametrize("name", KINDS)
def test_a_mapped_column_is_read_from_between_the_others(name: str, tmp_path: Path) -> None:
    path = written(tmp_path / name, ROW, ROW | {"V2": "y"})
    loaded = read_transactions(path, {"merchant_id": "V2"})
    assert loaded.rows["merchant_id"].to_pylist() == ["x", "y"]
    assert loaded.rows["amount"].to_pylist() == [1.5, 1.5]


@pytest.mark.parametrize("name", KINDS)
def test_a_file_without_any_column_of_ours_names_its_own(name: str, tmp_path: Path) -> None:
    path = written(tmp_path / name, {"card": "a", "amt": "1", "V1": "-0.1"})
    with pytest.raises(InputError, match=r"has no column user_id .*; it has card, amt, V1") as no:
        read_transactions(path)
    assert "--map card=user_id" in no.value.hint


@pytest.mark.parametrize("name", ["t.csv", "quoted.csv"])
def test_a_row_that_lacks_a_cell_of_an_unread_column_is_still_refused(name: str, tmp_path: Path) -> None:
    """Which cell it lacks nobody knows."""
    path = written(tmp_path / name, *[ROW] * 3)
    with path.open("a") as file:
        file.write("u,2024-05-01T12:00:00Z,x,1.5\n")
    (bad,) = read_transactions(path).bad
    assert bad == (4, "4 cells where the header has 5")


def test_a_parquet_file_that_memory_cannot_hold_is_refused_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says how many rows it has; any other must be read for that."""
    monkeypatch.setattr(memory, "available", lambda _: 100)
    monkeypatch.setattr(inputs, "load_file", lambda *_: pytest.fail("it was read"))
    with pytest.raises(InputError, match="About 2 transactions need 0 GB of memory"):
        inputs.transactions(written(tmp_path / "t.parquet", ROW, ROW), None)


@pytest.mark.parametrize("content", [b"", b"PAR1 but no more", None], ids=["empty", "damaged", "no file"])
def test_a_file_whose_rows_cannot_be_counted_is_told_as_when_it_is_read(
    content: bytes | None, tmp_path: Path
) -> None:
    path = tmp_path / "t.parquet"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError) as counted:
        inputs.transactions(path, None)
    with pytest.raises(InputError) as read:
        read_transactions(path)
    assert counted.value.message == read.value.message
