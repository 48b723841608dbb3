"""What a guest reports about itself, and waiting for it to have caught up with the clock."""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Iterator, Mapping
from typing import IO

# A guest takes up to a quarter of a second to settle, see machine/__main__.py; the rest is for a busy machine.
_SETTLE_SECONDS = 1.0
# Booting or powering off takes a second or so.
_CHANGE_SECONDS = 5.0
_LINE_BYTES = 4096


def reports(stream: IO[bytes]) -> Iterator[Mapping[str, object]]:
    """What a guest's first process writes, line by line; what is no report is noise, however long it is."""
    while line := stream.readline(_LINE_BYTES):
        try:
            report = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(report, dict):
            yield report


class Answers:
    """How far a guest has come: its phase, and the last turn of the clock that it has acted upon.

    Its phase is ``booting`` until sshd is up, ``up``, ``ending`` from when it begins to power off, and ``down``
    once nothing of it runs and whoever waits for its power has been told.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._phase = "booting"
        self._asked = 0
        self._answered = 0
        self._patient_from = 0.0
        self._due: float | None = None
        self._deaf = False

    @property
    def down(self) -> bool:
        return self._phase == "down"

    @property
    def asked(self) -> int:
        """The number of the last question."""
        return self._asked

    def ask(self) -> int:
        """Count a question; returns its number, which the guest is to answer with."""
        with self._changed:
            self._asked += 1
            self._patient_from = time.monotonic()
            return self._asked

    def enter(self, phase: str) -> None:
        with self._changed:
            self._change(phase)
            self._changed.notify_all()

    def hear(self, report: Mapping[str, object]) -> bool:
        """Take note of ``{"phase": …}`` or of an answer, ``{"clock": number, "due": seconds or null}``.

        Returns:
            Whether it was given up and answers again, but not what it was asked last, which it may have missed.
        """
        with self._changed:
            revived = False
            phase, number, due = report.get("phase"), report.get("clock"), report.get("due")
            if phase == "ending" or (phase == "up" and self._phase == "booting"):
                self._change(str(phase))
            if isinstance(number, int) and self._answered < number <= self._asked:
                self._answered = number
                self._due = float(due) if isinstance(due, (int, float)) and math.isfinite(due) else None
                revived = self._deaf and number < self._asked
                self._deaf = False
            self._changed.notify_all()
            return revived

    def wait(self, *, boots: bool) -> float | None:
        """Wait until the last question is answered, within bounds; returns when the guest's next timer is due.

        A guest that did not answer in time is not waited for again before it does.

        Args:
            boots: whether to wait for a guest that is still booting.
        """
        with self._changed:
            while self._phase != "down" and self._answered < self._asked and not self._deaf:
                if self._phase == "booting" and not boots:
                    return None
                patience = _SETTLE_SECONDS if self._phase == "up" else _CHANGE_SECONDS
                left = self._patient_from + patience - time.monotonic()
                if left <= 0:
                    self._deaf = True
                else:
                    self._changed.wait(left)
            return None if self._phase == "down" or self._deaf else self._due

    def _change(self, phase: str) -> None:
        self._phase = phase
        # A guest that has just come up after a slow boot gets its time to answer all the same.
        self._patient_from = time.monotonic()
