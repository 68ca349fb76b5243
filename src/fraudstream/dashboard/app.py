"""The script that Streamlit runs for every session and every click; `launch.started` serves it."""

from typing import Any

import streamlit as st

from fraudstream.dashboard import alerts, gate, launch, model, overview, pipeline, shell
from fraudstream.errors import FraudstreamError

HERE = launch.THEME.parent


def main() -> None:
    """Ask for the password if there is one, then show the page that the address names."""
    st.set_page_config(page_title="fraudstream", page_icon=str(HERE / "mark.svg"), layout="wide")
    shell.html(shell.STYLE)
    try:
        settings = shell.settings().dashboard
        is_open = gate.is_open(settings)
    except FraudstreamError as error:
        st.error(f"{error.message} {error.hint}")
        return
    # Registered before the password prompt, too: otherwise Streamlit forgets which page was requested.
    page = st.navigation(_pages(), position="top" if is_open else "hidden")
    if not is_open:
        gate.ask(settings)
        return
    st.logo(str(HERE / "logo.svg"), size="large")
    page.run()


def _pages() -> list[Any]:
    queue = st.Page(alerts.page, title="Alerts", url_path="alerts", icon=":material/flag:")
    return [
        st.Page(
            lambda: overview.page(queue),
            title="Overview",
            url_path="overview",
            icon=":material/monitoring:",
            default=True,
        ),
        queue,
        st.Page(model.page, title="Model", url_path="model", icon=":material/account_tree:"),
        st.Page(pipeline.page, title="Pipeline", url_path="pipeline", icon=":material/stream:"),
    ]


main()
