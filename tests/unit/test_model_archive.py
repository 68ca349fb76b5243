"""A packed model that is not what it says: refused with a sentence, whatever was done to it, and never loaded altered."""

import hashlib
import io
import json
import os
import stat
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraudstream.errors import FraudstreamError, InputError
from fraudstream.model import artifact, folder, packing
from model_world import ensemble, packed, sealed

TREES = ensemble(("amount_to_user_mean", 5.0, -1.0, 3.0), ("user_count_10m", 3.0, 0.0, 1.0))
PACKED = packed("m-1", TREES)[1]
ROWS = np.array([[1.0, 1.0], [7.0, 1.0], [7.0, 9.0]])
RISKS = packing.unpack(PACKED, "here").risk(ROWS)


def files() -> dict[str, bytes]:
    return packing.unpack_files(PACKED, "here")


def zipped(write: Callable[[zipfile.ZipFile], None]) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        write(archive)
    return sink.getvalue()


def stored(archive: zipfile.ZipFile, content: dict[str, bytes]) -> None:
    for name, data in content.items():
        archive.writestr(zipfile.ZipInfo(name), data)


@pytest.mark.parametrize(
    "name", ["../manifest.json", "/etc/passwd", "a/b", "..", ".", "", "a\\b", "x\n", "CON:", "a" * 300]
)
def test_a_name_that_leaves_the_directory_is_refused(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything is written, be it into the directory that the program is in, or beside the one that is asked for."""
    monkeypatch.chdir(tmp_path)
    changed = sealed({**files(), name: b"gone astray"})
    for content in (zipped(lambda archive: stored(archive, changed)), packing.pack(changed)):
        with pytest.raises(InputError, match=r"outside its own directory|not a packed model"):
            folder.write(packing.unpack_files(content, "here"), tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def test_a_link_in_an_archive_is_a_file_like_any_other() -> None:
    """Its target is its content: nothing is followed, and the checksums say that it was altered."""
    content = files()

    def write(archive: zipfile.ZipFile) -> None:
        stored(archive, {name: data for name, data in content.items() if name != artifact.TREES})
        link = zipfile.ZipInfo(artifact.TREES)
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/passwd")

    with pytest.raises(InputError, match=r"trees.parquet of here was altered"):
        packing.unpack(zipped(write), "here")


def test_a_link_in_a_directory_leads_to_a_file_or_to_nothing(tmp_path: Path) -> None:
    """As secrets and volumes are mounted; one to a device, which never ends, is no part of a model."""
    for name, data in files().items():
        (tmp_path / f"real-{name}").write_bytes(data)
        (tmp_path / name).symlink_to(tmp_path / f"real-{name}")
    assert folder.read(tmp_path).version == "m-1"
    (tmp_path / artifact.TREES).unlink()
    (tmp_path / artifact.TREES).symlink_to("/dev/zero")
    with pytest.raises(InputError, match=r"lacks trees.parquet"):
        folder.read(tmp_path)
    (tmp_path / artifact.TREES).unlink()
    os.mkfifo(tmp_path / artifact.TREES)
    with pytest.raises(InputError, match=r"lacks trees.parquet"):
        folder.read(tmp_path)


def test_files_with_checksums_of_their_own_are_no_model_that_may_be_replaced(tmp_path: Path) -> None:
    """As downloads have them: what a new model replaces is deleted."""
    (tmp_path / "disk.iso").write_bytes(b"data")
    (tmp_path / artifact.SUMS).write_text(f"{hashlib.sha256(b'data').hexdigest()}  disk.iso\n")
    with pytest.raises(InputError, match=r"not part of a model \(SHA256SUMS, disk.iso\)"):
        folder.write(files(), tmp_path)
    assert (tmp_path / "disk.iso").read_bytes() == b"data"


def test_the_same_name_twice_is_refused() -> None:
    content = files()

    def write(archive: zipfile.ZipFile) -> None:
        stored(archive, content)
        with pytest.warns(UserWarning, match="Duplicate name"):
            stored(archive, {artifact.TREES: content[artifact.TREES]})

    with pytest.raises(InputError, match="contains a file twice"):
        packing.unpack(zipped(write), "here")


def test_a_compressed_archive_is_refused_before_it_is_unpacked() -> None:
    """A megabyte may stand for a terabyte; models are packed without compression."""
    content = files()

    def write(archive: zipfile.ZipFile) -> None:
        stored(archive, content)
        archive.writestr("bomb", b"\0" * 50_000_000, zipfile.ZIP_DEFLATED)

    bomb = zipped(write)
    assert len(bomb) < 100_000
    with pytest.raises(InputError, match="not a packed model"):
        packing.unpack(bomb, "here")


def test_a_file_that_claims_more_bytes_than_the_archive_has_is_refused() -> None:
    """Whether in one entry, or in several that lie over each other."""
    at = PACKED.rindex(b"PK\x01\x02")
    claimed = PACKED[: at + 20] + b"\xff\xff\xff\x7f" * 2 + PACKED[at + 28 :]
    with pytest.raises(InputError, match="not a packed model"):
        packing.unpack(claimed, "here")


def test_an_encrypted_archive_is_refused() -> None:
    at = PACKED.index(b"PK\x01\x02")
    with pytest.raises(InputError, match="not a packed model"):
        packing.unpack(PACKED[: at + 8] + b"\x01" + PACKED[at + 9 :], "here")


@pytest.mark.parametrize(
    "manifest",
    [
        b"", b"[]", b"null", b"{}", b"[" * 100_000, b'{"version": "a"}', b"\xff\xfe",
        *(
            json.dumps(json.loads(files()[artifact.MANIFEST]) | {name: value}).encode()
            for name, value in (
                ("features", None), ("features", [1]), ("features", [["a"]]), ("features", "amount"),
                ("threshold", "high"), ("threshold", float("nan")), ("threshold", [0.5]),
                ("version", 7), ("version", ""), ("algorithm", None), ("format", "1"),
            )
        ),
    ],
)  # fmt: skip
def test_a_manifest_that_makes_no_sense_is_refused(manifest: bytes) -> None:
    with pytest.raises(InputError, match=r"manifest of here cannot be read|has format"):
        artifact.verified(sealed({**files(), artifact.MANIFEST: manifest}), "here")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("training", "long"), ("metrics", []), ("label_delay_days", "a week"), ("alert_rate", [1]), ("notes", 5),
        ("training", {"until": "soon"}), ("score_reference", {"edges": "all"}), ("folds", [{}]), ("versions", "1.2"),
        ("calibration_flagged", [{"risk": 0.9}]),
    ],
)  # fmt: skip
def test_a_part_of_a_manifest_that_makes_no_sense_is_named(name: str, value: object) -> None:
    """A command that came to it later, such as `evaluate` or the dashboard, called it a bug in fraudstream."""
    manifest = json.loads(files()[artifact.MANIFEST]) | {name: value}
    with pytest.raises(InputError, match=rf"manifest of here cannot be read: .*{name}") as caught:
        artifact.verified(sealed({**files(), artifact.MANIFEST: json.dumps(manifest).encode()}), "here")
    assert caught.value.hint == "Train the model again."


@pytest.mark.parametrize("asked", ["alert_rate", "label_delay_days", "learned_until"])
def test_what_a_manifest_lacks_is_named_where_it_is_needed(asked: str) -> None:
    """`evaluate --model DIR` needs it, scoring does not."""
    with pytest.raises(InputError, match="The manifest of model m-1 has no"):
        getattr(packing.unpack(PACKED, "here"), asked)


def test_the_end_of_a_training_without_a_time_zone_is_refused_where_it_is_needed() -> None:
    """Compared with the times of transactions, it was called a bug in fraudstream."""
    model = artifact.Model({"version": "m-1", "training": {"until": "2026-05-01T00:00:00"}}, {})
    with pytest.raises(InputError, match="of model m-1 has an until without a time zone") as caught:
        _ = model.learned_until
    assert caught.value.hint == "Train the model again."


def parquet(table: pa.Table, **options: object) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink, **options)
    return sink.getvalue()


def test_trees_that_would_fill_the_memory_are_refused() -> None:
    """Ten kilobytes of Parquet can hold a thousand million equal rows."""
    nodes = TREES.to_table()
    many = nodes.take(pa.array(np.zeros(3_000_000, dtype=np.int64)))
    huge = parquet(many, compression="zstd")
    assert len(huge) < 1_000_000
    model = artifact.verified(sealed({**files(), artifact.TREES: huge}), "here")
    with pytest.raises(InputError, match="more nodes than"):
        model.trees()


@pytest.mark.parametrize(
    "trees",
    [
        b"", b"PAR1", b"PAR1" + b"\0" * 100 + b"PAR1",
        parquet(pa.table({"a": [1]})),
        parquet(TREES.nodes),
        parquet(TREES.to_table().replace_schema_metadata({"fraudstream": "{"})),
        parquet(TREES.to_table().replace_schema_metadata({"fraudstream": "[" * 100_000})),
        parquet(TREES.to_table().replace_schema_metadata({"fraudstream": '{"features": 5, "combine": [], "link": {}, "scale": "x"}'})),
    ],
)  # fmt: skip
def test_trees_that_are_none_are_refused(trees: bytes) -> None:
    model = artifact.verified(sealed({**files(), artifact.TREES: trees}), "here")
    with pytest.raises(InputError, match="The trees of model m-1 cannot be read: ") as caught:
        model.trees()
    assert caught.value.hint == "Train the model again."


@given(st.data())
def test_an_archive_with_altered_bytes_is_refused_or_is_the_same_model(data: st.DataObject) -> None:
    """Whatever bytes change, go or come: nothing but a FraudstreamError, and never another risk."""
    content = bytearray(PACKED)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content)))
        length = data.draw(st.integers(0, 8))
        content[at : at + length] = data.draw(st.binary(max_size=8))
    with suppress(FraudstreamError):
        model = packing.unpack(bytes(content), "here")
        assert np.array_equal(model.risk(ROWS), RISKS)


@given(st.data())
def test_trees_with_altered_bytes_are_refused_or_score(data: st.DataObject) -> None:
    """Also where the checksums were made to fit: no crash, no endless walk, and a risk from 0 to 1."""
    content = files()
    trees = bytearray(content[artifact.TREES])
    for _ in range(data.draw(st.integers(1, 4))):
        trees[data.draw(st.integers(0, len(trees) - 1))] = data.draw(st.integers(0, 255))
    with suppress(FraudstreamError):
        risk = artifact.verified(sealed({**content, artifact.TREES: bytes(trees)}), "here").risk(ROWS)
        assert ((risk >= 0) & (risk <= 1)).all()
