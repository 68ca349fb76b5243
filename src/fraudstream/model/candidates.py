"""The estimators to choose from: built-in ones with their hyperparameters, and those of other packages."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from typing import Any

from fraudstream.errors import FraudstreamError, InputError
from fraudstream.features.definitions import FEATURES, SEED
from fraudstream.model.algorithms import (
    LABEL_FREE,
    Estimator,
    GradientBoostingEstimator,
    IsolationForestEstimator,
    RandomForestEstimator,
)

GROUP = "fraudstream.estimators"
"""Entry points of this group are estimators: a name, and a callable without arguments that creates a new one."""


@dataclass(frozen=True)
class Candidate:
    """One algorithm with one set of hyperparameters, which creates new estimators."""

    algorithm: str
    parameters: dict[str, Any]
    uses_labels: bool
    features: tuple[str, ...]
    make: Callable[[], Estimator] = field(repr=False)

    @property
    def name(self) -> str:
        """Algorithm and parameters, for reports; the algorithm alone if there was no choice."""
        inside = ", ".join(f"{name}={value}" for name, value in self.parameters.items())
        return f"{self.algorithm}({inside})" if inside else self.algorithm


GRID: dict[str, tuple[dict[str, Any], ...]] = {
    # Only one: without labels there is nothing to choose by.
    "isolation_forest": ({},),
    "gradient_boosting": (
        {"learning_rate": 0.05, "max_iter": 500, "l2_regularization": 5.0},
        {"learning_rate": 0.03, "max_iter": 300, "l2_regularization": 20.0},
    ),
    "random_forest": ({"max_depth": 12, "min_samples_leaf": 10},),
}
_CLASSES: dict[str, Callable[..., Estimator]] = {
    "isolation_forest": IsolationForestEstimator,
    "gradient_boosting": GradientBoostingEstimator,
    "random_forest": RandomForestEstimator,
}
BUILT_IN = tuple(GRID)
SEED_PARAMETERS: dict[str, Any] = {
    "n_estimators": 100,
    "max_samples": 256,
    "contamination": 0.1,
    "random_state": 42,
    "one_sided": False,
}
"""The seed system's isolation forest; 256 is scikit-learn's `auto` for 256 rows or more."""


def candidates(
    algorithm: str,
    features: Sequence[str],
    *,
    chosen: bool = False,
    parameters: dict[str, Any] | None = None,
) -> tuple[Candidate, ...]:
    """The candidates of an algorithm, with those of `features` that it can use.

    `chosen` says that the user named the features: then all are used, and it is an error if one cannot be.
    `parameters` are hyperparameters of a built-in algorithm, to use instead of its grid.
    Raises InputError for an unknown algorithm, or features that it cannot use.
    """
    if algorithm in GRID:
        taken, grid = tuple(features), GRID[algorithm]
        if algorithm == "isolation_forest":
            taken = _label_free(features, chosen=chosen)
            grid = (SEED_PARAMETERS,) if chosen and tuple(features) == SEED else grid
        return tuple(_built_in(algorithm, one, taken) for one in ((parameters,) if parameters else grid))
    factory, labels = registered(algorithm)
    if not labels:
        features = tuple(f for f in features if f not in FEATURES or not FEATURES[f].uses_labels)
    return (Candidate(algorithm, {}, labels, tuple(features), factory),)


def _label_free(features: Sequence[str], *, chosen: bool) -> tuple[str, ...]:
    if not chosen:
        return tuple(f for f in features if f in LABEL_FREE)
    labelled = [f for f in features if f in FEATURES and FEATURES[f].uses_labels]
    if labelled:
        raise InputError(
            f"isolation_forest is label-free and cannot use {', '.join(labelled)}.",
            hint="Leave them out, or choose gradient_boosting or random_forest.",
        )
    return tuple(features)


def _built_in(algorithm: str, parameters: dict[str, Any], features: tuple[str, ...]) -> Candidate:
    make = _CLASSES[algorithm]
    return Candidate(
        algorithm,
        parameters,
        algorithm != "isolation_forest",
        features,
        lambda: make(features, **parameters),
    )


def registered(name: str) -> tuple[Callable[[], Estimator], bool]:
    """The factory of a user's own estimator, and whether it uses labels. Raises InputError if it is missing or fails."""
    found = entry_points(group=GROUP)
    if name not in found.names:
        known = ", ".join(("auto", *BUILT_IN, *sorted(found.names)))
        raise InputError(
            f"There is no algorithm {name}.",
            hint=f"Available: {known}. One of your own is an entry point of the group {GROUP}; see docs/model.md.",
        )
    try:
        factory: Callable[[], Estimator] = found[name].load()
        estimator = factory()
    except FraudstreamError:
        raise
    except Exception as error:
        raise InputError(
            f"The estimator {name} ({found[name].value}) cannot be created: {type(error).__name__}: {error}",
            hint="It is called with no arguments and must return an object with fit(X, y) and risk(X).",
        ) from error
    if not isinstance(estimator, Estimator):
        raise InputError(
            f"The estimator {name} ({found[name].value}) has no fit(X, y) and risk(X).",
            hint="docs/model.md shows one.",
        )
    return factory, bool(getattr(estimator, "uses_labels", True))
