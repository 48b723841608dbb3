"""Power off, halt, reboot: now, in some minutes, or at a time of day, on the sandbox's clock."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from .timers import Timers

_WAKE_ATTEMPTS = 50
_WAKE_RETRY_SECONDS = 0.01
KINDS = {"off": "power off", "halt": "halt", "reboot": "reboot"}


def shutdown_time(when: str, now: float) -> float:
    """What ``shutdown`` means by a time argument, in seconds since the epoch.

    Args:
        when: ``now``, ``+MINUTES``, or ``HH:MM`` (UTC, the next one to come), as in shutdown(8).
        now: seconds since the epoch.

    Raises:
        ValueError: it is none of these.
    """
    if when == "now":
        return now
    if re.fullmatch(r"\+\d+", when):
        return now + 60 * int(when)
    if found := re.fullmatch(r"(\d{1,2}):(\d{2})", when):
        today = datetime.fromtimestamp(now, UTC)
        moment = today.replace(hour=int(found[1]), minute=int(found[2]), second=0, microsecond=0)
        if moment.timestamp() <= now:
            moment += timedelta(days=1)
        return moment.timestamp()
    raise ValueError(f"not a time: {when}")


class Power:
    """Listens on init's named pipe for what the stand-ins ask, one line each.

    ``shutdown KIND WHEN``, ``cancel``, and ``sleep SECONDS FIFO`` (FIFO is written to when time is up).

    Args:
        scheduled: the file that says what is scheduled, for ``shutdown --show``.
        ended: called with the kind when the system has to go down.
        say: writes a line on the console.
    """

    def __init__(
        self, timers: Timers, scheduled: Path, ended: Callable[[str], None], say: Callable[[str], None]
    ) -> None:
        self._timers = timers
        self._notice = scheduled
        self._ended = ended
        self._say = say
        self._scheduled: int | None = None
        self._loop = asyncio.get_running_loop()

    async def listen(self, fifo: Path) -> None:
        os.mkfifo(fifo, 0o622)
        # Held open for writing too, so that it never comes to an end between two writers.
        descriptor = os.open(fifo, os.O_RDWR | os.O_NONBLOCK)
        reader = asyncio.StreamReader()
        await self._loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(descriptor, "rb", buffering=0)
        )
        while line := await reader.readline():
            text = line.decode("utf-8", "replace").strip()
            try:
                self._obey(text)
            except ValueError as error:
                self._say(f"init: request not understood: {text!r}: {error}")

    def _obey(self, line: str) -> None:
        match line.split(" ", 2):
            case ["shutdown", kind, when] if kind in KINDS:
                self._shutdown(kind, shutdown_time(when, self._timers.time()))
            case ["cancel"]:
                self._cancel()
            case ["sleep", seconds, fifo]:
                path = Path(fifo)
                self._timers.call_at(self._timers.time() + float(seconds), lambda: self._wake(path, _WAKE_ATTEMPTS))
            case _:
                raise ValueError("unknown")

    def _shutdown(self, kind: str, when: float) -> None:
        self._cancel()
        if when > self._timers.time():
            moment = datetime.fromtimestamp(when, UTC).strftime("%a %Y-%m-%d %H:%M:%S UTC")
            self._say(f"systemd-logind: The system will {KINDS[kind]} at {moment}")
            self._notice.write_text(
                f"Shutdown scheduled for {moment}, use 'shutdown -c' to cancel.\n", encoding="ascii"
            )
        self._scheduled = self._timers.call_at(when, lambda: self._ended(kind))

    def _cancel(self) -> None:
        if self._scheduled is not None:
            self._timers.cancel(self._scheduled)
            self._scheduled = None
        self._notice.unlink(missing_ok=True)

    def _wake(self, fifo: Path, attempts: int) -> None:
        try:
            descriptor = os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)
        except OSError:
            # The sleeper has not opened its end yet, or was killed in its sleep.
            if attempts:
                self._loop.call_later(_WAKE_RETRY_SECONDS, self._wake, fifo, attempts - 1)
            else:
                fifo.unlink(missing_ok=True)
            return
        os.write(descriptor, b"\n")
        os.close(descriptor)
        fifo.unlink(missing_ok=True)
