"""The campaign: faults in a row while everything runs, then every row counted.

    make faults            (PYTHONPATH=tests python -m campaign.run --faults 100 --seed 1)

The same seed draws the same faults in the same order; what they meet is up to the machine. Exits with 1 where a row
was lost, doubled or changed, and leaves the home with all logs for whoever looks for the reason.
"""

import argparse
import json
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from campaign.faults import KINDS, Kind
from campaign.road import COMMANDS, Road
from campaign.sent import documents
from campaign.verdict import Verdict, judge
from fraudstream.kafka import bounds, find_topic
from fraudstream.settings import KafkaSettings, PostgresSettings, Settings
from fraudstream.store.connection import connect


def main() -> int:
    """Run the campaign that the command line asks for."""
    # A shell has what it runs in the background ignore Ctrl-C, and whatever that starts would ignore it as well, until it
    # has handlers of its own: a command that is ended just after its start would not hear of it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--faults", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rest", type=float, default=4.0, help="mean seconds between two faults")
    parser.add_argument("--only", default="", help="faults whose names have this in them")
    parser.add_argument("--jars", type=Path, default=None, help="the jar cache")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    kinds = [kind for kind in KINDS if options.only in kind.name]
    if not kinds:
        parser.error(f"--only must be part of one of: {', '.join(kind.name for kind in KINDS)}")
    home = Path(tempfile.mkdtemp(prefix="fraudstream-campaign-"))
    home.chmod(0o755)
    road = Road(
        Settings(
            _env_file=None,
            home=home,
            jars=options.jars or Settings(_env_file=None).jar_cache,
            kafka=KafkaSettings(),
            postgres=PostgresSettings(),
        )
    )
    began, verdict = time.monotonic(), None
    try:
        done = campaign(road, kinds, options.faults, options.seed, options.rest)
        verdict = judge(road.settings, list(documents(road.printed("produce"))))
    finally:
        road.close(keep=verdict is None or not verdict.ok)
    report = {
        "seed": options.seed,
        "faults": options.faults,
        "kinds": dict(done.most_common()),
        "restarts": road.restarts,
        "seconds": round(time.monotonic() - began),
        **asdict(verdict),
    }
    tell(report, verdict, as_json=options.json)
    return 0 if verdict.ok else 1


def campaign(road: Road, kinds: Sequence[Kind], count: int, seed: int, rest: float) -> Counter[str]:
    """Everything runs, `count` faults happen, everything comes to rest. Returns how often each of `kinds` was drawn."""
    chance = random.Random(seed)
    road.open()
    say(f"history and a model, in {road.home}")
    road.once("produce", "--days", "10", "--history-only", "--users", "500")
    road.once("consume", "--once")
    road.once("train", "--algorithm", "isolation_forest")
    for name in COMMANDS:
        road.start(name)
    road.await_answers()  # faults before that would all meet a start
    done: Counter[str] = Counter()
    for number in range(1, count + 1):
        kind = chance.choices(kinds, [k.weight for k in kinds])[0]
        say(f"{number:>3} {kind.name}")
        kind.fault(road, chance)
        done[kind.name] += 1
        time.sleep(chance.expovariate(1 / rest))
        road.supervise()
    road.proxy.mend()
    road.up()
    settle(road)
    return done


def settle(road: Road) -> None:
    """No new payments; the scorer answers what is there, the consumer stores it."""
    if "produce" in road.running:
        road.end("produce")
    road.supervise()
    deadline = time.monotonic() + 600
    while (waiting := unanswered(road)) > 0:
        if time.monotonic() > deadline:
            raise RuntimeError(f"{waiting} messages have no answer after ten minutes")
        time.sleep(2)
        road.supervise()
    for name in list(road.running):
        road.end(name)
    road.once("consume", "--once")


def unanswered(road: Road) -> int:
    """Messages above the offsets that the scorer knows to be answered."""
    settings = road.settings
    topic = find_topic(settings.kafka, settings.kafka.transactions_topic)
    if topic is None:
        return 0
    with connect(settings.postgres) as connection:
        stood: dict[int, int] = dict(
            connection.execute(
                "select partition, next_offset from shop.stream_offsets where target = 'score' and topic_id = %s",
                (topic.topic_id,),
            ).fetchall()
        )
    return sum(
        bound.end - stood.get(partition, 0) for partition, bound in bounds(settings.kafka, topic).items()
    )


def say(text: str) -> None:
    """Narration."""
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {text}\n")


def tell(report: dict[str, object], verdict: Verdict, *, as_json: bool) -> None:
    """The result, on stdout."""
    if as_json:
        sys.stdout.write(json.dumps(report, indent=2) + "\n")
        return
    checked = ", ".join(f"{count:,} {table}" for table, count in verdict.rows.items())
    sys.stdout.write(
        f"{report['faults']} faults survived, {report['restarts']} restarts, {report['seconds']} s\n"
        f"checked: {checked}\n"
        f"{verdict.lost} rows lost, {verdict.doubled} doubled, {verdict.changed} changed\n"
    )
    for finding in verdict.findings:
        sys.stdout.write(f"  {finding}\n")


if __name__ == "__main__":
    sys.exit(main())
