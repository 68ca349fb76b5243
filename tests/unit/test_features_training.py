"""The training view: what stood just before each row, and nothing of the row's own truth or its future."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_world import DAY_MICROS, replay, world
from fraudstream.errors import InputError
from fraudstream.features import definitions
from fraudstream.features.catalogue import COUNTERS, ENTITIES
from fraudstream.features.definitions import FEATURES, SEED
from fraudstream.features.events import INSTANT, Events
from fraudstream.features.feature import feature
from fraudstream.features.training import History, view
from fraudstream.schema import LABELLED_AT, PERSONAL, TRUTH


def test_every_counter_equals_the_ledger_just_before_each_row() -> None:
    """1,500 rows with ties in time, null fields and late labels, to nine digits."""
    table = world(1_500, seed=2)
    history = History(Events(table), 7)
    micros = table["timestamp"].cast(pa.int64()).to_numpy()
    before = [{entity: ledger.profile(entity, row) for entity in ENTITIES} for row, ledger in replay(table)]
    for entity in ENTITIES.values():
        for counter in map(COUNTERS.__getitem__, entity.counters):
            expected = np.zeros(len(table))
            for i, profiles in enumerate(before):
                if (profile := profiles[entity.name]) is not None:
                    age = (
                        0.0
                        if counter.half_life is None
                        else (micros[i] - profile[0]) / 1e6 / counter.half_life
                    )
                    expected[i] = profile[1][counter.name] * 2.0**-age
            np.testing.assert_allclose(
                history.state(entity.name, counter.name),
                expected,
                rtol=1e-9,
                err_msg=f"{entity.name} {counter.name}",
            )


@settings(max_examples=15)
@given(st.integers(0, 10_000), st.integers(1, 299))
def test_what_comes_later_changes_nothing(seed: int, present: int) -> None:
    """Everything after a row is replaced, and the row's own truth is turned round: its features stand."""
    table = world(300, seed=seed, users=20, merchants=5)
    other = world(300, seed=seed + 1, users=20, merchants=5)
    future = other.set_column(
        2, "timestamp", pc.add(other["timestamp"], pa.scalar(200 * DAY_MICROS, pa.duration("us")))
    )
    own = table.slice(present, 1)
    truth = pc.invert(pc.fill_null(own["is_fraud"], False))
    own = own.set_column(own.column_names.index("is_fraud"), "is_fraud", truth)
    changed = pa.concat_tables([table.slice(0, present), own, future.slice(present)])
    names = tuple(FEATURES)
    np.testing.assert_array_equal(
        view(table, names=names).values[: present + 1], view(changed, names=names).values[: present + 1]
    )
    cut = table.slice(0, present + 1)
    np.testing.assert_array_equal(
        view(cut, names=names).values, view(table, names=names).values[: present + 1]
    )


def test_what_was_known_before_does_not_depend_on_the_rows_own_amount() -> None:
    table = world(200)
    amounts = table["amount"].to_numpy().copy()
    amounts[150] *= 1_000
    changed = table.set_column(3, "amount", pa.array(amounts))
    one, two = History(Events(table), 7), History(Events(changed), 7)
    for entity in ENTITIES.values():
        for counter in entity.counters:
            assert one.state(entity.name, counter)[150] == two.state(entity.name, counter)[150]


def test_a_label_is_seen_only_after_it_became_known() -> None:
    """Known exactly at a row's time is too late for that row; a microsecond earlier is not."""
    start = 1_700_000_000_000_000
    times = [start, start + 7 * DAY_MICROS, start + 7 * DAY_MICROS + 1]
    table = pa.table(
        {
            "user_id": ["u"] * 3,
            "merchant_id": ["m"] * 3,
            "timestamp": pa.array(times).cast(INSTANT),
            "amount": [1.0] * 3,
            "is_fraud": [True, None, None],
        }
    )
    assert History(Events(table), 7).state("merchant", "labelled_30d").astype(bool).tolist() == [
        False,
        False,
        True,
    ]
    assert History(Events(table), 6.9).state("merchant", "labelled_30d").astype(bool).tolist() == [
        False,
        True,
        True,
    ]
    at_once = History(Events(table), 0).state("merchant", "fraud_7d")
    assert at_once[0] == 0.0
    recorded = table.append_column("labelled_at", pa.array([times[1], None, None]).cast(INSTANT))
    assert History(Events(recorded), 0).state("merchant", "labelled_7d").astype(bool).tolist() == [
        False,
        False,
        True,
    ]


def test_of_two_rows_at_one_instant_the_second_sees_the_first() -> None:
    table = pa.table(
        {"user_id": ["u", "u"], "timestamp": pa.array([5, 5]).cast(INSTANT), "amount": [1.0, 2.0]}
    )
    assert view(table, names=("user_count_1h",)).values.ravel().tolist() == [0.0, 1.0]


def test_the_order_of_input_rows_decides_nothing_but_ties() -> None:
    table = world(400, seed=3)
    micros = np.unique(table["timestamp"].cast(pa.int64()).to_numpy(), return_index=True)[1]
    table = table.take(micros)
    shuffle = np.random.default_rng(0).permutation(len(table))
    mixed = view(table.take(shuffle))
    np.testing.assert_allclose(mixed.values, view(table).values[shuffle], rtol=1e-12)
    np.testing.assert_array_equal(shuffle[mixed.order], np.arange(len(table)))


def test_a_file_without_devices_and_places_keeps_the_other_features() -> None:
    table = world(100).select(["transaction_id", "user_id", "timestamp", "amount", "merchant_id", "is_fraud"])
    names = view(table).names
    assert {"merchant_risk_30d", "amount_to_user_mean", "user_merchant_share"} <= set(names)
    assert not {name for name in names if "device" in name or "location" in name}


def test_a_column_of_nulls_counts_as_missing() -> None:
    table = world(20).set_column(7, "merchant_id", pa.nulls(20, pa.string()))
    assert not [name for name in definitions.available(table) if "merchant" in name]


def test_without_a_known_label_no_feature_of_labels_is_offered() -> None:
    names = definitions.available(world(20).drop("is_fraud"))
    assert not [name for name in names if FEATURES[name].uses_labels]
    assert [name for name in definitions.available(world(20)) if FEATURES[name].uses_labels]


def test_the_first_transaction_of_all_has_the_documented_values() -> None:
    """An empty profile: an unremarkable amount, no counts, habits undecided, a year of silence."""
    row = dict(zip(FEATURES, view(world(1), names=tuple(FEATURES)).values[0].tolist(), strict=True))
    assert row["user_count_30d"] == row["merchant_count_30d"] == row["merchant_fraud_30d"] == 0.0
    assert row["amount_to_user_mean"] == row["amount_to_user_max"] == row["amount_to_merchant_mean"] == 1.0
    assert row["user_amount_z"] == 0.0
    assert row["user_device_share"] == row["user_merchant_share"] == 0.5
    assert row["user_burst_1h"] == row["user_mean_shift_7d"] == 1.0
    assert row["device_switch"] == row["location_switch"] == row["device_freq"] == 0.0
    assert row["user_idle"] == pytest.approx(np.log1p(365 * 86_400))
    assert row["merchant_risk_30d"] == row["user_risk_7d"] == 0.01


def test_an_empty_table_has_an_empty_view() -> None:
    table = view(world(0))
    assert table.values.shape == (0, len(table.names))


def test_every_value_is_finite_whatever_the_history() -> None:
    """Absurd amounts, years 1 and 9999, one user who pays the same a thousand times."""
    table = world(1_000, users=1)
    amounts = np.full(1_000, 19.99)
    amounts[[0, 10, 500]] = 5e-324, 1.7e308, 1e-300
    micros = table["timestamp"].cast(pa.int64()).to_numpy().copy()
    micros[[3, 7]] = -62_135_596_800_000_000, 253_402_300_799_999_999
    table = table.set_column(3, "amount", pa.array(amounts)).set_column(
        2, "timestamp", pa.array(micros).cast(INSTANT)
    )
    assert np.isfinite(view(table, names=tuple(FEATURES)).values).all()


def test_a_customer_who_always_pays_the_same_is_not_infinitely_surprised() -> None:
    table = pa.table(
        {
            "user_id": ["u"] * 50,
            "timestamp": pa.array(np.arange(50) * DAY_MICROS).cast(INSTANT),
            "amount": [9.99] * 49 + [10.99],
        }
    )
    z = view(table, names=("user_amount_z",)).values.ravel()
    assert z[48] == pytest.approx(0.0, abs=1e-9)
    assert 0.5 < z[49] < 5


def test_hours_and_weekdays_are_those_of_utc() -> None:
    """Also before 1970, where a remainder could turn negative."""
    table = pa.table(
        {
            "user_id": ["u"] * 3,
            "timestamp": pa.array(
                ["2024-02-29T23:59:59.999999Z", "1969-12-31T00:30:00Z", "0001-01-01T13:00:00Z"]
            ).cast(INSTANT),
            "amount": [1.0] * 3,
        }
    )
    assert view(table, names=("hour", "weekday")).values.tolist() == [[23, 3], [0, 2], [13, 0]]


def test_no_feature_reads_truth_or_names() -> None:
    for known in FEATURES.values():
        assert not (TRUTH | PERSONAL) & set(known.needs)


def test_the_seed_system_s_features_exist() -> None:
    table = world(2_000)
    seed = view(table, names=SEED)
    assert seed.names == ("amount", "device_freq", "location_change")
    differ = pc.fill_null(pc.not_equal(table["location"], table["transaction_location"]), False)
    known = pc.and_(pc.not_equal(table["location"], ""), pc.not_equal(table["transaction_location"], ""))
    away = pc.fill_null(pc.and_(differ, known), False)
    assert seed.values[:, 2].tolist() == away.cast(pa.float64()).to_pylist()


def test_an_unknown_or_repeated_feature_is_refused_with_its_name() -> None:
    with pytest.raises(InputError, match="no feature amuont"):
        view(world(3), names=("amount", "amuont"))
    with pytest.raises(InputError, match="twice"):
        view(world(3), names=("amount", "amount"))


def test_a_feature_without_its_column_is_refused_with_both_names() -> None:
    with pytest.raises(InputError, match="merchant_count_1h needs merchant_id"):
        view(world(3).drop("merchant_id"), names=("amount", "merchant_count_1h"))


def test_a_counter_that_an_entity_does_not_keep_is_found_when_a_feature_is_defined() -> None:
    with pytest.raises(KeyError, match="device has no count_10m"):
        feature("x", "x", lambda row, _: row.state("device", "count_10m"))


def test_recorded_times_of_labels_are_an_optional_column() -> None:
    """Without it, and where it is null, the delay decides; a label is never known before its transaction."""
    table = world(500, seed=4)
    early = table.set_column(
        table.column_names.index(LABELLED_AT),
        LABELLED_AT,
        pa.array(np.zeros(500, dtype=np.int64)).cast(INSTANT),
    )
    at_once = table.drop(LABELLED_AT)
    np.testing.assert_array_equal(view(early).values, view(at_once, label_delay_days=0).values)
