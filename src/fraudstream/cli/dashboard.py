"""`fraudstream dashboard`: the Streamlit application."""

from typing import Annotated

import typer


def dashboard(
    host: Annotated[
        str | None,
        typer.Option(help="Address to listen on; one that other machines can reach needs a password."),
    ] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on.")] = None,
) -> None:
    """Serve the web pages: overview, alert review, models, pipeline. Runs until Ctrl-C."""
    from fraudstream.dashboard.launch import started
    from fraudstream.settings import load

    with started(load(dashboard={"host": host, "port": port}).dashboard) as running:
        typer.echo(f"The dashboard is on {running.url}; stop it with Ctrl-C.")
        running.wait()
