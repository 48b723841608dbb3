"""Places where a worker runs. A workflow sees only :class:`Bench`; nothing else in gputx asks where it is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol, Self

from gputx.errors import GputxError
from gputx.workflows.model import Engine
from gputx.workflows.worker import LineStream


class DeliveryError(GputxError):
    """One file could not be brought there (its disk is full, it arrived damaged twice); the place is fine."""


class Bench(Protocol):
    """A place that is ready: audio can be brought there and a worker started."""

    def start_worker(self) -> LineStream:
        """A worker's stdin and stdout; its model begins to load. Raises GputxError, InstanceLostError."""

    def running(self, engine: Engine) -> Self:
        """The same place, with workers that run another engine."""

    def engines(self) -> LineStream:
        """``hello`` and one event ``engines``: what can run there. Raises GputxError, InstanceLostError."""

    def deliver(self, audio: Path, progress: Callable[[int, int], None]) -> str:
        """Bring a file there; returns the path under which the worker opens it.

        Args:
            progress: told (bytes sent, bytes in all).

        Raises:
            DeliveryError: this file can't be had there; others may.
            InstanceLostError: the place is gone.
        """

    def check(self) -> None:
        """See that the place is still there, after a worker ended. Raises InstanceLostError where it is not."""
