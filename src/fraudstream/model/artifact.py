"""A trained model as files: written completely or not at all, and read only after its checksums match.

    manifest.json      what the model is, what it learned from and how it was evaluated
    trees.parquet      the exact trees (not for a user's own estimators); read without unpickling
    estimator.joblib   the Python estimator, for Python users; unpickled only on demand
    curve.png          precision-recall curve, for people
    SHA256SUMS         `sha256sum -c` format, over the others

Checksums detect damage and mix-ups. They do not prove who wrote the files: never open an estimator that you do not trust.
"""

import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from fraudstream.errors import InputError
from fraudstream.features.definitions import FEATURES
from fraudstream.model.algorithms import Estimator
from fraudstream.model.manifest import AGAIN, read_manifest
from fraudstream.model.risk import checked_risk
from fraudstream.model.trees import Ensemble

if TYPE_CHECKING:
    from fraudstream.arrays import Floats

MANIFEST, TREES, ESTIMATOR, SUMS = "manifest.json", "trees.parquet", "estimator.joblib", "SHA256SUMS"
CURVE = "curve.png"
FILES = frozenset({MANIFEST, TREES, ESTIMATOR, CURVE, SUMS})
"""Everything that a model may have."""
MOST_BYTES = 2**31
"""Limit in bytes: larger models are not read."""
MOST_NODES = 2_000_000
"""Limit of nodes in all trees together, twice a forest of ten thousand full trees. Parquet can encode a billion in 10 kB."""


@dataclass(frozen=True)
class Model:
    """A model whose checksums were verified. `files` are its bytes by name."""

    manifest: dict[str, Any]
    files: Mapping[str, bytes]

    @property
    def version(self) -> str:
        """Its name."""
        return str(self.manifest["version"])

    @property
    def features(self) -> tuple[str, ...]:
        """The columns that it needs, in order."""
        return tuple(self.manifest["features"])

    @property
    def threshold(self) -> float:
        """Risk from which a transaction is flagged."""
        return float(self.manifest["threshold"])

    @property
    def algorithm(self) -> str:
        """What it was trained with."""
        return str(self.manifest["algorithm"])

    @property
    def alert_rate(self) -> float:
        """Share of all transactions that the threshold was set to flag."""
        return float(self._said(self.manifest, "alert_rate"))

    @property
    def label_delay_days(self) -> float:
        """Days after which a label was known in its training."""
        return float(self._said(self.manifest, "label_delay_days"))

    @property
    def learned_until(self) -> datetime:
        """The end of its training data. Raises InputError if it has no zone: it could be hours earlier or later."""
        until = datetime.fromisoformat(self._said(self.manifest.get("training", {}), "until"))
        if until.tzinfo is None:
            raise InputError(
                f"The manifest of model {self.version} has an until without a time zone.", hint=AGAIN
            )
        return until

    def _said(self, part: Mapping[str, Any], name: str) -> Any:
        """A value of the manifest that is needed now. Raises InputError if it is missing."""
        if part.get(name) is None:
            raise InputError(f"The manifest of model {self.version} has no {name}.", hint=AGAIN)
        return part[name]

    def trees(self) -> Ensemble | None:
        """The exact trees, or None for a user's own estimator. Nothing is unpickled."""
        if TREES not in self.files:
            return None
        try:
            ensemble = Ensemble.from_table(_nodes(self.files[TREES]))
        except (InputError, pa.ArrowException, OSError, UnicodeDecodeError) as error:
            raise InputError(
                f"The trees of model {self.version} cannot be read: {error}", hint=AGAIN
            ) from None
        if ensemble.features != self.features:
            raise InputError(
                f"The trees of model {self.version} need other features than its manifest names.", hint=AGAIN
            )
        return ensemble

    def estimator(self) -> Estimator:
        """The Python estimator, unpickled. Raises InputError for a scikit-learn other than the one that trained it."""
        import joblib

        check_scikit_learn(self.manifest)
        if ESTIMATOR not in self.files:
            raise InputError(f"Model {self.version} has neither trees nor an estimator.", hint=AGAIN)
        try:
            estimator = joblib.load(io.BytesIO(self.files[ESTIMATOR]))
        except (ImportError, AttributeError) as error:
            raise InputError(
                f"Model {self.version} needs a package that is not installed: {error}.",
                hint="Install the package that contains its estimator.",
            ) from None
        except Exception as error:  # unpickling runs the estimator's own code, which may raise anything
            raise InputError(
                f"The estimator of model {self.version} cannot be opened: {type(error).__name__}: {error}",
                hint="Train the model again, with the estimator's package as it is installed here.",
            ) from error
        if not isinstance(estimator, Estimator):
            raise InputError(
                f"Model {self.version} contains a {type(estimator).__name__}, which is not an estimator.",
                hint=AGAIN,
            )
        return estimator

    def scorer(self) -> "Estimator | Ensemble":
        """What computes the risk: the trees, or the estimator if there are none. Loaded on every call, so keep it."""
        return self.trees() or self.estimator()

    def risk(self, x: "Floats") -> "Floats":
        """Risk (n,) of rows (n, features), from the trees if there are any. Raises InputError if it is invalid."""
        return checked_risk(self.scorer(), x, f"Model {self.version}")


def _nodes(content: bytes) -> pa.Table:
    """The table of `trees.parquet`. Raises InputError if it has more nodes than any valid model."""
    # Single-threaded: a process that ends soon afterwards may abort while a thread of Arrow's is still running
    # (apache/arrow issue 34314).
    with pq.ParquetFile(pa.BufferReader(content), pre_buffer=False) as file:
        if file.metadata.num_rows > MOST_NODES:
            raise InputError(f"they have more nodes than any valid model: {file.metadata.num_rows:,}.")
        return file.read(use_threads=False)


def files_of(
    manifest: dict[str, Any], estimator: Estimator, ensemble: Ensemble | None, curve: bytes | None = None
) -> dict[str, bytes]:
    """The files of a model; the manifest gains `sha256` of its companions.

    Raises InputError if the estimator cannot be pickled.
    """
    import joblib

    files: dict[str, bytes] = {} if curve is None else {CURVE: curve}
    if ensemble is not None:
        sink = io.BytesIO()
        pq.write_table(ensemble.to_table(), sink, compression="zstd")
        files[TREES] = sink.getvalue()
    sink = io.BytesIO()
    try:
        joblib.dump(estimator, sink, compress=3)
    except Exception as error:  # pickling runs the user's own code, which may raise anything
        raise InputError(
            f"The estimator {manifest['algorithm']} cannot be saved: {type(error).__name__}: {error}",
            hint="Define its class in an importable module, and keep open files and locks out of it.",
        ) from error
    files[ESTIMATOR] = sink.getvalue()
    manifest = {**manifest, "sha256": {name: _sha256(content) for name, content in files.items()}}
    files[MANIFEST] = (json.dumps(manifest, indent=2, allow_nan=False) + "\n").encode()
    sums = "".join(f"{_sha256(content)}  {name}\n" for name, content in sorted(files.items()))
    return {**files, SUMS: sums.encode()}


def verified(files: Mapping[str, bytes], source: str) -> Model:
    """The model of these files, checked but not unpickled; `source` names them in errors.

    Raises InputError if a file is missing or altered, or if the manifest requires another version of this program.
    """
    if SUMS not in files or MANIFEST not in files:
        raise InputError(
            f"{source} is not a model.", hint="Give a directory that `fraudstream train --output` wrote."
        )
    for line in files[SUMS].decode(errors="replace").splitlines():
        digest, _, name = line.partition("  ")
        if name not in files:
            raise InputError(f"{source} lacks {name or 'a file that its checksums name'}.", hint=AGAIN)
        if _sha256(files[name]) != digest:
            raise InputError(
                f"{name} of {source} was altered: its sha256 is not the one recorded.",
                hint="It was not loaded. Copy the model again from its source, or train it again.",
            )
    named = covered(files[SUMS])
    stray = sorted(set(files) - named - {SUMS})
    if stray:
        raise InputError(f"{', '.join(stray)} of {source} is not covered by its checksums.", hint=AGAIN)
    manifest = read_manifest(files[MANIFEST], source)
    check_features(manifest)
    return Model(manifest, {name: files[name] for name in named})


def covered(sums: bytes) -> set[str]:
    """The names in a list of checksums."""
    return {line.partition("  ")[2] for line in sums.decode(errors="replace").splitlines()}


def check_features(manifest: dict[str, Any]) -> None:
    """Raise InputError if a feature of the model does not exist here; only names are compared, not meanings."""
    unknown = [name for name in manifest["features"] if name not in FEATURES]
    if unknown:
        raise InputError(
            f"Model {manifest['version']} needs features that this fraudstream does not have: {', '.join(unknown)}.",
            hint="Use the version that trained it, or train it again.",
        )


def check_scikit_learn(manifest: dict[str, Any]) -> None:
    """Raise InputError if the estimator was trained with another scikit-learn (major.minor)."""
    import sklearn

    made = str(manifest.get("versions", {}).get("scikit-learn", "unknown"))
    if _minor(made) != _minor(sklearn.__version__):
        raise InputError(
            f"Model {manifest['version']} was trained with scikit-learn {made}, and this is {sklearn.__version__}.",
            hint=f"Train it again, or install scikit-learn {_minor(made)}.",
        )


def _minor(version: str) -> str:
    return ".".join(version.split(".")[:2])


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
