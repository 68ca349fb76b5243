"""The campaign notices a payment that was acknowledged and is gone, and no other."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from campaign.sent import documents, missing

PLACES = st.lists(st.integers(0, 3), min_size=1, max_size=200)


def held(places: list[int]) -> list[tuple[int, str]]:
    return [(partition, f"a-{n:012d}") for n, partition in enumerate(places)]


@given(PLACES, st.lists(st.integers(0, 200), min_size=4, max_size=4))
def test_a_run_that_was_killed_leaves_out_the_end_of_each_partition_and_that_is_no_loss(
    places: list[int], kept: list[int]
) -> None:
    """What was on its way was acknowledged to nobody."""
    parts = [[message for message in held(places) if message[0] == p][: kept[p]] for p in range(4)]
    assert missing([message for part in parts for message in part], 4) == []


@given(PLACES, st.data())
def test_a_message_that_is_gone_although_later_ones_of_every_partition_are_there_is_lost(
    places: list[int], data: st.DataObject
) -> None:
    everything = held([*places, 0, 1, 2, 3])
    gone = data.draw(st.integers(0, len(places) - 1))
    left = everything[:gone] + everything[gone + 1 :]
    assert missing(left, 4) == [everything[gone][1]]


def test_each_run_prints_a_document_of_its_own(tmp_path: Path) -> None:
    file = tmp_path / "produce.out"
    assert list(documents(file)) == []
    file.write_text('{\n "sent": 1\n}\n{"error": {"message": "no"}, "sent": 2}\n')
    assert [document["sent"] for document in documents(file)] == [1, 2]
