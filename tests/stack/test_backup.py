"""The page of operations says how to back up and bring back; it is followed to the letter."""

import os
import re
import subprocess
import sys
from pathlib import Path

from fraudstream.settings import Settings
from fraudstream.store import alerts, labels
from fraudstream.store.connection import connect
from fraudstream.store.migrate import migrate

PAGE = Path(__file__).parents[2] / "docs" / "operations.md"


def blocks(heading: str) -> list[str]:
    """What a section of the page says to type, block by block."""
    section = PAGE.read_text().partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    return re.findall(r"```sh\n(.*?)```", section, re.DOTALL)


def test_a_dump_brings_back_what_was_lost(
    settings: Settings, environment: dict[str, str], tmp_path: Path
) -> None:
    migrate(settings.postgres)
    labels.label(settings.postgres, "t-1", is_fraud=True, by="ada")
    dump, embedded = blocks("Backup and restore")
    server = settings.postgres
    preparation = embedded.replace("$(embedded database)", str(server.database))
    assert preparation != embedded
    saving, restoring = dump.splitlines()
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])

    def type_in(line: str) -> None:
        script = f"set -e\n{preparation}{line}\n"
        subprocess.run(["bash", "-c", script], env=environment | {"PATH": path}, cwd=tmp_path, check=True)

    type_in(saving)
    with connect(server) as connection:
        connection.execute("delete from shop.labels")
        connection.execute("drop view shop.alert_reviews cascade")
    type_in(restoring)
    assert [(said.is_fraud, said.labelled_by) for said in labels.said(server, "t-1")] == [(True, "ada")]
    assert alerts.alerts(server) == []
