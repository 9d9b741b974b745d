"""SIGTERM, SIGUSR1 and Ctrl-C during a training: noted until its step is finished.

Only the standard library is imported, so that signals are caught while torch is not
imported yet.
"""

import mmap
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

AGAIN = b'\nStopping after this step; a second Ctrl-C stops now and saves nothing.\n'
SAVE = getattr(signal, 'SIGUSR1', None)  # not on Windows


class Stopped(BaseException):
    """A signal has ended a training; not an `Exception`, which code may catch.

    Args:
        text: What happened and how the training continues, in one sentence.
        number: The signal.
        together: Whether all processes of the training have stopped at the same step.
    """

    def __init__(self, text: str, number: int, together: bool) -> None:
        super().__init__(text)
        self.status = 128 + number  # as a shell reports it
        self.together = together


@dataclass
class Received:
    """The signals that a training has not acted on yet."""

    stop: int = 0  # the number of the signal that ends it
    save: bool = False
    running: bool = False  # a step has begun, and is finished before the training ends


received = Received()  # by this process


def name_of(number: int) -> str:
    """The name of a signal as a user knows it."""
    return 'Ctrl-C' if number == signal.SIGINT else signal.Signals(number).name


@contextmanager
def catch_signals() -> Iterator[None]:
    """Note the signals in `received`; the handlers of before are restored.

    Before the first step SIGTERM raises `Stopped` and Ctrl-C KeyboardInterrupt, as does
    a second Ctrl-C at any time. Data workers ignore all three until the end, as a whole
    process group often receives a signal. A signal that is ignored stays so. Outside
    the main thread, where Python has no handlers, nothing is done.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    vars(received).update(vars(Received()))
    main = os.getpid()
    over = mmap.mmap(-1, 1)  # shared with the workers

    def handle(number: int, frame: Any) -> None:
        if os.getpid() != main:
            if over[0]:  # the main process ends and waits for its workers
                os._exit(0)
            return
        if number == SAVE:
            received.save = True
            return
        if number == signal.SIGINT and (received.stop or not received.running):
            raise KeyboardInterrupt
        received.stop = number
        if received.running and number == signal.SIGINT:
            with suppress(OSError):  # closed
                os.write(2, AGAIN)  # as print may be running already
        if not received.running:
            text = (
                f'stopped by {name_of(number)} before the first step: nothing to save.'
            )
            raise Stopped(text, number, together=False)

    before = {}
    for number in (signal.SIGTERM, signal.SIGINT, SAVE):
        # None is a handler that was not set by Python, and could not be restored.
        if number and signal.getsignal(number) not in (None, signal.SIG_IGN):
            before[number] = signal.signal(number, handle)
    try:
        yield
    finally:
        over[0] = 1
        for number, handler in before.items():
            signal.signal(number, handler)


def start_worker(inner: Callable | None, worker: int) -> None:
    """In a new data worker: let it ignore SIGTERM, as `catch_signals` says.

    torch has replaced the handler there by one that dies of it.

    Args:
        inner: What else a worker does when it starts.
        worker: Its number.
    """
    handler = signal.getsignal(signal.SIGTERM)
    if callable(handler):  # inherited
        signal.signal(signal.SIGTERM, handler)
    if inner is not None:
        inner(worker)


def end_workers() -> None:
    """End the data workers, after `catch_signals`.

    torch would wait five seconds for each until it does the same.
    """
    if multiprocessing.get_start_method() == 'fork':  # which handed on the handler
        for worker in multiprocessing.active_children():
            worker.terminate()
