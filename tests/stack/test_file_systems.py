"""Streams where Spark takes another file system for its own, as on Hadoop."""

import json
import signal
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

from fraudstream.settings import Settings
from fraudstream.store.migrate import migrate
from live_scorer import Topics, promote, scorer

Run = Callable[..., "CompletedProcess[str]"]


def test_streams_keep_their_checkpoints_on_this_machine_where_sparks_own_files_are_elsewhere(
    settings: Settings, run: Run, environment: dict[str, str], tmp_path: Path
) -> None:
    """A bare path would be taken for one of that file system, which nobody may write to, or which does not answer."""
    configuration = tmp_path / "conf"
    configuration.mkdir()
    (configuration / "spark-defaults.conf").write_text("spark.hadoop.fs.defaultFS hdfs://127.0.0.1:9\n")
    there = environment | {"SPARK_CONF_DIR": str(configuration)}
    migrate(settings.postgres)
    promote(settings.postgres, "elsewhere")
    live, log = Topics(settings), tmp_path / "log"
    live.send(50)
    with scorer(there, log, "--from-beginning") as process:
        live.await_answers(live.sent, log)
        process.send_signal(signal.SIGTERM)
        assert process.wait(120) == 130, log.read_text()
    live.close()
    stored = run("consume", "transactions", "--once", "--json", env=there)
    assert stored.returncode == 0, stored.stderr
    assert json.loads(stored.stdout)["targets"]["transactions"]["stored"] == 50
