"""A long search for bytes that break a door: `make fuzz MINUTES=60`.

With atheris (`pip install -e '.[fuzz]'`) the search follows the branches that bytes reach; without it, it mutates at
random. What is found is written to tests/fuzz/findings, where the ordinary tests try it ever after.
"""

import argparse
import hashlib
import re
import subprocess
import sys
import tempfile
import time
from importlib import util
from pathlib import Path
from random import Random

sys.path.insert(0, str(Path(__file__).parents[1]))
FINDINGS = Path(__file__).parent / "findings"
LONGEST = 20_000
"""Bytes of an input; what is longer only slows the search."""
SLOW_SECONDS = 20
"""An input that takes longer is a finding: a message must not stop the stream."""
MEMORY_MB = 4_096
_COUNTED = re.compile(r"stat::number_of_executed_units: +(\d+)")
MOST = 5
"""Findings of one target in one run: mend those first."""


def main() -> None:
    """Search all targets, each in a process of its own and for its share of the time; exit 1 where something was found."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument(
        "--target", action="append", help="One of the targets; may be repeated. All without it."
    )
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--scratch", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.one:
        _search(chosen.one, chosen.minutes * 60, chosen.seed, chosen.scratch)
        return
    from fuzz.targets import TARGETS

    names = chosen.target or list(TARGETS)
    print(
        f"{len(names)} targets, {chosen.minutes * 60 / len(names):.0f} s each, seed {chosen.seed}", flush=True
    )
    found = sum(_supervise(name, chosen.minutes / len(names), chosen.seed) for name in names)
    print(f"{found} findings" + (f" in {FINDINGS}" if found else ""))
    sys.exit(1 if found else 0)


def _supervise(name: str, minutes: float, seed: int) -> int:
    """Search one target until its time is over; each finding ends its process, and another one goes on."""
    end, found, tried = time.monotonic() + minutes * 60, 0, 0
    directory = FINDINGS / name
    with tempfile.TemporaryDirectory(prefix="fuzz-") as scratch:
        while (left := end - time.monotonic()) > 1 and found < MOST:
            before = set(directory.glob("*"))
            command = [sys.executable, __file__, "--one", name, "--scratch", scratch]
            command += ["--minutes", str(left / 60), "--seed", str(seed + found)]
            done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
            tried += sum(map(int, _COUNTED.findall(done.stderr)))
            if done.returncode == 0:
                break
            found += 1
            new = sorted(path.name for path in set(directory.glob("*")) - before)
            print(f"  {name}: FOUND {', '.join(new)}\n{done.stderr[-3_000:]}", flush=True)
    print(f"  {name}: {tried:,} inputs, {found} findings", flush=True)
    return found


def _search(name: str, seconds: float, seed: int, scratch: Path) -> None:
    """Search in this process, which ends with 0 where nothing was found."""
    (FINDINGS / name).mkdir(parents=True, exist_ok=True)
    (_guided if util.find_spec("atheris") else _random)(name, seconds, seed, scratch)


def _random(name: str, seconds: float, seed: int, _scratch: Path) -> None:
    from fuzz.mutate import mutants
    from fuzz.targets import TARGETS

    target, end = TARGETS[name], time.monotonic() + seconds
    for count, data in enumerate(mutants(target.seeds, target.words, Random(seed))):
        if time.monotonic() > end:
            sys.stderr.write(f"stat::number_of_executed_units: {count}\n")
            return
        try:
            target.check(data)
        except BaseException:
            (FINDINGS / name / f"crash-{_digest(data)}").write_bytes(data)
            raise


def _guided(name: str, seconds: float, seed: int, scratch: Path) -> None:
    """Hand over to libFuzzer, which ends this process."""
    import atheris

    with atheris.instrument_imports(include=["fraudstream", "yaml", "zipfile", "json"]):
        from fuzz.targets import TARGETS
    target, corpus, words = TARGETS[name], scratch / "corpus", scratch / "words"
    corpus.mkdir(exist_ok=True)
    for data in target.seeds:
        (corpus / _digest(data)).write_bytes(data)
    spelled = ("".join(f"\\x{byte:02x}" for byte in word) for word in target.words if word)
    words.write_text("".join(f'"{word}"\n' for word in spelled))
    options = [
        f"-max_total_time={max(int(seconds), 1)}", f"-seed={seed}", f"-max_len={LONGEST}", f"-dict={words}",
        f"-timeout={SLOW_SECONDS}", f"-rss_limit_mb={MEMORY_MB}", f"-artifact_prefix={FINDINGS / name}/",
        "-print_final_stats=1",
    ]  # fmt: skip
    atheris.Setup([sys.argv[0], *options, str(corpus)], target.check)
    atheris.Fuzz()


def _digest(data: bytes) -> str:
    """A name for bytes."""
    return hashlib.sha1(data, usedforsecurity=False).hexdigest()


if __name__ == "__main__":
    main()
