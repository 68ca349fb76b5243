"""The demo's display: live on a terminal, a line for each event anywhere else."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from time import monotonic
from typing import TYPE_CHECKING, Protocol

from fraudstream.logs import get_logger, on_one_line
from fraudstream.reasons.phrases import money
from fraudstream.store.alerts import LISTED, Alert
from fraudstream.store.glance import Glance
from fraudstream.store.labels import verdict_word

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

log = get_logger("demo")


@dataclass(frozen=True, slots=True)
class Scene:
    """The contents of the screen."""

    glance: Glance
    newest: Sequence[Alert]
    """The newest first: a few, as many as the display has room for."""
    new: Sequence[Alert]
    """All since the scene before, in the order of the decisions."""
    seconds: float
    """Since the start of the live stream."""
    speed: float
    model: str
    """The champion, in a few words."""
    dashboard: str | None = None
    """The address of the dashboard."""


class Watcher(Protocol):
    """Displays the progress; see `Terminal` and `Lines`."""

    def step(self, doing: str, usual_seconds: float) -> AbstractContextManager[None]:
        """A context around one long step."""

    def watching(self) -> AbstractContextManager[None]:
        """A context around the live stream."""

    def show(self, scene: Scene) -> None:
        """Show the state of the stream; called about once a second."""


def result(glance: Glance) -> str:
    """The precision and recall of the alerts so far, in a sentence."""
    judged = glance.right + glance.wrong
    if not judged:
        return "no outcome is known yet"
    return (
        f"{glance.right} of {judged} alerts were fraud; {glance.right} of {glance.frauds} frauds were found"
    )


def latency(glance: Glance) -> str:
    """The latency of decisions; the latest ones separately, as those of the first seconds waited for Spark to compile."""
    if glance.p50_ms is None:
        return "-"
    whole = f"p50 {glance.p50_ms:,.0f} ms, p99 {glance.p99_ms:,.0f} ms"
    lately = glance.p99_lately_ms
    return whole if lately is None else f"{whole} (in the last 30 s: {lately:,.0f} ms)"


def figures(scene: Scene) -> list[tuple[str, str]]:
    """The figures of the stream with their names."""
    glance = scene.glance
    rate = glance.decisions / scene.seconds if scene.seconds else 0.0
    return [
        ("decisions", f"{glance.decisions:,} ({rate:,.1f} a second)"),
        ("latency", latency(glance)),
        ("alerts", f"{glance.alerts:,}"),
        ("so far", result(glance)),
        ("model", scene.model),
        ("clock", f"{scene.speed:,.0f} times real time"),
    ]


def headline(alert: Alert) -> str:
    """What was flagged, in a line."""
    return on_one_line(f"{money(alert.amount, alert.currency)} by {alert.user_id}, risk {alert.risk:.2f}")


def picture(scene: Scene) -> "RenderableType":
    """The whole screen."""
    from rich.console import Group
    from rich.panel import Panel
    from rich.table import Table
    from rich.text import Text

    stream = Table.grid(padding=(0, 2))
    for name, value in figures(scene):
        stream.add_row(Text(name, style="dim"), Text(value))
    alerts = Table(box=None, show_header=False, padding=(0, 1), expand=True)
    alerts.add_column(width=10, style="dim")
    alerts.add_column()
    for alert in scene.newest:
        truth = (verdict_word(alert.truth), "red" if alert.truth else "green")
        said = Text.assemble((headline(alert), "bold"), "  ", truth)
        for sentence in alert.sentences[:LISTED]:
            said.append(f"\n  {sentence}")  # Text, so that untrusted strings are not markup
        alerts.add_row(f"{alert.timestamp:%b %d %H:%M}", said)
    waiting = Text("Waiting for the first alert …", style="dim")
    parts: list[RenderableType] = [
        Panel(stream, title="fraudstream demo", title_align="left"),
        Panel(alerts if scene.newest else waiting, title="newest alerts", title_align="left"),
        Text(footer(scene), style="dim"),
    ]
    return Group(*parts)


def footer(scene: Scene) -> str:
    """What to do next."""
    pages = f"Review alerts: {scene.dashboard}   " if scene.dashboard else ""
    return f"{pages}Stop with Ctrl-C."


@dataclass
class Terminal:
    """A live display on a terminal."""

    console: "Console"
    _live: object = field(default=None, init=False)

    @contextmanager
    def step(self, doing: str, usual_seconds: float) -> Iterator[None]:
        """A spinner during the step, a line at its end."""
        began = monotonic()
        with self.console.status(f"{doing} (about {usual_seconds:.0f} s)"):
            yield
        self.console.print(f"[green]done[/] {doing} in {monotonic() - began:.1f} s", highlight=False)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """The live display, which stays on the screen afterwards."""
        from rich.live import Live

        with Live(console=self.console, refresh_per_second=4) as live:
            self._live = live
            yield

    def show(self, scene: Scene) -> None:
        """Redraw the display."""
        from rich.live import Live

        if isinstance(self._live, Live):
            self._live.update(picture(scene))


class Lines:
    """A line on stderr for each step, and each alert once: for pipes, files and CI."""

    @contextmanager
    def step(self, doing: str, usual_seconds: float) -> Iterator[None]:
        """A line before and after."""
        began = monotonic()
        log.info("%s (about %.0f s)", doing, usual_seconds)
        yield
        log.info("done: %s in %.1f s", doing, monotonic() - began)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Nothing to prepare."""
        yield

    def show(self, scene: Scene) -> None:
        """Log each new alert."""
        for alert in scene.new:
            log.info("ALERT %s: %s", headline(alert), "; ".join(alert.sentences[:LISTED]))
