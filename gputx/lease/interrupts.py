"""Signals set a flag and wake the main thread; they never break into the work.

A ``try/finally`` that a signal may break into leaks: the signal lands between the launch and the line that
remembers it, or inside the clean-up itself. Here the work runs in a thread of its own, which no Python signal
handler ever interrupts, so its ``finally`` blocks are reliable; the main thread only waits and passes the wish
to stop on. Everything that blocks is given the :class:`~gputx.clock.Stop` and looks at it.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Generic, TypeVar

from gputx.clock import Stop

T = TypeVar("T")

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class _Outcome(Generic[T]):
    """What a thread came back with."""

    value: T
    error: BaseException | None = None


def supervise(work: Callable[[Stop], T], *, on_signal: Callable[[int, int], None], last: bool = False) -> T:
    """Run ``work`` in a thread; turn INT, TERM and HUP into a request to stop; wait for its end.

    Must be called from the main thread. The handlers that were there before are put back; unless this is the ``last``
    work of the process: then the next signal must not cut off the telling of how it ended, and the one after that
    ends the process as if nobody handled it.

    Args:
        work: does everything, clean-up included, and looks at the stop it is given.
        on_signal: told (signal number, how many have come) for each, outside the handler.

    Returns:
        What ``work`` returned. Raises what it raised.
    """
    stop = Stop()
    outcome: _Outcome[T] = _Outcome()
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    os.set_blocking(writer, False)

    def body() -> None:
        try:
            outcome.value = work(stop)
        except BaseException as error:  # noqa: BLE001 - re-raised in the main thread below
            outcome.error = error
        finally:
            os.write(writer, b"\0")

    def note(_signum: int, _frame: FrameType | None) -> None:
        """Nothing to do: Python has already written the number to the wakeup descriptor."""

    thread = threading.Thread(target=body, name="work")
    # The descriptor first: a signal that comes between the two would otherwise be swallowed unseen.
    previous_wakeup = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    # A signal that was ignored before stays ignored: nohup, and jobs in a script's background, rely on it.
    heard = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    previous = {number: signal.signal(number, note) for number in heard}
    count = 0
    try:
        thread.start()
        while thread.is_alive():
            select.select([reader], [], [], 1.0)
            for number in _drain(reader):
                if number in SIGNALS:
                    count += 1
                    stop.request(number)
                    # What is said may fail (the terminal has gone); that the work ends in peace may not.
                    with contextlib.suppress(Exception):
                        on_signal(number, count)
        thread.join()
    finally:
        for number, handler in previous.items():
            signal.signal(number, _miss_one if last else handler)
        signal.set_wakeup_fd(previous_wakeup)
        os.close(reader)
        os.close(writer)
    if outcome.error is not None:
        raise outcome.error
    return outcome.value


def _miss_one(signum: int, _frame: FrameType | None) -> None:
    signal.signal(signum, signal.SIG_DFL)


def _drain(reader: int) -> bytes:
    try:
        return os.read(reader, 4096)
    except BlockingIOError:
        return b""
