"""Ctrl-C and SIGTERM: leave at a good moment."""

import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(Exception):  # noqa: N818  (not an error: the run was asked to stop, and did)
    """Training was asked to stop and has saved a checkpoint.

    Attributes:
        signal: the signal that asked.
        step: the step that was saved.
        timings: what was done until then, as `jaxgen.train.Trained` has it.
        exit_code: what a command should exit with, ``128 + signal``.

    Example:
        >>> Interrupted(signal.SIGTERM, 120).exit_code
        143
    """

    def __init__(self, number: int, step: int, timings: Mapping[str, Any] | None = None) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name} at step {step}, which is saved")
        self.signal = int(number)
        self.step = step
        self.timings = dict(timings or {})
        self.exit_code = 128 + int(number)


class StopRequest:
    """Whether a signal has asked the run to stop.

    Attributes:
        signal: its number, or 0.
    """

    def __init__(self) -> None:
        self.signal = 0

    def __bool__(self) -> bool:
        return self.signal != 0


@contextmanager
def catch_signals(message: Callable[[str], None] = lambda text: None) -> Iterator[StopRequest]:
    """Within the block, the first Ctrl-C or SIGTERM only asks to stop; the second ends the process at once.

    A thread watches for them, so that a second Ctrl-C works even while the interpreter waits for the compiler or a
    device. Outside the main thread nothing is caught.

    Args:
        message: called with one line when the first signal comes.

    Returns:
        A context manager that gives a `StopRequest`.

    Example:
        >>> with catch_signals() as stop:
        ...     bool(stop)
        False
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    reader, writer = socket.socketpair()
    writer.setblocking(False)

    def watch() -> None:
        while data := reader.recv(16):
            for number in data:
                if number not in SIGNALS:
                    continue
                if request:
                    os._exit(128 + number)
                request.signal = number
                message("stopping: finishing the step and saving (Ctrl-C again to quit at once)")

    def ignore(number: int, frame: FrameType | None) -> None:
        """Nothing: the byte that the interpreter writes to the socket wakes the thread."""

    before = {number: signal.signal(number, ignore) for number in SIGNALS}
    previous = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    watcher = threading.Thread(target=watch, name="jaxgen-signals", daemon=True)
    watcher.start()
    try:
        yield request
    finally:
        signal.set_wakeup_fd(previous)
        for number, handler in before.items():
            signal.signal(number, handler)
        writer.close()
        watcher.join()
        reader.close()
