"""Lines from a pipe: however they are cut, each is answered once; what comes twice or from the future counts once or not."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraudstream.decode import Decoder
from fraudstream.features.events import INSTANT
from fraudstream.model import lines, packing
from fraudstream.model.scoring import FileScorer
from model_world import ensemble, packed
from samples import BAD, GOOD, message

NOW = datetime(2025, 3, 2, tzinfo=UTC)


def reader(content: bytes, sizes: list[int]) -> Callable[[int], bytes]:
    """A pipe that gives `content` in pieces of these sizes, then the rest."""
    pieces, at = [], 0
    for size in sizes:
        pieces.append(content[at : at + size])
        at += size
    pieces = [piece for piece in (*pieces, content[at:]) if piece]
    return lambda _: pieces.pop(0) if pieces else b""


def read(content: bytes, sizes: list[int]) -> list[tuple[int, bytes | None]]:
    return [line for batch in lines.lines(reader(content, sizes)) for line in batch]


@given(st.lists(st.binary(max_size=9)), st.lists(st.integers(1, 7), max_size=20), st.booleans())
def test_lines_are_the_same_however_a_pipe_cuts_them(
    texts: list[bytes], sizes: list[int], ends_with_newline: bool
) -> None:
    """Empty ones are counted, the last one needs no line end."""
    texts = [text.replace(b"\n", b"") for text in texts]
    content = b"\n".join(texts) + b"\n" * ends_with_newline
    assert read(content, sizes) == [(i, text) for i, text in enumerate(texts, 1) if text.strip()]


@pytest.mark.parametrize("sizes", [[], [100] * 60, [2_000]])
def test_a_line_that_does_not_end_fills_no_memory(sizes: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Told once, with its number, and the next one is read; also as the last one."""
    monkeypatch.setattr(lines, "LONGEST_LINE", 1_000)
    content = b"a\n" + b"x" * 5_000 + b"\nb\n" + b"y" * 1_001
    assert read(content, sizes) == [(1, b"a"), (2, None), (3, b"b"), (4, None)]


@pytest.mark.parametrize("sizes", [[], [1, 1, 1]])
def test_a_byte_order_mark_costs_no_line(sizes: list[int]) -> None:
    assert read(b"\xef\xbb\xbfa\nb\n", sizes) == [(1, b"a"), (2, b"b")]


def test_many_lines_are_answered_some_at_a_time() -> None:
    batches = list(lines.lines(reader(b"x\n" * 10_000, [])))
    assert [len(batch) for batch in batches] == [4_096, 4_096, 1_808]
    assert batches[-1][-1] == (10_000, b"x")


def test_a_line_obeys_the_law_of_the_topic() -> None:
    """Every message that the topic refuses is refused, and said why, but for what nobody looks at or needs."""
    needed = ("device", "location", "transaction_location")
    unseen = {"truth of two", "truth as float", "truth as text"}
    for name, (value, reason) in BAD.items():
        if value is None:
            continue
        found = lines.LineReader(needed).read([(7, value)])
        if name in unseen:
            assert (found.rows.num_rows, found.bad) == (1, []), name
        else:
            assert [bad.row for bad in found.bad] == [7], name
            # A line may lack its id, too; then it bears its number.
            assert reason.replace("transaction_id: Field", "user_id: Field") in found.bad[0].reason, name


def test_what_no_feature_needs_may_be_missing() -> None:
    bare = message(device=..., location=..., transaction_location=..., transaction_id=...)
    given_ = lines.LineReader(()).read([(3, bare), (4, message(device=None))])
    assert given_.rows.select(["transaction_id", "device", "location"]).to_pylist() == [
        {"transaction_id": "line-3", "device": "", "location": ""},
        {"transaction_id": "t-1", "device": "", "location": "Paris"},
    ]
    needing = lines.LineReader(("device",)).read([(3, bare), (4, message())])
    assert (needing.numbers, [bad.row for bad in needing.bad]) == ([4], [3])
    assert "device" in needing.bad[0].reason


def test_their_names_become_ours() -> None:
    mapped = lines.LineReader((), {"user_id": "card", "amount": "eur"})
    found = mapped.read([(1, message(card="c", eur=3.5, user_id=..., amount=...)), (2, b"[]")])
    assert found.rows.select(["user_id", "amount"]).to_pylist() == [{"user_id": "c", "amount": 3.5}]
    assert found.bad[0].reason == "expected a JSON object, got an array"


def counts(*transactions: dict[str, Any]) -> list[float]:
    """How many of the customer's transactions each of these meets, one after the other."""
    manifest, archive = packed("v", ensemble(("user_count_30d", 1.0, 0.0, 1.0)))
    scorer = FileScorer(packing.unpack(archive, str(manifest)))
    found = []
    for transaction in transactions:
        rows = Decoder().decode([message(**GOOD | transaction)]).rows
        found += [decision.features["user_count_30d"] for decision in scorer.score_arrivals(rows, NOW)]
    return found


def test_an_id_that_comes_again_is_judged_again_and_counts_once() -> None:
    """A producer that tries again must not make its customer look busy."""
    assert counts({"transaction_id": "a"}, {"transaction_id": "a"}, {"transaction_id": "b"}) == [0, 1, 1]


def test_what_lies_in_the_far_future_does_not_count() -> None:
    """As in the sink: it would fade every counter to nothing."""
    late = {"transaction_id": "x", "timestamp": "9999-01-01T00:00:00Z"}
    first, _, after = counts({"transaction_id": "a"}, late, {"transaction_id": "b"})
    assert (first, after) == (0, 1)


def test_ids_are_remembered_up_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    from fraudstream.model import scoring

    monkeypatch.setattr(scoring, "IDS", 2)
    names = ("a", "b", "c", "b", "a")
    assert counts(*({"transaction_id": name} for name in names)) == [0, 1, 2, 3, 3]


def test_no_lines_are_no_rows() -> None:
    manifest, archive = packed("v", ensemble(("amount", 1.0, 0.0, 1.0)))
    scorer = FileScorer(packing.unpack(archive, str(manifest)))
    empty = Decoder().decode([]).rows
    assert isinstance(empty, pa.Table)
    assert empty.schema.field("timestamp").type == INSTANT
    assert scorer.score_arrivals(empty, NOW) == []
