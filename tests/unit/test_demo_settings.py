"""What the demo makes of the settings that it meets."""

import pytest

from fraudstream.demo.story import suited
from fraudstream.settings import ModelSettings, ProfilesBy, ScoreSettings, Settings, SparkSettings


@pytest.mark.parametrize(("set_to", "used"), [(3.0, 3.0), (7.0, 7.0), (30.0, 7.0)])
def test_the_demo_uses_the_label_delay_that_is_set_unless_its_history_is_too_short(
    set_to: float, used: float, caplog: pytest.LogCaptureFixture
) -> None:
    """Its model, its consumer and its scorer agree, and somebody with a long delay learns of the exception."""
    settings = Settings(_env_file=None, model=ModelSettings(label_delay_days=set_to))
    with caplog.at_level("WARNING", "fraudstream"):
        assert suited(settings).model.label_delay_days == used
    said = (
        [] if used == set_to else ["the demo uses a label delay of 7 days: its history is too short for 30"]
    )
    assert [record.message for record in caplog.records] == said


def test_the_demo_broadcasts_its_profiles_whatever_is_set_and_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It failed after two minutes: it decides in real-time mode, which cannot look them up."""
    settings = Settings(_env_file=None, score=ScoreSettings(profiles=ProfilesBy.LOOKUP, overlap=False))
    with caplog.at_level("WARNING", "fraudstream"):
        score = suited(settings).score
    assert (score.profiles, score.overlap) == (ProfilesBy.BROADCAST, False)
    assert [record.message for record in caplog.records] == [
        "the demo broadcasts profiles: its real-time mode cannot look them up"
    ]


@pytest.mark.parametrize(
    ("master", "used"),
    [
        ("spark://company:7077", "local[4]"),
        ("yarn", "local[4]"),
        ("local", "local"),
        ("local[9]", "local[9]"),
    ],
)
def test_the_demo_runs_on_this_machine_whatever_cluster_is_set_and_says_so(
    master: str, used: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The embedded services listen on loopback only, where no executor of a cluster reaches them."""
    settings = Settings(_env_file=None, spark=SparkSettings(master=master, driver_memory="3g"))
    with caplog.at_level("WARNING", "fraudstream"):
        spark = suited(settings).spark
    assert (spark.master, spark.driver_memory) == (used, "3g")
    said = f"the demo runs Spark on this machine; the cluster at {master} is left alone"
    assert [record.message for record in caplog.records] == ([] if master == used else [said])
