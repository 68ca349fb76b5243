"""What strangers' bytes reach, and what must hold whatever they are.

Each target takes bytes and returns; an exception is a finding. Where the program may refuse, it does so with a
FraudstreamError, which the targets take for an answer.
"""

import io
import json
import math
import os
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fraudstream.decision import TRANSACTION_FIELDS, DecisionDecoder
from fraudstream.decode import Decoder
from fraudstream.errors import FraudstreamError
from fraudstream.features.definitions import FEATURES
from fraudstream.files import Rejects, read
from fraudstream.logs import printable
from fraudstream.model import artifact, packing, tables
from fraudstream.producer.replay import replay, shape
from fraudstream.rules import load_rules, render
from fraudstream.schema import FIELDS, KINDS
from fraudstream.settings import described, load
from model_world import ensemble, packed, sealed
from samples import BAD, DECISION, GOOD, REFUSAL, decision, message

GUARD = message(transaction_id="guard"), decision(transaction_id="guard")
"""A neighbour that must come through untouched."""


@dataclass(frozen=True)
class Target:
    """A door to the program, and some of what usually comes through it."""

    check: Callable[[bytes], None]
    seeds: Sequence[bytes]
    words: Sequence[bytes] = ()
    """What mutations put in."""


def _decode(data: bytes) -> None:
    """Both lanes agree, and no message touches its neighbours."""
    decoder = Decoder()
    alone = decoder.decode([data])
    assert len(alone.positions) + len(alone.rejects) == 1
    among = decoder.decode([GUARD[0], data, GUARD[0]])
    guards = [among.positions.index(0), among.positions.index(2)]
    assert [among.rows["transaction_id"][at].as_py() for at in guards] == ["guard", "guard"]
    assert [row for row in among.positions if row == 1] == [1] * len(alone.positions)
    one_by_one = decoder.decode([data, b"x"])
    assert one_by_one.rows.equals(alone.rows)
    if alone.positions:
        again, extra = decoder._slowly(data)
        assert (dict(zip(alone.rows.schema.names, again, strict=True)).keys(), extra) == (
            KINDS.keys(), alone.unknown_fields,
        )  # fmt: skip
        _storable(alone.rows)
    _decode_some(data, alone.rows)


def _decode_some(data: bytes, whole: pa.Table) -> None:
    """Who reads some fields takes whatever who reads all of them takes, with the same values."""
    decoder = Decoder(TRANSACTION_FIELDS)
    alone = decoder.decode([data])
    among = decoder.decode([GUARD[0], data, GUARD[0]])
    assert among.rows.num_rows == 2 + alone.rows.num_rows == 3 - len(alone.rejects)
    assert decoder.decode([data, b"x"]).rows.equals(alone.rows)
    _storable(alone.rows)
    if whole.num_rows:
        assert alone.rows.equals(whole.select(alone.rows.column_names))


def _storable(rows: pa.Table) -> None:
    """Arrow finds nothing wrong, and PostgreSQL would take every text."""
    rows.validate(full=True)
    for column in rows.columns:
        if pa.types.is_string(column.type):
            assert not any("\0" in text for text in column.to_pylist() if text is not None)


def _decide(data: bytes) -> None:
    """A decision, a refusal or a reject, and the neighbours untouched."""
    decoder = DecisionDecoder()
    alone = decoder.decode([data])
    assert len(alone.positions) + len(alone.rejects) + alone.refused == 1
    among = decoder.decode([GUARD[1], data, GUARD[1]])
    assert (among.positions[0], among.positions[-1]) == (0, 2)
    assert among.rows.num_rows == 2 + alone.rows.num_rows
    _storable(alone.rows)
    assert all(0 <= risk <= 1 for risk in alone.rows["risk"].to_pylist())


_SUFFIXES = (".csv", ".tsv", ".ndjson", ".parquet")


def _file(data: bytes) -> Path:
    """The data as a file whose kind its first byte says."""
    path = Path(tempfile.gettempdir()) / f"fuzz-{os.getpid()}{_SUFFIXES[(data or b'a')[0] % len(_SUFFIXES)]}"
    path.write_bytes(data[1:])
    return path


def _replay(data: bytes) -> None:
    """Whatever a file holds: rows are transactions, or are counted with a reason."""
    path, rejects = _file(data), Rejects()
    try:
        with suppress(FraudstreamError):
            for batch in replay(path, shape((), ("device=unknown",)), rejects):
                decoded = Decoder().decode(batch.values)
                assert not decoded.rejects
                assert len(batch.keys) == len(batch.values)
                assert [k.decode() for k in batch.keys] == decoded.rows["user_id"].to_pylist()
        with suppress(FraudstreamError):
            for number, _row in read(path, list):
                assert number > 0
        if path.suffix in _GUARDS:
            _guard(path, path.read_bytes())
    finally:
        path.unlink()


def _guard(path: Path, lines: bytes) -> None:
    """Whatever stands in the lines before it, the last one of a file is sent, and taken for training."""
    header, last = _GUARDS[path.suffix]
    path.write_bytes(header + b"\n" + lines + b"\n" + last)
    sent = [value for batch in replay(path, shape((), ()), Rejects()) for value in batch.values]
    assert json.loads(sent[-1])["transaction_id"] == "guard"
    with suppress(FraudstreamError):  # bytes that are no text, or too many bad rows
        assert "guard" in tables.read_transactions(path, {}).rows["transaction_id"].to_pylist()


def _tables(data: bytes) -> None:
    """A training file: rows in order of time with sound amounts, or a sentence."""
    path = _file(data)
    try:
        with suppress(FraudstreamError):
            loaded = tables.read_transactions(path, {})
            rows = loaded.rows
            rows.validate(full=True)
            assert loaded.read == rows.num_rows + loaded.unparsable + loaded.duplicates
            amounts, times = rows["amount"].to_numpy(), rows["timestamp"].cast(pa.int64()).to_numpy()
            assert np.isfinite(amounts).all()
            assert (amounts > 0).all()
            assert (np.diff(times) >= 0).all()
            assert rows["user_id"].null_count == 0
    finally:
        path.unlink()


HOSTILE: tuple[object, ...] = (None, float("nan"), 10**400, "x\x1b[2J" * 99, {})


def _rules(data: bytes) -> None:
    """Rules, or mistakes with their places; a reason can be rendered whatever the values are."""
    path = Path(tempfile.gettempdir()) / f"fuzz-{os.getpid()}.yaml"
    path.write_bytes(data)
    try:
        with suppress(FraudstreamError):
            for rule in load_rules(path):
                assert rule.place is not None
                assert rule.place.at(10**9) >= (1, 1)
                for value in HOSTILE:
                    said = render(rule, dict.fromkeys(("amount", "device", "user_count_10m"), value))
                    assert len(said) < 100 * len(rule.reason) + 100
    finally:
        path.unlink()


TREES = ensemble(("amount_to_user_mean", 5.0, -1.0, 3.0), ("user_count_10m", 3.0, 0.0, 1.0))
PACKED = packed("m-1", TREES)[1]
ROWS = np.array([[1.0, 1.0], [7.0, 1.0], [7.0, 9.0]])
RISKS = TREES.risk(ROWS)


def _archive(data: bytes) -> None:
    """A packed model: the one that was packed, or a sentence."""
    with suppress(FraudstreamError):
        model = packing.unpack(data, "fuzz")
        assert np.array_equal(model.risk(ROWS), RISKS)


def _trees(data: bytes) -> None:
    """Tree tables under checksums that fit: they score within bounds, or a sentence."""
    files = sealed({**packing.unpack_files(PACKED, "seed"), artifact.TREES: data})
    with suppress(FraudstreamError):
        risk = artifact.verified(files, "fuzz").risk(ROWS)
        assert ((risk >= 0) & (risk <= 1)).all()


def _manifest(data: bytes) -> None:
    """A manifest under checksums that fit."""
    files = sealed({**packing.unpack_files(PACKED, "seed"), artifact.MANIFEST: data})
    with suppress(FraudstreamError):
        model = artifact.verified(files, "fuzz")
        assert FEATURES.keys() >= set(model.features)
        assert math.isfinite(model.threshold)
        assert model.version


NAMES = tuple(described())
SECRET = "correct horse battery staple"  # noqa: S105 - to be looked for


def _settings(data: bytes) -> None:
    """Lines of NAME=VALUE as the environment: settings, or a sentence, and a secret in neither."""
    variables: dict[str, str] = {}
    for line in data.splitlines():
        place, _, value = line.partition(b"=")
        text = value.decode("utf-8", "surrogateescape").replace("\0", "")
        name = NAMES[int.from_bytes(place[:2], "big") % len(NAMES)]
        if not name.endswith(("HOME", "JARS", "_FILE", "ROOTCERT")):  # nothing of this machine is read
            variables[name] = text
    secret = {"FRAUDSTREAM_POSTGRES__PASSWORD": SECRET, "FRAUDSTREAM_KAFKA__SASL_PASSWORD": SECRET}
    before = {name: os.environ.pop(name) for name in list(os.environ) if name.startswith("FRAUDSTREAM_")}
    os.environ.update(variables | secret | {"FRAUDSTREAM_HOME": "/nonexistent"})
    try:
        settings = load()
        assert SECRET not in repr(settings) + json.dumps(settings.model_dump(mode="json"))
    except FraudstreamError as error:
        assert SECRET not in json.dumps(error.document())  # noqa: PT017 - either way
    finally:
        for name in [name for name in os.environ if name.startswith("FRAUDSTREAM_")]:
            del os.environ[name]
        os.environ.update(before)


def _printable(data: bytes) -> None:
    """No text moves the cursor, changes a colour or turns the direction of a terminal."""
    shown = printable(data.decode("utf-8", "surrogateescape"))
    assert all(c.isprintable() or c == "\n" for c in shown)
    shown.encode()


def _rows() -> pa.Table:
    rows = [{**GOOD, "transaction_id": f"t-{n}", "merchant_id": "m"} for n in range(3)]
    return pa.Table.from_pylist(rows)


def _parquet(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink)
    return sink.getvalue()


_CSV = (",".join(GOOD) + "\n" + "\n".join(f'"t-{n}",u,2025-03-01T12:30:00Z,1.5,ios,"Paris, France",Lyon,0' for n in range(3))).encode()  # fmt: skip
_STRAY = b'\nt-9,u,2025-03-01T12:30:00Z,1.5,"15 inch,Paris,Lyon,0\nt-10,u,2025-03-01T12:30:00Z,1.5,15",Paris,Lyon,0'
_LAST = b"guard,u,2025-03-01T12:30:00Z,1.5,ios,Paris,Lyon,0"
_GUARDS = {
    ".csv": (",".join(GOOD).encode(), _LAST),
    ".tsv": ("\t".join(GOOD).encode(), _LAST.replace(b",", b"\t")),
}
"""By the kind of file its header, and a row that must come through."""
_FILES = (
    b"\x00" + _CSV,
    b"\x00" + _CSV + _STRAY,
    b"\x01" + _CSV.replace(b",", b"\t"),
    b"\x02" + b"\n".join(message(transaction_id=f"t-{n}") for n in range(3)),
    b"\x03" + _parquet(_rows()),
    b"\x03" + _parquet(_rows().set_column(2, "timestamp", pa.array([0, 1, 2], pa.timestamp("ns")))),
    b"\x03" + _parquet(_rows().set_column(3, "amount", pa.array([1, 2, 3], pa.decimal128(9, 2)))),
)
_JSON = (
    b"null", b"true", b"1e999", b"-0.0", b"9" * 30, b'"\\u0000"', b'"\\ud800"', b"{", b"[", b"]", b"}", b'"', b"\\", b",",
    b"\xff", b"0001-01-01T00:00:00+14:00", b"9999-12-31T23:59:60Z", b"2025-02-30", b"24:00", *(f'"{n}":'.encode() for n in FIELDS),
)  # fmt: skip

TARGETS: dict[str, Target] = {
    "decode": Target(_decode, [message(), *(value for value, _ in BAD.values() if value and len(value) < 5_000)], _JSON),
    "decide": Target(
        _decide,
        [decision(), REFUSAL, decision(flagged=True, rules=["a"]), decision(sent_at=None)],
        (*_JSON, *(f'"{name}":'.encode() for name in DECISION)),
    ),
    "replay": Target(_replay, _FILES, (*_JSON, b"\t", b"\r\n", b'""', b',"', b"\x00", b"\xef\xbb\xbf")),
    "tables": Target(_tables, _FILES, (*_JSON, b"\t", b"\r\n", b'""', b',"', b"\x00", b"\xef\xbb\xbf", b"1e308", b"nan")),
    "rules": Target(
        _rules,
        [
            b"- name: a\n  condition: amount > 1\n  reason: much {amount:.2f}\n  severity: low\n",
            (Path(__file__).parents[2] / "src/fraudstream/rules/example.yaml").read_bytes(),
        ],
        (b"&a", b"*a", b"!!python/object:os.system", b"|\n", b">\n", b"{", b"}", b"\\x1b", b'"', b"'", b"? ", b"- ", b"\t", b"\xe2\x80\xa8", b"{{", b"{amount:", b"---\n"),
    ),
    "archive": Target(_archive, [PACKED], (b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06", b"PK\x06\x06", b"../", b"\xff\xff\xff\xff")),
    "trees": Target(_trees, [packing.unpack_files(PACKED, "seed")[artifact.TREES]], (b"PAR1", b"\xff\xff\xff\x7f", b"fraudstream")),
    "manifest": Target(_manifest, [packing.unpack_files(PACKED, "seed")[artifact.MANIFEST]], (*_JSON, b"NaN", b"Infinity")),
    "settings": Target(
        _settings,
        [b"\x00\x01=x\n\x00\x05=SASL_SSL\n\x00\x06=SCRAM-SHA-256\n\x00\x07=me", b"\x00\x10=5432\n\x00\x04={}"],
        (b"{}", b"[]", b'{"a": 1}', b"null", b"true", b"-1", b"1e999", b"nan", b"inf", b"\xff", b"=", b"\n"),
    ),
    "printable": Target(_printable, ["é\x1b[31m\u202e\u2028\x07\x9b".encode()], (b"\x1b]0;", b"\xe2\x80\xae", b"\xed\xa0\x80")),
}  # fmt: skip
