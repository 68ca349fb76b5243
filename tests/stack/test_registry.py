"""The registry of models in a real PostgreSQL: one champion, nothing overwritten, nothing altered opened."""

import io
import json
import re
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import numpy as np
import psycopg
import pytest
import sklearn

import model_world
from commands import answered, printed
from fraudstream.errors import DatabaseError, InputError
from fraudstream.model import artifact, folder, packing
from fraudstream.model.algorithms import TreeEstimator
from fraudstream.model.candidates import candidates
from fraudstream.model.manifest import FORMAT
from fraudstream.settings import PostgresSettings, Settings
from fraudstream.store import registry
from fraudstream.store.connection import connect
from fraudstream.store.registry import Status

Run = Callable[..., "CompletedProcess[str]"]


def manifest(version: str, **changes: Any) -> dict[str, Any]:
    return {"version": version, "algorithm": "isolation_forest", "metrics": {"roc_auc": 0.9}} | changes


TREES = model_world.ensemble(("amount", 5.0, -1.0, 3.0))


def add(postgres: PostgresSettings, *versions: str) -> None:
    for version in versions:
        registry.register(postgres, *model_world.packed(version, TREES))


def champions(postgres: PostgresSettings) -> list[str]:
    return [model.version for model in registry.models(postgres) if model.status is Status.CHAMPION]


def test_a_model_comes_back_as_it_was_registered(settings: Settings) -> None:
    """Into a database that has no tables yet; every byte value in the artifact, nested values in the manifest."""
    postgres, packed = settings.postgres, bytes(range(256)) * 1000
    given = manifest("1", odd=[{"a": None, "b": 0.1}], notes=["ünïcode ' \\ \""], n=1)
    model = registry.register(postgres, given, packed)
    assert (model.status, model.promoted_at) == (Status.CANDIDATE, None)
    assert registry.load(postgres, "1") == (model, packed)
    assert registry.get(postgres, "1").manifest == given


def test_a_list_in_a_pipe_breaks_no_version(postgres: PostgresSettings, run: Run) -> None:
    """It is 80 columns wide, and the version is what the next command needs."""
    figures = {"average_precision": 0.7, "roc_auc": 0.98, "card_precision_100": 0.31}
    given = manifest("20261127-132100-779", algorithm="gradient_boosting", metrics=figures)
    registry.register(postgres, given, b"")
    registry.promote(postgres, "20261127-132100-779")
    (line,) = [line for line in printed(run("models", "list")).splitlines() if "20261127" in line]
    assert [cell.strip() for cell in line.strip("│").split("│")] == [
        "20261127-132100-779", "champion", "gradient_boosting", "0.700", "0.980", "0.310",
    ]  # fmt: skip


def test_a_version_that_is_taken_changes_nothing(postgres: PostgresSettings) -> None:
    add(postgres, "1")
    before = registry.load(postgres, "1")
    with pytest.raises(InputError, match="There is already a model 1; nothing was changed"):
        registry.register(postgres, manifest("1", algorithm="other"), b"other")
    assert registry.load(postgres, "1") == before


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"algorithm": "x"}, "has no version"),
        (manifest("1", algorithm=None), "has no algorithm"),
        (manifest("1", threshold=float("nan")), "not JSON that PostgreSQL can store"),
        (manifest("1", notes=["a\x00b"]), "not JSON that PostgreSQL can store"),
        (manifest("1", notes=["\ud800"]), "not JSON that PostgreSQL can store"),
        (manifest("1", folds=object()), "not JSON that PostgreSQL can store"),
    ],
)
def test_a_manifest_that_cannot_be_kept_is_refused(
    postgres: PostgresSettings, given: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(InputError, match=sentence):
        registry.register(postgres, given, b"")
    assert registry.models(postgres) == []


def test_one_altered_byte_is_refused(postgres: PostgresSettings) -> None:
    add(postgres, "1")
    with connect(postgres) as connection:
        connection.execute("update shop.models set artifact = set_byte(artifact, 3, 255)")
    with pytest.raises(DatabaseError, match="The artifact of model 1 was altered") as caught:
        registry.load(postgres, "1")
    assert "backup" in caught.value.hint


def test_promote_and_rollback_go_back_and_forth(postgres: PostgresSettings) -> None:
    """Rollback goes back as far as there were champions, and passes by what was rolled back."""
    add(postgres, "1", "2", "3")
    for version in "123":
        assert registry.promote(postgres, version).status is Status.CHAMPION
        assert champions(postgres) == [version]
    assert registry.get(postgres).version == "3"
    assert registry.rollback(postgres).version == "2"
    assert registry.get(postgres, "3").status is Status.ROLLED_BACK
    assert registry.promote(postgres, "2").version == "2", "the champion again: nothing but its date changes"
    assert registry.rollback(postgres).version == "1"
    with pytest.raises(InputError, match="There is no previous champion"):
        registry.rollback(postgres)
    assert champions(postgres) == ["1"]
    assert registry.promote(postgres, "3").version == "3"
    assert registry.rollback(postgres).version == "1"


def test_nobody_goes_back_to_a_model_that_was_altered(postgres: PostgresSettings) -> None:
    """The champion stays, and stays what can be gone back from when the bytes are back."""
    add(postgres, "1", "2")
    for version in "12":
        registry.promote(postgres, version)
    with connect(postgres) as connection:
        kept = connection.execute("select artifact from shop.models where version = '1'").fetchone()
        connection.execute("update shop.models set artifact = set_byte(artifact, 3, 255) where version = '1'")
    with pytest.raises(DatabaseError, match="The artifact of model 1 was altered"):
        registry.rollback(postgres)
    assert champions(postgres) == ["2"]
    with connect(postgres) as connection:
        connection.execute("update shop.models set artifact = %s where version = '1'", kept)
    assert registry.rollback(postgres).version == "1"


def test_an_unknown_version_is_a_sentence_and_changes_nothing(postgres: PostgresSettings) -> None:
    with pytest.raises(InputError, match="There is no model '9'") as caught:
        registry.promote(postgres, "9")
    assert "There are none yet" in caught.value.hint
    with pytest.raises(InputError, match="No model is champion yet"):
        registry.load(postgres)
    add(postgres, "1")
    registry.promote(postgres, "1")
    for ask in (registry.promote, registry.get, registry.load):
        with pytest.raises(InputError, match="There is no model '9'") as caught:
            ask(postgres, "9")
        assert "The newest are 1" in caught.value.hint
    assert champions(postgres) == ["1"]


def test_promotes_at_once_leave_one_champion(postgres: PostgresSettings) -> None:
    versions = [str(n) for n in range(8)]
    add(postgres, *versions)
    failures: list[Exception] = []
    barrier = threading.Barrier(len(versions))

    def work(version: str) -> None:
        try:
            barrier.wait()
            for _ in range(5):
                registry.promote(postgres, version)
        except Exception as error:
            failures.append(error)
            raise

    threads = [threading.Thread(target=work, args=(version,)) for version in versions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(champions(postgres)) == 1


def test_the_table_itself_refuses_a_second_champion(postgres: PostgresSettings) -> None:
    add(postgres, "1", "2")
    with pytest.raises(psycopg.errors.UniqueViolation), connect(postgres) as connection:
        connection.execute("update shop.models set status = 'champion'")


def test_the_page_of_operations_deletes_old_models_and_none_that_is_needed(
    postgres: PostgresSettings,
) -> None:
    """Six are old: of four champions one after another the last two stay, and one that decided lately."""
    page = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()
    (statement,) = re.findall(r"```sql\n(.*?)```", page.partition("\n## Retention\n")[2], re.DOTALL)
    add(postgres, "1", "2", "3", "4", "old", "tried lately")
    for version in "1234":
        registry.promote(postgres, version)
    with connect(postgres) as connection:
        connection.execute("update shop.models set created_at = now() - interval '100 days'")
        connection.execute(
            "insert into shop.risk_bins values ('tried lately', now() - interval '9 days', 0, 1)"
        )
    add(postgres, "new")
    with connect(postgres) as connection:
        connection.execute(statement.encode())
    assert {model.version for model in registry.models(postgres)} == {"3", "4", "tried lately", "new"}
    assert registry.rollback(postgres).version == "3"


def packed(version: str) -> tuple[dict[str, Any], bytes]:
    """A real model, small, packed as `train` packs it."""
    candidate = candidates("random_forest", ("amount",))[0]
    x = np.arange(200.0)[:, None]
    estimator = candidate.make()
    estimator.fit(x, (x[:, 0] > 150).astype(np.int64))
    assert isinstance(estimator, TreeEstimator)
    given = manifest(version, algorithm="random_forest", format=FORMAT, features=["amount"], threshold=0.5)
    files = artifact.files_of(given, estimator, estimator.ensemble())
    return given, packing.pack(files)


def test_the_program_lists_promotes_rolls_back_and_exports(
    settings: Settings, run: Run, call: Run, tmp_path: Path
) -> None:
    """From an empty database to files that are the model, byte for byte."""
    assert answered(call("models", "list", "--json")) == {"models": []}
    for version in ("1", "2"):
        registry.register(settings.postgres, *packed(version))
    for version in ("1", "2"):
        promoted = answered(call("models", "promote", version, "--json"))
        assert (promoted["version"], promoted["status"]) == (version, "champion")
    listed = answered(call("models", "list", "--json"))["models"]
    assert [(model["version"], model["status"]) for model in listed] == [("2", "champion"), ("1", "retired")]
    assert "0.900" in printed(call("models", "list"))
    assert "model 1 (random_forest) is now the champion" in printed(call("models", "rollback"))
    shown = answered(call("models", "show", "--json"))
    assert (shown["version"], shown["manifest"]["features"]) == ("1", ["amount"])
    exported = answered(run("models", "export", "--output", str(tmp_path / "model"), "--json"))
    assert exported["files"] == sorted(path.name for path in (tmp_path / "model").iterdir())
    model = folder.read(tmp_path / "model")
    assert (
        packing.pack({**model.files, artifact.SUMS: (tmp_path / "model" / artifact.SUMS).read_bytes()})
        == (registry.load(settings.postgres, "1")[1])
    )


def test_the_program_says_in_a_sentence_what_cannot_be_done(
    settings: Settings, call: Run, tmp_path: Path
) -> None:
    """Unknown versions, nothing to go back to, an altered artifact, one that is no model: exit 1, nothing changed."""
    nothing = call("models", "rollback", "--json")
    assert nothing.returncode == 1
    assert "no previous champion" in json.loads(nothing.stdout)["error"]["message"]
    assert "There is no model '9'" in call("models", "promote", "9").stderr
    registry.register(settings.postgres, *packed("1"))
    registry.register(settings.postgres, manifest("odd"), b"no archive")
    assert "model odd in the registry is not a packed model" in call("models", "promote", "odd").stderr
    with connect(settings.postgres) as connection:
        connection.execute("update shop.models set artifact = set_byte(artifact, 99, 0) where version = '1'")
    for version in ("1", "odd"):
        registry.promote(settings.postgres, version)
    for arguments in (("promote", "1"), ("rollback",), ("export", "1", "--output", str(tmp_path / "model"))):
        refused = call("models", *arguments)
        assert refused.returncode == 1
        assert "was altered" in refused.stderr
        assert "Traceback" not in refused.stderr
    assert not (tmp_path / "model").exists()
    assert champions(settings.postgres) == ["odd"]


@pytest.mark.parametrize(
    ("garbled", "reason"),
    [
        ("[]", "it is not a JSON object"),
        ('{"metrics": []}', "Expected `object`, got `array` - at `$.metrics`"),
        ('{"metrics": {"roc_auc": "high"}}', "got `str` - at `$.metrics[...]`"),
        ('{"training": "long"}', "Expected `object`, got `str` - at `$.training`"),
    ],
)
def test_a_manifest_that_cannot_be_read_is_named_and_the_other_models_are_listed(
    settings: Settings, call: Run, garbled: str, reason: str
) -> None:
    """It ended the list of all of them as a bug in fraudstream."""
    for version in ("good", "garbled"):
        registry.register(settings.postgres, *packed(version))
    with connect(settings.postgres) as connection:
        connection.execute(
            "update shop.models set manifest = %s::jsonb where version = 'garbled'", (garbled,)
        )
    listed = call("models", "list")
    assert listed.returncode == 0, listed.stderr
    assert "good" in listed.stdout
    assert "The manifest of model garbled in the registry cannot be read: " in listed.stderr
    assert reason in listed.stderr
    assert "Train the model again, or restore shop.models from a backup." in listed.stderr
    bad, good = answered(call("models", "list", "--json"))["models"]
    assert (bad["version"], bad["metrics"], good["metrics"]) == ("garbled", {}, {"roc_auc": 0.9})
    assert reason in bad["trouble"]
    shown = call("models", "show", "garbled", "--json")
    assert shown.returncode == 1
    error = json.loads(shown.stdout)["error"]
    assert (error["code"], error["hint"]) == (
        "input",
        "Train the model again, or restore shop.models from a backup.",
    )
    assert reason in error["message"]


def resealed(version: str, name: str, content: bytes) -> tuple[dict[str, Any], bytes]:
    """A model of which a file was replaced, with checksums that fit."""
    given, packed_ = (
        model_world.packed(version, TREES)
        if name == artifact.TREES
        else model_world.packed(version, None, versions={"scikit-learn": sklearn.__version__})
    )
    files = packing.unpack_files(packed_, version)
    return given, packing.pack(model_world.sealed({**files, name: content}))


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        (artifact.TREES, b"PAR1", "The trees of model bad cannot be read: "),
        (artifact.ESTIMATOR, b"\x80\x04]", "The estimator of model bad cannot be opened: "),
        (artifact.ESTIMATOR, b"", "The estimator of model bad cannot be opened: "),
        (artifact.MANIFEST, b'{"version": "bad"', "The manifest of model bad in the registry cannot be read: not JSON"),
    ],
)  # fmt: skip
def test_a_model_that_cannot_be_opened_never_becomes_the_champion(
    settings: Settings, call: Run, name: str, content: bytes, sentence: str
) -> None:
    """Neither by a promotion nor by a rollback: every scorer would have kept or lost its model because of it."""
    add(settings.postgres, "good")
    registry.register(settings.postgres, *resealed("bad", name, content))
    registry.promote(settings.postgres, "bad")
    registry.promote(settings.postgres, "good")
    for arguments in (("promote", "bad"), ("rollback",)):
        refused = call("models", *arguments, "--json")
        assert refused.returncode == 1
        error = json.loads(refused.stdout)["error"]
        assert (sentence in error["message"], error["code"]) == (True, "input"), error
        assert error["hint"].startswith("Train the model again")
    assert champions(settings.postgres) == ["good"]


def test_an_archive_that_would_write_elsewhere_is_not_opened() -> None:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        archive.writestr("../escape", b"")
    with pytest.raises(InputError, match="outside its own directory"):
        packing.unpack_files(sink.getvalue(), "model x")
