"""The signals that end a command: Ctrl-C, SIGTERM and a closed terminal."""

import _thread
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import CodeType, FrameType
from typing import Final, NoReturn

WHOLE: Final[set[CodeType]] = set()
"""Functions that a signal must not break off, as what they have done would not be known. They register themselves, and call
`handle_late` where they have done nothing yet."""
AGAIN_SECONDS: Final = 0.01
"""Seconds after which a signal that met such a function is sent again, in case no other call follows."""
PATIENCE: Final = 20
"""Number of times that a signal may meet the same call. After that the call waits in the system and has done nothing: it is
broken off, as a command must end even if nobody reads what it writes."""

_late: set[int] = set()
"""Signals whose Interrupt met such a function, and is still to be raised."""


class Interrupt(KeyboardInterrupt):
    """What a handler raises to end a command.

    A class of its own, as Python records a bare KeyboardInterrupt that escapes `exec` of source code, which dataclasses and
    Pydantic call while a module loads, and then dies of SIGINT at its exit, even if the exception was caught.
    """


def interrupt(_signal: int, _frame: FrameType | None) -> NoReturn:
    """End what runs, from a signal handler."""
    raise Interrupt


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

    If a closed terminal is ignored, as by `nohup`, that is unchanged. An Interrupt that `handler` would raise within a function
    in WHOLE is raised once that has returned, at the end of the block at the latest.
    """
    met: FrameType | None = None
    times = 0

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal met, times
        try:
            handler(number, frame)
        except Interrupt:
            whole = _whole(frame)
            times = times + 1 if whole is met else 0
            met = whole
            if whole is None or times == PATIENCE:
                raise
            _late.add(number)
            _thread.start_new_thread(_again, (threading.get_ident(), number))

    numbers = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        numbers.append(signal.SIGHUP)
    before = {number: signal.signal(number, handle) for number in numbers}
    try:
        try:
            yield
        finally:
            handle_late()
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)


def _whole(frame: FrameType | None) -> FrameType | None:
    """The call of a function in WHOLE that has begun its work, if a signal came there, or in the handler of another one."""
    while frame is not None and frame.f_code not in WHOLE:
        # Such a function calls it before it begins.
        frame = None if frame.f_code is handle_late.__code__ else frame.f_back
    return frame


def handle_late() -> None:
    """Raise the Interrupt that met a function in WHOLE. In other threads, which handle no signals, it does nothing."""
    if _late and threading.current_thread() is threading.main_thread():
        for number in tuple(_late):
            if _taken(number):
                signal.raise_signal(number)


def _again(thread: int, number: int) -> None:
    """Send a signal of _late again, to its thread, which may wait in the system."""
    time.sleep(AGAIN_SECONDS)
    if _taken(number):
        signal.pthread_kill(thread, number)


def _taken(number: int) -> bool:
    """Whether the signal is the caller's to send. Sent by two threads it would mean impatience (`stopping`)."""
    try:
        _late.remove(number)
    except KeyError:
        return False
    return True


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
