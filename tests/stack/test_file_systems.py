"""Streams where Spark takes another file system for its own, as on Hadoop."""

import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

Run = Callable[..., "CompletedProcess[str]"]


def test_streams_keep_their_checkpoints_on_this_machine_where_sparks_own_files_are_elsewhere(
    run: Run, environment: dict[str, str], tmp_path: Path
) -> None:
    """A bare path would be taken for one of that file system, which nobody may write to, or which does not answer."""
    configuration = tmp_path / "conf"
    configuration.mkdir()
    (configuration / "spark-defaults.conf").write_text("spark.hadoop.fs.defaultFS hdfs://127.0.0.1:9\n")
    there = environment | {"SPARK_CONF_DIR": str(configuration)}
    assert run("produce", "--count", "50", "--rate", "max", env=there).returncode == 0
    stored = run("consume", "transactions", "--once", "--json", env=there)
    assert stored.returncode == 0, stored.stderr
    assert json.loads(stored.stdout)["targets"]["transactions"]["stored"] > 40
