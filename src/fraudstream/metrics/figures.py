"""Figures that are read on demand, for example from a database."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import groupby

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector


@dataclass(frozen=True, slots=True)
class Figure:
    """A current number; figures with the same name are consecutive and have the same labels."""

    name: str
    meaning: str
    value: float
    labels: Mapping[str, str] = field(default_factory=dict)


class Figures(Collector):
    """Collects the current results of `look`."""

    def __init__(self, look: Callable[[], Iterable[Figure]]) -> None:
        self._look = look

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """One family per name."""
        for name, group in groupby(self._look(), lambda figure: figure.name):
            figures = list(group)
            labels = list(figures[0].labels)
            family = GaugeMetricFamily(f"fraudstream_{name}", figures[0].meaning, labels=labels)
            for figure in figures:
                family.add_metric([figure.labels[label] for label in labels], figure.value)
            yield family

    def describe(self) -> Iterator[GaugeMetricFamily]:
        """Empty, so that registration reads no figures."""
        return iter(())
