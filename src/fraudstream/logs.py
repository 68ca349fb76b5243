"""Narration: what a command does while it works, on stderr. Data goes to stdout, never through here."""

import logging
import sys

ROOT = "fraudstream"


def get_logger(name: str) -> logging.Logger:
    """The logger of one room of the program, for example `spark.consumer`."""
    return logging.getLogger(f"{ROOT}.{name}")


def configure(*, debug: bool = False, quiet: bool = False) -> None:
    """Send the program's narration to stderr: plain on a pipe, coloured on a terminal.

    `quiet` keeps warnings and errors only.
    """
    logger = logging.getLogger(ROOT)
    logger.handlers.clear()
    logger.propagate = False
    logger.setLevel(logging.DEBUG if debug else logging.WARNING if quiet else logging.INFO)
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.logging import RichHandler

        handler: logging.Handler = RichHandler(
            console=Console(stderr=True),
            show_path=debug,
            show_level=debug,
            markup=False,
            omit_repeated_times=False,
        )
        handler.setFormatter(logging.Formatter("%(message)s"))
    else:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logger.addHandler(handler)
