"""NDJSON as people have it: arrays, objects over several lines, byte order marks."""

import json
from pathlib import Path

import pytest

from fraudstream.errors import InputError
from fraudstream.files import read

ROW = {"transaction_id": "t1", "amount": 12.5}


@pytest.mark.parametrize("text", [json.dumps([ROW]), json.dumps(ROW, indent=2), json.dumps([ROW], indent=1)])
def test_json_that_has_no_object_on_a_line_is_told_so_with_what_makes_one(text: str, tmp_path: Path) -> None:
    """And not which columns it lacks."""
    path = tmp_path / "rows.json"
    path.write_text(text)
    with pytest.raises(InputError, match=r"has no object on a line; line 1: not ") as caught:
        list(read(path, lambda columns: columns))
    assert "jq -c '.[]'" in caught.value.hint


def test_ndjson_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "rows.ndjson"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(ROW).encode() + b"\n")
    assert list(read(path, lambda columns: columns)) == [(1, ROW)]
