"""What is done to the road. Each fault ends by itself: services run again, wires are good, nobody sleeps."""

import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from random import Random

import psutil
from confluent_kafka import Producer

from campaign.road import TRIGGER_SECONDS, Road
from fraudstream.kafka import client_config
from samples import BAD

ZEROS = bytes(1 << 20)
POISON = [value for value, _ in BAD.values() if len(value or b"") < 1_000_000]
"""What a topic takes that nobody set up for larger messages; the largest have a test of their own."""
Fault = Callable[[Road, Random], None]


def kill_command(name: str) -> Fault:
    """Kill -9 of a command's own process."""
    return lambda road, _chance: road.kill(name)


def kill_under_load(road: Road, chance: Random) -> None:
    """Kill -9 of a scorer that has begun and answers what comes, at any moment between two hand-overs."""
    road.await_answers()
    time.sleep(chance.uniform(0, float(TRIGGER_SECONDS)))
    family = road.family("score")
    road.kill("score")
    # Else the next kill might take the last words of this JVM for answers of the one after it.
    psutil.wait_procs(family, 60)


def kill_below(name: str, words: str) -> Fault:
    """Kill -9 of a process below a command whose command line holds `words`; of the command where there is none."""

    def fault(road: Road, chance: Random) -> None:
        found = [process for process in road.family(name)[1:] if words in _command_line(process)]
        if not found:
            road.kill(name)
            return
        with suppress(psutil.NoSuchProcess):
            chance.choice(found).kill()

    return fault


def pause_command(name: str, longest: float) -> Fault:
    """SIGSTOP of a command and all below it for up to `longest` seconds."""

    def fault(road: Road, chance: Random) -> None:
        _pause(road.family(name), chance.uniform(1, longest))

    return fault


def pause_server(name: str, longest: float) -> Fault:
    """SIGSTOP of a service for up to `longest` seconds."""

    def fault(road: Road, chance: Random) -> None:
        server = road.server(name)
        if server is not None:
            _pause([server, *server.children(recursive=True)], chance.uniform(1, longest))

    return fault


def stop_postgres(road: Road, chance: Random) -> None:
    """SIGQUIT, which PostgreSQL calls an immediate stop: no checkpoint, recovery at the next start."""
    _stop_server(road, "postgres", signal.SIGQUIT, chance)


def kill_kafka(road: Road, chance: Random) -> None:
    """Kill -9 of the broker."""
    _stop_server(road, "kafka", signal.SIGKILL, chance)


def fill_disk(road: Road, chance: Random) -> None:
    """No byte is left on the disk of the services, which stop or fall; without such a disk both are killed."""
    if not road.has_disk:
        stop_postgres(road, chance)
        kill_kafka(road, chance)
        return
    filler = road.home / "filler"
    # By writing: the services write, too, so how much is left is known to nobody beforehand.
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        while file.write(ZEROS):
            pass
    time.sleep(chance.uniform(2, 10))
    filler.unlink()
    road.up()


def cut(road: Road, chance: Random) -> None:
    """The line to PostgreSQL breaks."""
    road.proxy.cut()
    time.sleep(chance.uniform(0.1, 8))
    road.proxy.mend()


def silence(road: Road, chance: Random) -> None:
    """The line to PostgreSQL is up and carries nothing."""
    road.proxy.silence()
    time.sleep(chance.uniform(1, 20))
    road.proxy.mend()


def slow(road: Road, chance: Random) -> None:
    """Every packet to and from PostgreSQL takes up to 0.3 s longer."""
    road.proxy.slow(chance.uniform(0.05, 0.3))
    time.sleep(chance.uniform(2, 10))
    road.proxy.mend()


def jump(longest: float) -> Fault:
    """The clock of the machine is up to `longest` seconds off, either way, and is then put right: two jumps."""

    def fault(road: Road, chance: Random) -> None:
        # As many short jumps as long ones: what goes wrong for a second is not what goes wrong for hours.
        ahead = round(longest ** chance.random()) * chance.choice((-1, 1))
        road.clock.put(ahead)
        time.sleep(chance.uniform(2, 20))
        road.clock.put(0)

    return fault


def poison(road: Road, chance: Random) -> None:
    """A handful of messages that are no transactions."""
    producer = Producer(client_config(road.settings.kafka))
    for value in chance.sample(POISON, 5):
        producer.produce(road.settings.kafka.transactions_topic, value, key=b"poison")
    if producer.flush(60):
        raise RuntimeError("the poison was not delivered: the broker is away for good")


@dataclass(frozen=True)
class Kind:
    """A fault with its name and how often it is drawn."""

    name: str
    fault: Fault
    weight: int = 1


KINDS = (
    Kind("kill -9 consume", kill_command("consume"), 3),
    Kind("kill -9 the JVM of consume", kill_below("consume", "org.apache.spark"), 2),
    Kind("kill -9 a Python worker of consume", kill_below("consume", "spark.daemon"), 2),
    Kind("kill -9 score", kill_command("score"), 2),
    Kind("kill -9 score under load", kill_under_load, 1),
    Kind("kill -9 the JVM of score", kill_below("score", "org.apache.spark"), 2),
    Kind("kill -9 produce", kill_command("produce"), 1),
    Kind("immediate stop of PostgreSQL", stop_postgres, 3),
    Kind("kill -9 the broker", kill_kafka, 2),
    Kind("pause consume", pause_command("consume", 20), 1),
    Kind("pause score", pause_command("score", 20), 1),
    Kind("pause PostgreSQL", pause_server("postgres", 20), 1),
    Kind("pause the broker", pause_server("kafka", 50), 1),
    Kind("fill the disk of both services", fill_disk, 1),
    Kind("cut the line to PostgreSQL", cut, 2),
    Kind("silence the line to PostgreSQL", silence, 1),
    Kind("slow the line to PostgreSQL", slow, 1),
    Kind("poison", poison, 2),
    Kind("jumps of the clock", jump(12 * 3600), 2),
)
"""Fifty seconds are longer than Kafka's session time-out of 45."""


def _command_line(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def _pause(processes: list[psutil.Process], seconds: float) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.suspend()
    time.sleep(seconds)
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.resume()


def _stop_server(road: Road, name: str, number: signal.Signals, chance: Random) -> None:
    server = road.server(name)
    if server is not None:
        server.send_signal(number)
        with suppress(psutil.NoSuchProcess):
            server.wait(60)
    time.sleep(chance.uniform(0, 6))
    road.up()
