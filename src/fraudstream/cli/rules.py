"""`fraudstream rules`: check the operator's own rules, and try them on history before they go live."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fraudstream.cli import inputs
from fraudstream.cli.options import StoredSince
from fraudstream.cli.output import Json, print_document, print_table
from fraudstream.errors import InputError
from fraudstream.logs import get_logger

if TYPE_CHECKING:
    from fraudstream.model.artifact import Model
    from fraudstream.rules import Rule
    from fraudstream.settings import PostgresSettings, Settings

log = get_logger("rules")
group = typer.Typer(
    name="rules",
    help="Your own rules beside the model: check them, and try them on history.",
    no_args_is_help=True,
)

File = Annotated[
    Path | None,
    typer.Argument(help="The rules.", show_default="the file that FRAUDSTREAM_SCORE__RULES names"),
]
EXAMPLE = "example.yaml"
"""In the package `fraudstream.rules`."""


@group.command()
def check(file: File = None, as_json: Json = False) -> None:
    """Check the rules; each mistake is shown with its line and column.

    Spark parses the conditions, so this needs Java 17 to 21 and takes a few seconds; it changes nothing.
    """
    from fraudstream.rules import features_read, load_rules
    from fraudstream.settings import load, on_this_machine
    from fraudstream.spark import rules as conditions
    from fraudstream.spark.command import spark_session

    settings = load()
    path = _path(file, settings)
    rules = load_rules(path)
    with spark_session(on_this_machine(settings), "rules", brief=True) as spark:
        conditions.check(spark, rules)
    if as_json:
        found = [
            {"name": r.name, "severity": r.severity, "condition": r.condition, "features": features_read([r])}
            for r in rules
        ]
        print_document({"ok": True, "file": str(path), "rules": found})
        return
    rows = [(r.name, r.severity, " ".join(r.condition.split())) for r in rules]
    print_table(f"Rules, all valid: {len(rows):,}", ("rule", "severity", "condition"), rows)


@group.command()
def backtest(
    file: File = None,
    days: Annotated[float, typer.Option(min=0.01, max=36_500, help="How far back to look.")] = 30.0,
    since: StoredSince = None,
    as_json: Json = False,
) -> None:
    """Show what the rules would have caught: alerts, precision, and what they add to the champion model.

    Uses the last days in PostgreSQL, with the features as they were just before each transaction and with
    the conditions that Spark runs live; needs Java 17 to 21. Without FILE and the setting it tries the example.
    Payments before the last days are read for the features; --since leaves out the oldest.
    """
    from fraudstream.rules import load_rules
    from fraudstream.settings import load, on_this_machine
    from fraudstream.spark import rules as conditions
    from fraudstream.spark.backtest import backtest as run
    from fraudstream.spark.command import spark_session

    settings = load()
    path = file or settings.score.rules or _example()
    rules = load_rules(path)
    if not rules:
        raise InputError(f"{path} has no rules.", hint="`fraudstream rules example` prints some.")
    history, _ = inputs.transactions(None, None, since)
    model = _champion(settings.postgres)
    with spark_session(on_this_machine(settings), "rules", brief=True) as spark:
        ruleset, delay = conditions.RuleSet(spark, rules), settings.model.label_delay_days
        found = run(ruleset, history, model=model, days=days, label_delay_days=delay)
    document = {"file": str(path), "model_version": model.version if model else None, **found}
    if as_json:
        print_document(document)
    else:
        _show(document, rules)


@group.command()
def example() -> None:
    """Print a commented example file to start from."""
    typer.echo(_example().read_text(encoding="utf-8"), nl=False)


def _example() -> Path:
    from importlib.resources import files

    return Path(str(files("fraudstream.rules").joinpath(EXAMPLE)))


def _path(file: Path | None, settings: "Settings") -> Path:
    path = file or settings.score.rules
    if path is None:
        raise InputError(
            "No rules are set.",
            hint="Name a file, or start from `fraudstream rules example > rules.yaml` and set FRAUDSTREAM_SCORE__RULES.",
        )
    return path


def _champion(postgres: "PostgresSettings") -> "Model | None":
    from fraudstream.store import registry

    champion = registry.find(postgres)
    return inputs.open_model(champion.version) if champion else None


def _show(document: dict[str, Any], rules: "tuple[Rule, ...]") -> None:
    """Print each rule on a line, then all together, then the model."""
    together, model = document["together"], document["model"]
    lines = [(found["name"], found) for found in document["rules"]]
    if len(rules) > 1:
        lines.append(("all rules together", together))
    if model is not None:
        lines.append(("the model alone", model))
    columns = ("rule", "alerts", "a day", "precision", "recall", "added", "fraud")
    against = f", beside model {document['model_version']}" if model is not None else ""
    title = (
        f"{document['days']:.1f} days to {document['until'][:10]}: {document['transactions']:,} transactions,"
        f" {document['frauds']:,} known frauds{against}"
    )
    print_table(title, columns, [_line(name, found) for name, found in lines])
    if model is not None:
        typer.echo("added: alerts that the model does not raise; fraud: how many of those are known fraud")
    for note in document["notes"]:
        log.warning("%s", note)


def _line(name: str, found: dict[str, Any]) -> tuple[str, ...]:
    def share(value: float | None) -> str:
        return "-" if value is None else f"{value:.1%}"

    fresh = [found.get(key) for key in ("new_alerts", "new_frauds")]
    return (
        name,
        f"{found['alerts']:,}",
        f"{found['alerts_per_day']:,.1f}",
        share(found["precision"]),
        share(found["recall"]),
        *("-" if count is None else f"{count:,}" for count in fresh),
    )
