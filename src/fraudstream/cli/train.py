"""`fraudstream train` and `fraudstream evaluate`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fraudstream.cli import inputs
from fraudstream.cli.options import Map, StoredSince
from fraudstream.cli.output import Json, print_document, print_table
from fraudstream.errors import FraudstreamError, InputError, UsageError
from fraudstream.logs import get_logger

if TYPE_CHECKING:
    from fraudstream.model.artifact import Model
    from fraudstream.model.training import Trained
    from fraudstream.settings import PostgresSettings

log = get_logger("train")

Data = Annotated[
    Path | None,
    typer.Option(
        "--data",
        help="CSV, Parquet or NDJSON with user_id, timestamp, amount; further fields enable further features. Default: what is stored in PostgreSQL.",
    ),
]
Delay = Annotated[
    float | None,
    typer.Option(
        "--label-delay-days",
        min=0.04,
        max=365,
        show_default="FRAUDSTREAM_MODEL__LABEL_DELAY_DAYS, else 7",
        help="Days until it is known whether a payment was fraud.",
    ),
]
ALERT_RATE = 0.005
"""The default alert rate."""
Rate = Annotated[
    float | None,
    typer.Option(
        "--alert-rate",
        min=0.000001,
        max=1.0,
        show_default=str(ALERT_RATE),
        help="Alert budget: share of transactions that may be flagged.",
    ),
]


def train(
    data: Data = None,
    mapping: Map = None,
    since: StoredSince = None,
    algorithm: Annotated[
        str,
        typer.Option(
            help="auto, isolation_forest, gradient_boosting, random_forest, or one of your own (docs/model.md)."
        ),
    ] = "auto",
    features: Annotated[
        str | None,
        typer.Option(
            help="Feature names separated by commas, or `seed` for amount, device_freq and location_change."
        ),
    ] = None,
    label_delay_days: Delay = None,
    alert_rate: Rate = None,
    alerts_per_day: Annotated[
        float | None,
        typer.Option(min=0.001, help="Alert budget as alerts a day; overrides --alert-rate."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", help="Directory for the model's files; a model there is replaced."),
    ] = None,
    curve: Annotated[Path | None, typer.Option("--curve", help="PNG of precision against recall.")] = None,
    as_json: Json = False,
) -> None:
    """Train a model, and evaluate it on later transactions next to two baselines.

    Learns from what is stored in PostgreSQL, or from --data. Adds the model to the registry, where the first one
    scores at once and later ones wait for `models promote`; with --output it goes to files and needs no database.
    Payments within the last label delay set the threshold and are not used for training, whatever their labels say.
    """
    from fraudstream import outputs
    from fraudstream.model import artifact, folder, training

    delay = _delay(label_delay_days)
    names, algorithm = _features(features, algorithm)
    # What could fail afterwards is checked first: training takes minutes, and its model exists nowhere else.
    if output is not None:
        folder.check_target(output)
    if curve is not None:
        outputs.check_writable(curve, "--curve", replaced=False)
    postgres = inputs.database() if output is None else None
    rows, source = inputs.transactions(data, mapping, since, postgres)
    request = training.Request(
        algorithm, names, alert_rate or ALERT_RATE, alerts_per_day, label_delay_days=delay
    )
    trained = training.train(rows, request, source, champion=_champion(postgres))
    if output is not None:
        folder.write(trained.files, output)
        log.info("model %s written to %s", trained.report["version"], output)
    if postgres is not None:
        _register(postgres, trained)
    if curve is not None:
        _write_curve(curve, trained.files.get(artifact.CURVE))
    _show(trained.report | {"source": source}, as_json=as_json)


def _champion(postgres: "PostgresSettings | None") -> "Model | None":
    """The model to compare the new one with; None without a registry, or if it cannot be used."""
    from fraudstream.store import registry

    if postgres is None or registry.find(postgres) is None:
        return None
    try:
        return registry.opened(postgres)
    except FraudstreamError as error:
        log.warning("The new model is not compared with the champion: %s", error.message)
        return None


def _register(postgres: "PostgresSettings", trained: "Trained") -> None:
    from fraudstream.model import packing
    from fraudstream.model.scoring import other_delay
    from fraudstream.store import registry

    if warning := other_delay(trained.report, _delay(None)):
        log.warning("%s", warning)
    model = registry.register(postgres, trained.report, packing.pack(trained.files))
    if registry.find(postgres) is None:
        registry.promote(postgres, model.version)
        log.info("model %s is registered and, as the first one, champion", model.version)
    else:
        log.info(
            "model %s is registered; `fraudstream models promote %s` makes it the champion",
            model.version,
            model.version,
        )


def evaluate(
    data: Annotated[
        Path | None,
        typer.Option(
            "--data",
            help="CSV, Parquet or NDJSON of transactions, or of scores. Default: what is stored in PostgreSQL.",
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model", help="A version in the registry, or a directory that `train --output` wrote."
        ),
    ] = None,
    mapping: Map = None,
    since: StoredSince = None,
    label_delay_days: Delay = None,
    alert_rate: Rate = None,
    as_json: Json = False,
) -> None:
    """Evaluate a model on transactions later than its training data, or the column `risk` of a file.

    Without --model: the file's scores, or the champion on what is stored in PostgreSQL. A model is evaluated with the
    label delay and the alert rate that it was trained with; --label-delay-days and --alert-rate are for scores.
    """
    from fraudstream.model import artifact, finished

    inputs.refuse_since(data, since)
    if model is None and data is not None:
        delay = _delay(label_delay_days)
        loaded = inputs.load_file(data, mapping, with_risk=True)
        report = finished.evaluate_scores(loaded.rows, delay, alert_rate or ALERT_RATE)
    else:
        _only_for_scores({"--label-delay-days": label_delay_days, "--alert-rate": alert_rate})
        opened = inputs.open_model(model)
        if artifact.TREES not in opened.files:
            artifact.check_scikit_learn(opened.manifest)  # before all transactions are read
        report = finished.evaluate_model(opened, inputs.transactions(data, mapping, since)[0])
    _show(report, as_json=as_json)


def _only_for_scores(options: dict[str, float | None]) -> None:
    """Raise UsageError if one of these was given for a model: ignoring it silently would suggest that it took effect."""
    for name, value in options.items():
        if value is not None:
            raise UsageError(
                f"{name} is for a file of scores: a model is evaluated with the label delay and the alert rate that it was"
                " trained with.",
                hint=f"Leave it out, or train a model with it: `fraudstream train {name} {value:g}`.",
            )


def _delay(given: float | None) -> float:
    """The label delay of the flag, else of the settings: live profiles use the latter as well."""
    from fraudstream.settings import load_model_settings

    return load_model_settings(label_delay_days=given).label_delay_days


def _features(text: str | None, algorithm: str) -> tuple[tuple[str, ...] | None, str]:
    """The requested features, and the algorithm: the seed system's features imply the seed system's model."""
    from fraudstream.features.definitions import SEED, select

    if text is None:
        return None, algorithm
    if text == "seed":
        return SEED, "isolation_forest" if algorithm == "auto" else algorithm
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    if not names:
        raise UsageError(
            "--features is empty.", hint="Give names separated by commas; docs/features.md lists them."
        )
    try:
        return tuple(feature.name for feature in select(names)), algorithm
    except InputError as error:
        raise UsageError(error.message, hint=error.hint) from None


def _write_curve(path: Path, png: bytes | None) -> None:
    from fraudstream.outputs import writing

    if png is None:
        log.warning("no curve was drawn, as there is no evaluation")
        return
    with writing(path, "--curve"):
        path.write_bytes(png)


TIERS = {"label_free": "without labels", "labelled": "with labels", "unknown": "somewhere else"}


def _show(report: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_document(report)
        return
    _evaluation(report)
    if report["scenarios"]:
        rows = [
            (name, found["frauds"], f"{found['recall_at_budget']:.1%}")
            for name, found in report["scenarios"].items()
        ]
        print_table("Kinds of fraud", ("kind", "frauds", "found at budget"), rows)
    if report["validation"]:
        rows2 = sorted(
            (("-" if v is None else f"{v:.3f}", k) for k, v in report["validation"].items()), reverse=True
        )
        print_table("Chosen on validation windows", ("average precision", "candidate"), rows2)
    if report.get("champion"):
        from fraudstream.model.versus import sentence

        typer.echo(sentence(report["champion"]))
    for note in report["notes"]:
        log.warning("%s", note)
    version = f"model {report['version']}: " if report["version"] else ""
    threshold = "-" if report["threshold"] is None else f"{report['threshold']:.4f}"
    typer.echo(f"{version}{report['algorithm']}, flags risk ≥ {threshold}")


def _evaluation(report: dict[str, Any]) -> None:
    """Print the figures: label-free and labelled tiers separately, next to the baselines."""
    from fraudstream.model.figures import FIGURES

    ways = [(found["algorithm"], found) for found in report["tiers"].values()]
    ways += [(name, figures) for name, figures in report["baselines"].items()]
    rows = [(name, *(_cell(figures, figure) for figure in FIGURES)) for name, figures in ways]
    headings = [
        f"{figure.short} (95 %)" if any(f"{name}_interval" in found for _, found in ways) else figure.short
        for name, figure in FIGURES.items()
    ]
    folds = report["folds"]
    if not folds:
        return
    title = (
        f"Evaluated on {len(folds)} later windows, {folds[0]['test_from'][:10]} to {folds[-1]['test_until'][:10]},"
        f" {sum(f['frauds'] for f in folds):,} frauds in {sum(f['transactions'] for f in folds):,} transactions"
    )
    print_table(title, ("scored by", *headings), rows)
    for tier, found in report["tiers"].items():
        typer.echo(f"{found['algorithm']} learned {TIERS[tier]}.")


def _cell(figures: dict[str, Any], figure: str) -> str:
    value = figures[figure]
    if value is None:
        return "-"
    text = f"{value:.2%}" if figure == "alert_rate" else f"{value:.3f}"
    spread = figures.get(f"{figure}_interval")
    return f"{text} ({spread[0]:.3f}-{spread[1]:.3f})" if spread else text
