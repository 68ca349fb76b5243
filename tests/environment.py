"""The environment of the programs that tests start."""

import os
from pathlib import Path

import platformdirs


def without_settings() -> dict[str, str]:
    """That of the tests, with no setting of the one who runs them."""
    return {name: value for name, value in os.environ.items() if not name.startswith("FRAUDSTREAM_")}


def jar_cache() -> Path:
    """The jar cache of the person who runs the tests: nothing is downloaded twice."""
    return Path(
        os.environ.get("FRAUDSTREAM_JARS") or Path(platformdirs.user_cache_dir("fraudstream")) / "jars"
    )
