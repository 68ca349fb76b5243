"""What the demo makes of the settings that it meets."""

import pytest

from fraudstream.demo.story import suited
from fraudstream.settings import ModelSettings, Settings


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
