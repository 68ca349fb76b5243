"""CSV with quotes where none belong: the line that has them is told, and no neighbour is lost."""

import csv
import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fraudstream.delimited import LONGEST_RECORD, records

HEADER = "id,amount,device,place"


def read(text: str) -> tuple[list[list[str]], list[str]]:
    """The rows of a CSV under HEADER, and what was said of the others."""
    found = list(records(io.StringIO(f"{HEADER}\n{text}", newline="")))
    assert found[0] == HEADER.split(",")
    rows = [cells for cells in found[1:] if not isinstance(cells, str)]
    return rows, [reason for reason in found[1:] if isinstance(reason, str)]


GOOD = "g1,1,phone,Paris\n", 'g2,2,"say ""hi""","Paris, France"\n', 'g3,3,"two\nlines",Rome\n'
ROWS = [["g1", "1", "phone", "Paris"], ["g2", "2", 'say "hi"', "Paris, France"], ["g3", "3", "two\nlines", "Rome"]]  # fmt: skip


@pytest.mark.parametrize(
    ("stray", "reason"),
    [
        ('s,1,"15 inch,Paris\n', "',' expected after '\"'"),
        ('s,1,phone,"Paris\n', "',' expected after '\"'"),
        ('"s,1,phone,Paris\n', "',' expected after '\"'"),
        ('s,1,"15" inch,Paris\n', "',' expected after '\"'"),
        ('s,1,"15 inch\n', "',' expected after '\"'"),
        ("s,1\n", "2 cells where the header has 4"),
        (f"s,1,{'x' * 140_000},Paris\n", "field larger than field limit"),
        (f"s,1,{'x' * 3 * LONGEST_RECORD},Paris\n", "more than 1,048,576 characters"),
        (f"s{',1' * 2 * LONGEST_RECORD},Paris\r\n", "more than 1,048,576 characters"),
    ],
    ids=lambda text: text[:20],
)
def test_a_stray_quote_costs_its_own_line_wherever_it_stands(stray: str, reason: str) -> None:
    for place in range(len(GOOD)):
        rows, reasons = read("".join((*GOOD[:place], stray, *GOOD[place:])))
        assert rows == ROWS
        assert len(reasons) == 1
        assert reason in reasons[0]


def test_a_quote_that_nothing_closes_costs_its_own_line() -> None:
    """Also where all the rest of the file would be one good cell, the last one, and where it is the file's last line."""
    for stray in ('s,1,phone,"Paris\n', 's,1,"phone,Paris\n'):
        rows, reasons = read(stray + GOOD[0] * 3 + stray.strip())
        assert rows == ROWS[:1] * 3
        assert len(reasons) == 2
        assert "is not closed in this line, and with the next 4 it is not a row" in reasons[0]
        assert reasons[1] == "not CSV: unexpected end of data"


def test_a_quote_that_is_closed_far_away_costs_no_row_in_between() -> None:
    """More than a cell may hold lies between them, and the lines after it are many."""
    rows, reasons = read('s,1,"15 inch,Paris\n' + GOOD[0] * 20_000 + 't,1,15",Paris\n')
    assert rows == [*ROWS[:1] * 20_000, ["t", "1", '15"', "Paris"]]
    assert len(reasons) == 1


def test_two_stray_quotes_that_make_one_good_row_of_many_are_seen_through() -> None:
    """`"15 inch` and `15"` in one column: RFC 4180 would have one row of them, whose device is all rows in between."""
    rows, reasons = read('s,1,"15 inch,Paris\n' + GOOD[0] * 3 + "\n" + 't,1,15",Paris\n')
    assert rows == [*ROWS[:1] * 3, ["t", "1", '15"', "Paris"]]
    assert reasons == [
        "a quote is not closed in this line, and with the next 5 it is not a row: it would contain whole rows"
    ]


@pytest.mark.parametrize("cell", ["a\nb", "a, b,\r\nc, d", "\n\n", 'a "\n" b', "a,b\nc,d,e\nf", "x,\n" * 9])
def test_a_cell_of_several_lines_stays_one_cell(cell: str) -> None:
    """In any column, the first and the last one too, though there are commas in it."""
    for column in range(4):
        row = ["g", "1", "phone", "Paris"]
        row[column] = cell
        text = io.StringIO()
        csv.writer(text).writerow(row)
        assert read(text.getvalue() + GOOD[0]) == ([row, ROWS[0]], [])


def test_several_lines_that_are_no_row_are_each_told() -> None:
    rows, reasons = read('s,"1\n2\n3",phone,Paris\n' + GOOD[0])
    assert (rows[-1], reasons) == (ROWS[0], [])
    rows, reasons = read('s,"1\n2\n3",phone,Paris,Rome,Oslo\n' + GOOD[0])
    assert rows == ROWS[:1]
    assert [int(reason.split(":")[-1].split()[0]) for reason in reasons] == [6, 1, 5]


WORDS = st.text('ab ,"\r\n', max_size=7).map("a".__add__)
"""Cells that a writer has to quote. They begin with a letter, as a quote before a comma closes the one before it, and are too
short to hold what looks like rows."""
WRITTEN = st.tuples(WORDS, WORDS, WORDS, WORDS)
STRAY = st.integers(0, 3).map(
    lambda at: ",".join('"x' if at == column else "x" for column in range(4)) + "\n"
)


@settings(max_examples=300)
@given(st.lists(WRITTEN | STRAY, max_size=12))
def test_every_written_row_is_read_whatever_stray_quotes_lie_between(
    lines: list[tuple[str, ...] | str],
) -> None:
    text = io.StringIO()
    for line in lines:
        if isinstance(line, str):
            text.write(line)
        else:
            csv.writer(text).writerow(line)
    rows, reasons = read(text.getvalue())
    assert rows == [list(line) for line in lines if not isinstance(line, str)]
    assert len(reasons) == sum(isinstance(line, str) for line in lines)
