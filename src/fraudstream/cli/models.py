"""`fraudstream models`: the registry of models."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fraudstream.cli import inputs
from fraudstream.cli.output import Json, print_document, print_table
from fraudstream.errors import InputError
from fraudstream.logs import get_logger

if TYPE_CHECKING:
    from fraudstream.store.registry import Registered

log = get_logger("models")

group = typer.Typer(
    name="models", help="The model registry: which models exist, and which one scores.", no_args_is_help=True
)

Version = Annotated[str, typer.Argument(help="Version, as listed by `fraudstream models list`.")]
Champion = Annotated[
    str | None, typer.Argument(help="Version, as listed by `models list`; default: the champion.")
]

LISTED = ("average_precision", "roc_auc", "card_precision_100")
"""The metrics in the list of models."""


@group.command("list")
def list_models(as_json: Json = False) -> None:
    """Show every model, the newest first."""
    from fraudstream.model.figures import FIGURES
    from fraudstream.store import registry

    found = registry.models(inputs.database())
    for model in found:
        if model.trouble:
            log.warning("%s %s", model.trouble, registry.RESTORE)
    if as_json:
        print_document({"models": [_summary(model) for model in found]})
        return
    rows = [
        (model.version, model.status, model.algorithm, *(_figure(model, name) for name in LISTED))
        for model in found
    ]
    # All that fits into 80 columns, the width of a pipe; the version is also the time at which the model was made.
    columns = ("version", "status", "algorithm", *(FIGURES[name].short for name in LISTED))
    print_table(f"Models: {len(found):,}", columns, rows, whole=columns)
    if found:
        typer.echo(
            "AP: average precision. AUC: area under the ROC curve. CP@100: card precision at 100 a day."
        )


@group.command()
def show(version: Champion = None, as_json: Json = False) -> None:
    """Show what a model is, what it learned from and how it was evaluated."""
    from fraudstream.store import registry

    model = registry.get(inputs.database(), version)
    if model.trouble:
        raise InputError(model.trouble, hint=registry.RESTORE)
    if as_json:
        print_document(_summary(model) | {"manifest": model.manifest})
        return
    manifest = model.manifest
    rows = [
        *_summary(model).items(),
        *((name, manifest[name]) for name in ("threshold", "features") if name in manifest),
    ]
    rows += [(name, manifest[name]) for name in ("training", "parameters", "versions") if name in manifest]
    print_table(f"Model {model.version}", ("what", "value"), rows)


@group.command()
def promote(version: Version, as_json: Json = False) -> None:
    """Make a model the champion, the one that scores; `rollback` restores the previous one."""
    from fraudstream.store import registry

    postgres = inputs.database()
    registry.opened(postgres, version).scorer()  # one that cannot be used here must not reach the stream
    _report(registry.promote(postgres, version), as_json=as_json)


@group.command()
def rollback(as_json: Json = False) -> None:
    """Restore the previous champion."""
    from fraudstream.store import registry

    _report(registry.rollback(inputs.database()), as_json=as_json)


@group.command()
def export(
    output: Annotated[Path, typer.Option("--output", "-o", help="Directory; a model there is replaced.")],
    version: Champion = None,
    as_json: Json = False,
) -> None:
    """Write a model as files: manifest, tree tables, estimator and their checksums."""
    from fraudstream.model import folder, packing
    from fraudstream.store import registry

    model, packed = registry.load(inputs.database(), version)
    files = packing.unpack_files(packed, f"model {model.version} in the registry")
    folder.write(files, output)
    if as_json:
        print_document(_summary(model) | {"output": str(output), "files": sorted(files)})
    else:
        typer.echo(f"model {model.version} written to {output}: {', '.join(sorted(files))}")


def _report(model: "Registered", *, as_json: bool) -> None:
    if as_json:
        print_document(_summary(model))
    else:
        typer.echo(f"model {model.version} ({model.algorithm}) is now the champion")


def _summary(model: "Registered") -> dict[str, Any]:
    return {
        "version": model.version,
        "status": model.status.value,
        "algorithm": model.algorithm,
        "created_at": model.created_at.isoformat(),
        "promoted_at": model.promoted_at.isoformat() if model.promoted_at else None,
        "sha256": model.sha256,
        "metrics": model.manifest.get("metrics", {}),
        **({"trouble": model.trouble} if model.trouble else {}),
    }


def _figure(model: "Registered", name: str) -> str:
    value = model.manifest.get("metrics", {}).get(name)
    return f"{value:.3f}" if isinstance(value, float) else "-"
