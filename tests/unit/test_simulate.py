"""The simulated world: the same for the same seed, in order of time, and fraudulent as documented."""

import inspect
import json
from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fraudstream.cli.produce import produce
from fraudstream.decode import Decoder
from fraudstream.errors import UsageError
from fraudstream.micros import DAY, HOUR, SECOND
from fraudstream.producer.simulated import Plan, simulated
from fraudstream.simulate import SCENARIOS, Encoder, Events, Stream, World
from fraudstream.simulate.events import chance
from fraudstream.simulate.places import DEVICES, PHONES, distances
from fraudstream.simulate.scenarios import DEFAULT_FRAUD_RATE, NAMES
from fraudstream.simulate.world import DEFAULT_SEED, DEFAULT_USERS

START = 1_735_689_600 * SECOND
"""2025-01-01T00:00:00Z"""
EPISODES = tuple(s.name for s in SCENARIOS if s.shape == "episode")


@pytest.fixture(scope="module")
def world() -> World:
    return World(seed=42, users=3_000)


@pytest.fixture(scope="module")
def months(world: World) -> Events:
    """Two months of the default stream."""
    return history(world, 60)


def history(world: World, days: float, rate: float = 0.005, only: str | None = None) -> Events:
    return np.concatenate(list(Stream(world, START, rate, only).history(days)))


def slots(count: int, rate: float) -> "np.ndarray[tuple[int], np.dtype[np.int64]]":
    return START + (np.arange(count) * SECOND / rate).astype(np.int64)


def test_the_same_seed_makes_the_same_stream_and_another_seed_another() -> None:
    """Whoever reports a finding gives the seed, and everybody can repeat it."""
    one, same, other = (history(World(seed, 500), 5) for seed in (7, 7, 8))
    assert one.tobytes() == same.tobytes()
    assert one.tobytes() != other.tobytes()


def test_the_command_simulates_the_usual_world() -> None:
    """It spells the defaults out: importing them would load numpy for `--help`."""
    defaults = {name: option.default for name, option in inspect.signature(produce).parameters.items()}
    assert (defaults["seed"], defaults["users"]) == (DEFAULT_SEED, DEFAULT_USERS)
    assert defaults["fraud_rate"] == DEFAULT_FRAUD_RATE


def test_the_same_people_live_in_streams_that_start_at_different_times(world: World) -> None:
    """Two runs of one seed share customers, their names included, and no transaction id."""
    encoders = Encoder(world, START), Encoder(world, START + 1)
    assert [encoders[0].person(u) for u in range(200)] == [encoders[1].person(u) for u in range(200)]
    events = history(world, 1)
    ids = [{json.loads(v)["transaction_id"] for v in e.encode(events, 0)[1]} for e in encoders]
    assert not ids[0] & ids[1]


@pytest.mark.parametrize(
    "other", [{"fraud_rate": 0.05}, {"scenario": "card_testing"}, {"rate": 50.0}, {"days": 2.0}]
)
def test_streams_that_start_at_one_time_and_differ_otherwise_share_no_transaction_id(
    world: World, other: dict[str, Any]
) -> None:
    """Their payments differ: stored one after the other, those of the second were dropped as duplicates."""
    plan = Plan(START, 0.01, days=1.0, rate=None)
    ids = [
        {
            json.loads(value)["transaction_id"]
            for batch in islice(simulated(world, given), 3)
            for value in batch.values
        }
        for given in (plan, replace(plan, **other))
    ]
    assert ids[0]
    assert not ids[0] & ids[1]


def test_worlds_of_different_size_share_no_customer_and_no_merchant() -> None:
    """The demo's 9,000 people and the 3,000 of `produce` are not the same ones with other lives."""
    ids = []
    for world in (World(7, 500), World(7, 400)):
        values = Encoder(world, START).encode(history(world, 5), 0)[1]
        rows = [json.loads(value) for value in values]
        ids.append({row[name] for row in rows for name in ("transaction_id", "user_id", "merchant_id")})
    assert not ids[0] & ids[1]


def test_how_a_block_is_cut_does_not_change_the_messages(world: World) -> None:
    """Messages depend on their number in the stream, not on what they were encoded with."""
    events = history(world, 2)
    whole = Encoder(world, START).encode(events, 0)
    cut = Encoder(world, START)
    keys: list[bytes] = []
    values: list[bytes] = []
    for begin in range(0, len(events), 777):
        part = cut.encode(events[begin : begin + 777], begin)
        keys += part[0]
        values += part[1]
    assert (keys, values) == whole


def test_every_message_is_a_transaction_that_the_topic_accepts(world: World, months: Events) -> None:
    """All fields are there, typed, and no message needs the slow lane's mercy."""
    events = months[:20_000]
    keys, values = Encoder(world, START).encode(events, 5)
    decoded = Decoder().decode(values)
    assert decoded.rejects == []
    assert decoded.unknown_fields == 0
    rows = decoded.rows.to_pydict()
    assert [user.encode() for user in rows["user_id"]] == keys
    assert rows["transaction_id"][0].endswith("-000000000005")
    assert len(set(rows["transaction_id"])) == len(events)
    assert [round(at.timestamp() * SECOND) for at in rows["timestamp"]] == events["at"].tolist()
    assert [round(amount * 100) for amount in rows["amount"]] == events["cents"].tolist()
    assert rows["is_fraud"] == (events["scenario"] > 0).tolist()
    assert [name or "" for name in rows["fraud_scenario"]] == [("", *NAMES)[s] for s in events["scenario"]]
    assert all(
        rows["full_name"][row] == f"{rows['first_name'][row]} {rows['last_name'][row]}" for row in range(99)
    )


def test_amounts_have_two_decimals_and_instants_a_zone(world: World, months: Events) -> None:
    for value in Encoder(world, START).encode(months[:300], 0)[1]:
        document = json.loads(value)
        assert value.split(b'"amount":')[1].split(b",")[0].decode() == f"{document['amount']:.2f}"
        assert document["timestamp"].endswith("Z")
        assert document["is_fraud"] in (0, 1)


def test_names_keep_their_accents_and_quotes(world: World) -> None:
    """Pieces of JSON made by hand are where such names break."""
    encoder = Encoder(world, START)
    people = [encoder.person(user) for user in range(world.users)]
    assert any(not person["full_name"].isascii() for person in people)
    assert all(person["email"].isascii() and " " not in person["email"] for person in people)
    assert len({person["email"] for person in people}) == world.users


def test_time_never_goes_back(months: Events) -> None:
    assert (np.diff(months["at"]) >= 0).all()
    assert months["at"][0] >= START
    assert months["at"][-1] < START + 60 * DAY


def test_people_spend_by_day_and_more_on_fridays(months: Events) -> None:
    """Rhythm of the day (most live west of Greenwich) and of the week."""
    hours = np.bincount(months["at"] // HOUR % 24, minlength=24)
    assert hours[9] < 0.8 * hours[18]
    days = np.bincount((months["at"] // DAY + 3) % 7, minlength=7)
    assert days[4] > 1.1 * days[0]


@settings(max_examples=25)
@given(
    st.integers(0, 2**63 - 1),
    st.integers(1, 300),
    st.floats(0.01, 1e6),
    st.floats(0, 0.5),
    st.sampled_from([None, *NAMES]),
)
def test_a_steady_stream_fills_every_slot_once(
    seed: int, users: int, rate: float, fraud: float, only: str | None
) -> None:
    """Whatever the world, as many transactions as were asked for, at the instants that were asked for."""
    stream = Stream(World(seed, users), START, fraud, only)
    wanted = slots(600, rate)
    for begin in range(0, 600, 200):
        part = wanted[begin : begin + 200]
        events = stream.steady(part, rate)
        assert events["at"].tolist() == part.tolist()
        assert (events["cents"] > 0).all()


@pytest.mark.parametrize("rate", [0.1, 100.0, 300_000.0])
def test_the_fraud_rate_holds_from_the_first_thousands_on(world: World, rate: float) -> None:
    """Also at a pace where episodes take longer than the run: some are under way when it begins."""
    stream = Stream(world, START, 0.02)
    wanted = slots(60_000, rate)
    parts = [stream.steady(wanted[begin : begin + 4_000], rate) for begin in range(0, 60_000, 4_000)]
    assert np.mean(np.concatenate(parts)["scenario"] > 0) == pytest.approx(0.02, rel=0.2)


def test_the_default_mix_holds_its_shares(months: Events) -> None:
    fraud = months["scenario"][months["scenario"] > 0]
    assert len(fraud) / len(months) == pytest.approx(0.005, rel=0.1)
    for number, scenario in enumerate(SCENARIOS, 1):
        assert np.mean(fraud == number) == pytest.approx(scenario.share, rel=0.45), scenario.name


@pytest.mark.parametrize("name", NAMES)
def test_one_scenario_alone_makes_all_the_fraud(world: World, name: str) -> None:
    events = history(world, 15, 0.01, name)
    assert set(np.unique(events["scenario"])) == {0, 1 + NAMES.index(name)}
    assert np.mean(events["scenario"] > 0) == pytest.approx(0.01, rel=0.3)


@pytest.mark.parametrize("name", [s.name for s in SCENARIOS if s.shape == "window"])
def test_a_scenario_of_windows_alone_comes_close_to_a_high_fraud_rate(world: World, name: str) -> None:
    """Many windows are open then, some on the same customer or merchant: the fraud of each counts."""
    events = history(world, 15, 0.2, name)
    assert np.mean(events["scenario"] > 0) == pytest.approx(0.2, rel=0.15)


def test_no_fraud_means_none(world: World) -> None:
    assert not history(world, 5, 0.0)["scenario"].any()


def of(months: Events, name: str) -> Events:
    return np.asarray(months[months["scenario"] == 1 + NAMES.index(name)])


def test_high_amounts_lie_where_they_are_documented(months: Events) -> None:
    amounts = of(months, "high_amount")["cents"] / 100
    assert amounts.min() >= 2_000
    assert amounts.max() <= 15_000


def test_location_mismatches_are_far_from_home(world: World, months: Events) -> None:
    events = of(months, "location_mismatch")
    home = world.customers.home[events["user"]]
    assert (world.cities.km[home, events["city"]] >= 500).all()


def test_unusual_devices_are_hardly_ever_the_customers_own(world: World) -> None:
    """An honest purchase is made with one of three devices, this fraud with any of forty."""
    events = history(world, 20, 0.05, "unusual_device")
    fraud = events["scenario"] > 0
    own = {(user, device) for user, device in events[~fraud][["user", "device"]].tolist()}
    known = [pair in own for pair in events[fraud][["user", "device"]].tolist()]
    assert np.mean(known) < 0.15


@pytest.mark.parametrize("name", [n for n in EPISODES if n != "impossible_travel"])
def test_episodes_are_chains_of_one_customer_close_in_time(world: World, name: str) -> None:
    scenario = SCENARIOS[NAMES.index(name)]
    events = of(history(world, 20, 0.005, name), name)
    order = np.lexsort((events["at"], events["user"]))
    user, at = events["user"][order], events["at"][order]
    together = (user[1:] == user[:-1]) & (np.diff(at) < 6 * HOUR)
    lengths = np.diff(np.flatnonzero(np.r_[True, ~together, True]))
    assert np.median(lengths) == pytest.approx(sum(scenario.length) / 2, abs=1.5)
    gaps = np.diff(at)[together] / SECOND
    assert np.mean(gaps) == pytest.approx(scenario.gap_seconds, rel=0.25)


def test_card_tests_are_tiny_and_from_one_device(world: World) -> None:
    events = of(history(world, 20, 0.005, "card_testing"), "card_testing")
    assert np.mean(events["cents"] <= 400) > 0.9
    assert world.merchants.online[events["merchant"]].all()


def test_an_account_takeover_is_what_its_sentence_says(world: World) -> None:
    """`--scenario list` promised purchases that each are larger than the last, within two hours; few grow so, and not all end so soon."""
    name = "account_takeover"
    events = of(history(world, 20, 0.005, name), name)
    events = events[np.lexsort((events["at"], events["user"]))]
    together = (np.diff(events["user"]) == 0) & (np.diff(events["at"]) < 6 * HOUR)
    larger = np.diff(events["cents"].astype(np.int64))[together] > 0
    assert 0.6 < larger.mean() < 0.9
    sentence = SCENARIOS[NAMES.index(name)].sentence
    assert "most of them larger than the one before" in sentence
    assert "about 15 minutes apart" in sentence
    assert world.merchants.online[events["merchant"]].all()
    far = world.cities.km[world.customers.home[events["user"]], events["city"]] >= 2_000
    assert 0.5 < far.mean() < 0.9


def test_impossible_travel_is_impossible(world: World) -> None:
    """Each is at least 2,000 km from a purchase of the same customer at most an hour and a half before."""
    events = history(world, 10, 0.01, "impossible_travel")
    for row in np.flatnonzero(events["scenario"])[:200]:
        before = events[:row]
        near = before[
            (before["user"] == events["user"][row]) & (before["at"] > events["at"][row] - 10 * HOUR)
        ]
        speed = world.cities.km[near["city"], events["city"][row]] / (
            (events["at"][row] - near["at"]) / HOUR + 1e-9
        )
        assert events["at"][row] < START + 3 * HOUR or (speed > 1_000).any()


def test_a_compromised_merchant_is_the_same_in_another_run(world: World) -> None:
    """Windows hang on the date: the simulator may be started anew every day."""
    fraud = [
        np.concatenate(list(Stream(world, start, 0.01, "compromised_merchant").history(3)))
        for start in (START, START + DAY)
    ]
    first, second = (set(events["merchant"][events["scenario"] > 0].tolist()) for events in fraud)
    assert first & second
    assert len(first) < 40


def test_slow_burn_raises_the_amounts_of_a_customer(world: World) -> None:
    events = history(world, 10, 0.01, "slow_burn")
    fraud = events["scenario"] > 0
    usual = world.customers.level[events["user"]] * world.merchants.price[events["merchant"]] * 100
    ratio = events["cents"] / usual
    assert np.median(ratio[fraud]) > 2.5 * np.median(ratio[~fraud])
    assert len(np.unique(events["user"][fraud])) < world.users * 0.05


def test_honest_people_travel_buy_new_phones_and_big_things(world: World, months: Events) -> None:
    """The hard negatives: without them a single rule would be a detector."""
    honest = months[months["scenario"] == 0]
    home = world.customers.home[honest["user"]]
    assert np.mean(world.cities.km[home, honest["city"]] > 500) > 0.03
    assert np.mean(honest["cents"] > 200_000) > 0.001
    phones = honest[honest["device"] < len(PHONES)]
    usual = np.zeros(world.users, int)
    for user in range(world.users):
        usual[user] = len(np.unique(phones["device"][phones["user"] == user]))
    assert np.mean(usual >= 2) > 0.1
    assert len(DEVICES) == 40


def test_distances_are_those_of_the_globe() -> None:
    """Paris to New York is 5,837 km along the great circle."""
    km = distances(np.array([48.8566, 40.7128]), np.array([2.3522, -74.0060]))
    assert km[0, 1] == pytest.approx(5_837, rel=0.001)
    assert km[0, 0] == 0


@given(st.lists(st.integers(-(2**62), 2**62), min_size=1, max_size=4))
def test_chance_depends_on_its_parts_alone(parts: list[int]) -> None:
    value = float(chance(*parts))
    assert 0 <= value < 1
    assert float(chance(*(np.array([part]) for part in parts))[0]) == value


def test_chance_is_even() -> None:
    drawn = chance(42, 1, np.arange(100_000))
    assert np.histogram(drawn, bins=10, range=(0, 1))[0] == pytest.approx(np.full(10, 10_000), rel=0.05)


@pytest.mark.parametrize(
    ("arguments", "word"),
    [((-1, 10), "seed"), ((1, 0), "users"), ((1, 10**9), "users")],
)
def test_a_world_that_cannot_be_is_refused(arguments: tuple[int, int], word: str) -> None:
    with pytest.raises(UsageError, match=word):
        World(*arguments)


def test_a_scenario_that_is_none_is_refused_with_the_names(world: World) -> None:
    with pytest.raises(UsageError) as caught:
        Stream(world, START, 0.01, "teleport")
    assert "card_testing" in caught.value.hint
