"""What is being done right now, for whoever asks to stop and then asks again."""

from __future__ import annotations

import threading
import time

from gputx.cli.render.words import doing, printable
from gputx.events import Event, PhaseFinished, PhaseStarted
from gputx.units import duration


class Doing:
    """A reader of events that knows which phases are open, and for how long."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: dict[str, tuple[float, str]] = {}

    def __call__(self, event: Event) -> None:
        with self._lock:
            if isinstance(event, PhaseStarted):
                about = f": {printable(event.detail)}" if event.detail else ""
                self._open[event.name] = (time.monotonic(), f"{doing(event.name)}{about}")
            elif isinstance(event, PhaseFinished):
                self._open.pop(event.name, None)

    def sentence(self) -> str:
        """What is still being done, for how long already, and how long it may take."""
        with self._lock:
            now = time.monotonic()
            parts = [f"{what}, for {duration(now - since)} now" for since, what in self._open.values()]
            ending = "terminate" in self._open
        if ending:
            return (
                f"still {'; '.join(parts)}. AWS takes seconds as a rule; gputx insists for 2 min, and the instance "
                "powers itself off in any case. It can't be skipped"
            )
        if parts:
            return f"still {'; '.join(parts)}; it is left within seconds, and what was launched is ended first"
        return "still tidying up: seconds"
