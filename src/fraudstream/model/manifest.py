"""Reads a model's manifest: what it says has the types that its readers rely on, and what it lacks is missing, not null."""

from datetime import datetime
from typing import Annotated, Any

import msgspec

from fraudstream.errors import InputError

FORMAT = 1
"""Incremented whenever older versions cannot read newer files."""
AGAIN = "Train the model again."

_Name = Annotated[str, msgspec.Meta(min_length=1)]
_Figures = dict[str, float | tuple[float, float] | None]


class _Training(msgspec.Struct, rename={"since": "from"}):
    since: datetime | None = None
    until: datetime | None = None
    rows: int = 0
    judged: int = 0
    frauds: int = 0


class _Fold(msgspec.Struct):
    train_until: datetime
    test_from: datetime
    test_until: datetime
    transactions: int
    frauds: int
    baselines: dict[str, _Figures]


class _Kind(msgspec.Struct):
    frauds: int
    recall_at_budget: float


class _Tenth(msgspec.Struct):
    risk: float
    fraud: float
    transactions: int


class _Curve(msgspec.Struct):
    value: list[float]
    usual: list[float]
    flagged: list[float]


class _Reference(msgspec.Struct):
    edges: list[float] = []
    shares: list[float] = []


class _Manifest(msgspec.Struct):
    """Everything that somebody reads. Manifests of earlier versions lack some of it."""

    version: _Name = "unknown"
    algorithm: _Name = "unknown"
    features: list[str] = []
    threshold: float = 0.0
    alert_rate: float = 0.0
    label_delay_days: float = 0.0
    tier: str = ""
    training: _Training = msgspec.field(default_factory=_Training)
    versions: dict[str, str] = {}
    parameters: dict[str, Any] = {}
    metrics: _Figures = {}
    baselines: dict[str, _Figures] = {}
    folds: list[_Fold] = []
    scenarios: dict[str, _Kind] = {}
    curves: dict[str, list[float]] = {}
    calibration: list[_Tenth] = []
    calibration_flagged: list[_Tenth] = []
    importance: dict[str, float] = {}
    dependence: dict[str, _Curve] = {}
    score_reference: _Reference = msgspec.field(default_factory=_Reference)
    notes: list[str] = []


def read_manifest(content: bytes, source: str) -> dict[str, Any]:
    """The manifest of a model's files; `source` names them in errors.

    Raises InputError if it cannot be read, or is not for this version.
    """
    try:
        found = msgspec.json.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _unreadable(source, f"not JSON: {error}") from None
    manifest = checked(found, source)
    missing = [
        name for name in ("version", "algorithm", "features", "threshold", "format") if name not in manifest
    ]
    if missing:
        raise _unreadable(source, f"it has no {' and no '.join(missing)}")
    if manifest["format"] != FORMAT:
        raise InputError(
            f"{source} has format {manifest['format']}; this fraudstream reads format {FORMAT}.",
            hint="Train the model again with this version.",
        )
    return manifest


def checked(found: Any, source: str) -> dict[str, Any]:
    """The manifest from its JSON. Raises InputError if a value is not what its readers expect."""
    if not isinstance(found, dict):
        raise _unreadable(source, "it is not a JSON object")
    manifest = {name: value for name, value in found.items() if value is not None}
    try:
        msgspec.convert(manifest, _Manifest)
    except (msgspec.ValidationError, RecursionError) as error:
        raise _unreadable(source, str(error)) from None
    return manifest


def _unreadable(source: str, reason: str) -> InputError:
    return InputError(f"The manifest of {source} cannot be read: {reason}.", hint=AGAIN)
