"""The environment of the programs that tests start."""

import os


def without_settings() -> dict[str, str]:
    """That of the tests, with no setting of the one who runs them."""
    return {name: value for name, value in os.environ.items() if not name.startswith("FRAUDSTREAM_")}
