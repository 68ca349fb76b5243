"""`fraudstream up`, `status`, `down`, `reset`, `doctor` and `jars fetch`: the embedded services."""

from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from fraudstream.cli.output import Json, print_document, print_table
from fraudstream.cli.questions import agreed
from fraudstream.errors import ExitCode

jars = typer.Typer(
    name="jars", help="The jars of Kafka and of Spark's Kafka connector.", no_args_is_help=True
)


def up(as_json: Json = False) -> None:
    """Start Kafka and PostgreSQL on this machine, in the background."""
    from fraudstream.local import services
    from fraudstream.settings import load_bare

    endpoints = services.up(load_bare())
    if as_json:
        print_document(endpoints.document() | {"started": endpoints.started})
        return
    rows = (
        ("Kafka", endpoints.bootstrap_servers, "kafka" in endpoints.started),
        ("PostgreSQL", f"{endpoints.host}:{endpoints.port}", "postgres" in endpoints.started),
    )
    for name, address, started in rows:
        typer.echo(f"{name} {'runs' if started else 'is already running'} on {address}")


def status(as_json: Json = False) -> None:
    """Show whether the embedded services run, and where."""
    from fraudstream.local import services
    from fraudstream.settings import load_bare

    document = services.status(load_bare())
    if as_json:
        print_document(document)
        return
    kafka, postgres = document["kafka"], document["postgres"]
    address = f"{postgres['host']}:{postgres['port']}" if postgres["running"] else ""
    rows = (
        ("Kafka", _running(kafka["running"]), kafka["bootstrap_servers"] or "", kafka["log"]),
        ("PostgreSQL", _running(postgres["running"]), address, postgres["log"]),
    )
    print_table(f"Services in {document['home']['path']}", ("service", "state", "address", "log"), rows)


def down(as_json: Json = False) -> None:
    """Stop Kafka and PostgreSQL; their data is kept."""
    from fraudstream.local import services
    from fraudstream.settings import load_bare

    stopped = services.down(load_bare())
    if as_json:
        print_document({"stopped": stopped, "deleted": False})
    else:
        _say_stopped(stopped)


def reset(
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")] = False,
    as_json: Json = False,
) -> None:
    """Stop Kafka and PostgreSQL and delete all their data; the cache of jars and Java classes is kept."""
    from fraudstream.local import binaries, services
    from fraudstream.settings import load_bare

    settings = load_bare()
    if not yes and not agreed(f"Delete all transactions, models and topics in {settings.home}?"):
        raise typer.Exit(ExitCode.FAILED)
    stopped, cache = services.reset(settings), settings.jar_cache
    kept, copies = _size(cache), binaries.copies()
    if as_json:
        left = [str(path) for path in ([cache] if kept else []) + copies]
        print_document({"stopped": stopped, "deleted": True, "kept": left})
        return
    _say_stopped(stopped)
    typer.echo("All data is deleted.")
    if kept:
        typer.echo(
            f"Kept: {cache} ({kept / 1e6:,.0f} MB), the jars and the archives of Java classes that later starts"
            " need. If you delete it, they are downloaded and made again."
        )
    for copy in copies:
        typer.echo(
            f"Kept: {copy} ({_size(copy) / 1e6:,.0f} MB), PostgreSQL's programs for all homes of root. If you delete it"
            " while no embedded PostgreSQL runs, they are copied again."
        )


def doctor(as_json: Json = False) -> None:
    """Check everything that a first run needs, and say how to fix what is missing."""
    from fraudstream.local.doctor import examine
    from fraudstream.settings import load

    checks = examine(load())
    healthy = all(check.ok for check in checks)
    if as_json:
        print_document({"ok": healthy, "checks": [asdict(check) for check in checks]})
    else:
        rows = ((check.name, "ok" if check.ok else "FAILED", check.detail, check.hint) for check in checks)
        print_table("Checks", ("check", "result", "found", "what to do"), rows)
    raise typer.Exit(ExitCode.DONE if healthy else ExitCode.FAILED)


@jars.command()
def fetch(as_json: Json = False) -> None:
    """Fetch the jars into the cache, so that later commands need no network."""
    from fraudstream.local.jars import kafka_jars, spark_jars
    from fraudstream.settings import load

    settings = load()
    found = kafka_jars(settings) + spark_jars(settings)
    document = {
        "cache": str(settings.jar_cache),
        "jars": len(found),
        "bytes": sum(p.stat().st_size for p in found),
    }
    if as_json:
        print_document(document)
    else:
        typer.echo(f"{document['jars']} jars, each with its published sha256, in {document['cache']}")


def _size(folder: Path) -> int:
    """Bytes of the files in it; files that vanish meanwhile, such as an archive being renamed, are skipped."""
    found = 0
    for file in folder.rglob("*"):
        with suppress(OSError):
            found += file.stat().st_size if file.is_file() else 0
    return found


def _running(running: bool) -> str:
    return "running" if running else "not running"


def _say_stopped(stopped: tuple[str, ...]) -> None:
    names = {"kafka": "Kafka", "postgres": "PostgreSQL"}
    said = " and ".join(names[name] for name in stopped)
    typer.echo(f"Stopped {said}." if said else "Nothing was running.")
