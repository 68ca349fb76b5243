"""The campaign notices decisions that nobody asked for, and knows which rejected messages are decided all the same."""

from campaign.verdict import Verdict, compare_answers
from fraudstream.decode import Decoder
from samples import BAD, message


def judged(answered: set[str]) -> Verdict:
    """The verdict on answers to one transaction `paid`, and to `odd`, whose truth alone is unreadable."""
    values = [message(transaction_id="odd", is_fraud=2), *(value for value, _ in BAD.values())]
    rejects = Decoder().decode(values).rejects
    verdict = Verdict()
    compare_answers(verdict, {"paid"}, [(values[r.position], r.reason) for r in rejects], answered)
    return verdict


def test_a_decision_on_a_message_that_is_rejected_for_its_truth_alone_is_counted_and_no_finding() -> None:
    """`t-1` is such a message, too, among those that tests send."""
    verdict = judged({"paid", "odd", "t-1"})
    assert verdict.ok
    assert verdict.rows["answers to rejected ones"] == 2


def test_a_decision_that_belongs_to_no_message_is_found() -> None:
    verdict = judged({"paid", "odd", "t-1", "foreign"})
    assert verdict.findings == ["1 answers to no transaction, for example foreign"]
    assert not verdict.ok


def test_a_message_that_has_no_decision_is_lost() -> None:
    """Be it one that is stored, or one that is rejected for its truth."""
    assert judged({"odd", "t-1"}).findings == ["no answer to 1, for example paid"]
    assert judged({"paid", "t-1"}).lost == 1
