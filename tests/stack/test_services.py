"""The embedded services as a user meets them: the real program, real Kafka, real PostgreSQL."""

import json
from typing import TYPE_CHECKING

from fraudstream.settings import Settings

if TYPE_CHECKING:
    from tests.stack.conftest import Run


def test_status_names_both_services(settings: Settings, run: "Run") -> None:
    done = run("status", "--json")
    document = json.loads(done.stdout)
    assert done.returncode == 0
    assert document["kafka"]["running"]
    assert document["kafka"]["bootstrap_servers"] == settings.kafka.bootstrap_servers
    assert document["postgres"]["running"]
    assert document["postgres"]["port"] == settings.postgres.port
