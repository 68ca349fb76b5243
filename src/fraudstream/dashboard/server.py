"""The process of the dashboard: `python -m fraudstream.dashboard.server`, which `launch.started` starts.

It is `streamlit run app.py`, and a thread that ends it when whoever started it is gone.
"""

import os
import signal
import sys
import threading
from pathlib import Path

APP = Path(__file__).with_name("app.py")


def _end_with_parent() -> None:
    sys.stdin.buffer.read()  # returns when the last holder of the other end has closed it
    os.kill(os.getpid(), signal.SIGTERM)


def main() -> None:
    """Serve until SIGTERM, SIGINT or the end of stdin."""
    from streamlit.web import cli

    threading.Thread(target=_end_with_parent, daemon=True).start()
    cli.main(["run", str(APP)], prog_name="streamlit")


if __name__ == "__main__":
    main()
