"""The `fraudstream` program: its commands, and the one place where an error is printed."""

import os
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from fraudstream import __version__, logs, signals
from fraudstream.cli import (
    alerts,
    bench,
    config,
    consume,
    convert,
    dashboard,
    demo,
    forget,
    health,
    label,
    models,
    output,
    produce,
    rejected,
    roles,
    rules,
    score,
    services,
    stdio,
    train,
)
from fraudstream.errors import ExitCode, FraudstreamError, ReaderGone, SettingsError, UsageError

app = typer.Typer(
    name="fraudstream",
    help="Catch fraud in a stream of card transactions.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
PANELS: dict[str, tuple[Callable[..., None] | typer.Typer, ...]] = {
    "Explore": (demo.demo, dashboard.dashboard, alerts.group, label.label),
    "Stream": (produce.produce, convert.convert, consume.consume, *consume.ALIASES, rejected.group),
    "Model": (train.train, train.evaluate, models.group, score.score, rules.group, health.health),
    "Operate": (
        services.up,
        services.status,
        services.down,
        services.reset,
        services.doctor,
        services.jars,
        roles.group,
        forget.forget,
        config.group,
        bench.bench,
    ),
}
"""The commands of `--help`, by what they are for."""

for panel, entries in PANELS.items():
    for entry in entries:
        if isinstance(entry, typer.Typer):
            app.add_typer(entry, rich_help_panel=panel)
        else:
            app.command(rich_help_panel=panel)(entry)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"fraudstream {__version__}")
        raise typer.Exit


LOG_FORMAT = "FRAUDSTREAM_LOG_FORMAT"


def _log_format() -> logs.LogFormat:
    """The log format if no flag sets it, read here as the log begins before settings are loaded.

    They would cost each `--help` a tenth of a second. An unreadable `.env` is reported when they are loaded.
    """
    given = {name.upper(): value for name, value in os.environ.items()}.get(LOG_FORMAT)
    file = Path(".env")
    with suppress(OSError, UnicodeDecodeError):
        if not given and LOG_FORMAT in file.read_text(encoding="utf-8").upper():
            from dotenv import dotenv_values

            found = dotenv_values(file, encoding="utf-8")
            given = {name.upper(): value for name, value in found.items()}.get(LOG_FORMAT)
    try:
        return logs.LogFormat(given or logs.LogFormat.TEXT)
    except ValueError:
        raise SettingsError(
            f"{LOG_FORMAT} is neither {' nor '.join(logs.LogFormat)}.",
            hint="Set it to one of these in the environment or in .env, or unset it.",
        ) from None


@app.callback()
def options(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks and debug messages.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Only warnings on stderr.")] = False,
    log_format: Annotated[
        logs.LogFormat | None,
        typer.Option(envvar=LOG_FORMAT, help="Format of the log on stderr.", show_default="text"),
    ] = None,
    version: Annotated[  # noqa: ARG001 - the callback answers
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Catch fraud in a stream of card transactions."""
    logs.configure(debug=debug, quiet=quiet, log_format=log_format or _log_format())


def run(arguments: list[str]) -> ExitCode | int:
    """Run one command and return its exit code; every error is printed here, as a sentence or as JSON."""
    code: ExitCode | int = ExitCode.DONE
    try:
        # SIGTERM and a closed terminal end a command as Ctrl-C does: it still reports what it did.
        with suppress(ReaderGone), signals.heard(signals.interrupt):
            code = _obey(arguments)
            # A full disk is still reported as an error here; at the interpreter's exit it would not be.
            sys.stdout.flush()
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    except Exception as error:  # noqa: BLE001 - the last one who can say what happened
        if "--debug" in arguments:
            _tell_in_full(error)
        ours = _as_ours(error)
        output.print_error(ours, as_json="--json" in arguments)
        return ours.exit_code
    return code


def _tell_in_full(error: Exception) -> None:
    if logs.is_structured():
        logs.get_logger("cli").debug("what led to the error", exc_info=error)
    else:
        print(logs.printable("".join(traceback.format_exception(error))), end="", file=sys.stderr)  # noqa: T201


def _obey(arguments: list[str]) -> ExitCode | int:
    try:
        return int(app(arguments, prog_name="fraudstream", standalone_mode=False) or 0)
    except (KeyboardInterrupt, typer.Abort):
        return ExitCode.INTERRUPTED


def _as_ours(error: Exception) -> FraudstreamError:
    """Any error as a FraudstreamError; an unexpected one is a bug of ours."""
    if isinstance(error, FraudstreamError):
        return error
    if isinstance(error, typer.TyperException):
        return _usage_error(error)
    return FraudstreamError(
        f"{type(error).__name__}: {error}",
        hint="This is a bug in fraudstream. Run the command again with `fraudstream --debug …` and report it.",
    )


def _usage_error(error: typer.TyperException) -> UsageError:
    """Typer's error about the command line, as one of ours."""
    context = getattr(error, "ctx", None)
    command = context.command_path if context else "fraudstream"
    message = error.format_message() if hasattr(error, "format_message") else str(error)
    return UsageError(message, hint=f"`{command} --help` lists what it takes.")


def main() -> NoReturn:
    """Entry point of the `fraudstream` program."""
    if sys.platform == "win32":
        sys.exit(
            "fraudstream runs on Linux and macOS. On Windows, use WSL: https://learn.microsoft.com/windows/wsl"
        )
    stdio.prepare()
    code = run(sys.argv[1:])
    stdio.let_go()
    sys.exit(code)
