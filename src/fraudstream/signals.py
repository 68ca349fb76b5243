"""The signals that end a command: Ctrl-C, SIGTERM and a closed terminal."""

import _thread
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


class Interrupt(KeyboardInterrupt):
    """What a handler raises to end a command.

    A class of its own, as Python records a bare KeyboardInterrupt that escapes `exec` of source code, which dataclasses and
    Pydantic call while a module loads, and then dies of SIGINT at its exit, even if the exception was caught.
    """


def ask(stop: threading.Event) -> None:
    """Set `stop` from a signal handler.

    A handler runs in the main thread, possibly while that holds the event's lock, as it briefly does in
    every `stop.wait(0.1)`: `stop.set()` would then deadlock, and the command could only be killed. So
    another thread sets it, started with `_thread`, as `threading.Thread.start` takes locks, too.
    """
    _thread.start_new_thread(stop.set, ())


@contextmanager
def heard(handler: Callable[[int, FrameType | None], object]) -> Iterator[None]:
    """Handle these signals with `handler` during the block, then restore the previous handlers. For the main thread only.

    If a closed terminal is ignored, as by `nohup`, that is unchanged.
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


@contextmanager
def stop_on_signals() -> Iterator[threading.Event]:
    """An event that these signals set, so that a stream ends between two steps, not within one.

    Call it after Spark has started, as Spark installs its own handler, which would cancel its jobs.
    """
    stop = threading.Event()
    with heard(lambda *_: ask(stop)):
        yield stop


@contextmanager
def stopping(stop: threading.Event) -> Iterator[None]:
    """Make the first of these signals set `stop`; a second one interrupts immediately. Does nothing in other threads.

    An exception at an arbitrary point would leave it unknown whether a message was accepted, and `sent` would be a guess.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    before = False

    def asked(_signal: int, _frame: FrameType | None) -> None:
        nonlocal before
        if before or stop.is_set():
            raise Interrupt
        before = True
        ask(stop)

    with heard(asked):
        yield
