"""The signals that end a command: Ctrl-C, SIGTERM and a closed terminal."""

import _thread
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


class Interrupt(KeyboardInterrupt):
    """What a handler raises to end a command.

    A class of its own, as Python notes a bare KeyboardInterrupt that leaves `exec` of a text, which dataclasses and
    Pydantic call while a module loads, and then dies of SIGINT at its very end, even if the exception was caught.
    """


def ask(stop: threading.Event) -> None:
    """Set `stop` from within a handler.

    A handler runs inside the main thread, perhaps just while that holds the event's lock, as it does for a moment in
    every `stop.wait(0.1)`: `stop.set()` would then wait for itself for ever, and the command could only be killed. So
    another thread sets it, started below `threading`, whose `Thread.start` takes locks, too.
    """
    _thread.start_new_thread(stop.set, ())


@contextmanager
def heard(handler: Callable[[int, FrameType | None], object]) -> Iterator[None]:
    """Inside the block `handler` takes them; afterwards whoever had them before. For the main thread alone.

    A closed terminal that is ignored stays ignored: `nohup` means it.
    """
    numbers = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        numbers.append(signal.SIGHUP)
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)
