"""The process of the dashboard: `python -m fraudstream.dashboard.server`, which `launch.started` starts.

It is `streamlit run asgi.py`, and a thread that ends it when its parent is gone.
"""

import os
import signal
import sys
import threading
from pathlib import Path

APP = Path(__file__).with_name("asgi.py")
STDIN = 0
EMPTY = ("--server.baseUrlPath=", "--server.sslCertFile=", "--server.sslKeyFile=")
"""Streamlit's settings that would move the pages to another address. An empty variable does not override them."""


def _end_with_parent() -> None:
    # Reads end of file once nobody holds the other end. Not through sys.stdin, on whose lock the interpreter would wait
    # forever at its exit.
    while os.read(STDIN, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def main() -> None:
    """Serve until SIGTERM, SIGINT or the end of stdin."""
    from streamlit.web import cli

    threading.Thread(target=_end_with_parent, daemon=True).start()
    # The arguments after `--` are `sys.argv` of the pages.
    cli.main(["run", *EMPTY, str(APP), "--", *sys.argv[1:]], prog_name="streamlit")


if __name__ == "__main__":
    main()
