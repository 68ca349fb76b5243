"""A calendar of the road's own, which can be put forward and back under everything that runs."""

import os
import shutil
import struct
import subprocess
from dataclasses import dataclass
from pathlib import Path

SOURCE = Path(__file__).with_name("clock.c")


@dataclass(frozen=True)
class Clock:
    """What processes that start while it is `worn` read as the time of day."""

    library: Path

    @classmethod
    def build(cls, place: Path) -> "Clock":
        """Compile it into `place`, which every user may read. Raises RuntimeError without a C compiler."""
        compiler = shutil.which("cc")
        if compiler is None:
            raise RuntimeError("the campaign needs a C compiler, cc, for a clock that jumps")
        clock = cls(place / "clock.so")
        clock.put(0)
        subprocess.run(
            [compiler, "-O2", "-Wall", "-Werror", "-shared", "-fPIC", "-o", clock.library, SOURCE], check=True
        )
        return clock

    def wear(self) -> None:
        """All that this process starts from now on, services included, goes by this clock. This process does not."""
        os.environ["LD_PRELOAD"] = str(self.library)

    def take_off(self) -> None:
        """What starts from now on goes by the true time, and does not hold the library open."""
        del os.environ["LD_PRELOAD"]

    def put(self, ahead: int) -> None:
        """So many seconds ahead of the true time, or behind it where negative; at once and for all."""
        file = self.library.with_name(f"{self.library.name}.ahead")
        # In place and in one write: processes have mapped the file, and read it at any moment.
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT, 0o644)
        try:
            os.pwrite(descriptor, struct.pack("q", ahead), 0)
        finally:
            os.close(descriptor)
