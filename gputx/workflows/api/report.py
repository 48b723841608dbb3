"""What ``gputx api up``, ``status`` and ``down`` have to tell."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from gputx.errors import GputxError
from gputx.models import Attempt, Cost, Instance, Phase
from gputx.workflows.api.servers import Server


@dataclass
class ApiReport:
    """What became of ``up`` or ``down``. A :class:`gputx.workflows.lives.Billed`."""

    id: str
    place: str
    server: Server | None = None
    found: bool = False
    """It ran already."""
    upgraded: bool = False
    """It ran, and was started again with this gputx's code or with other options."""
    attempts: list[Attempt] = field(default_factory=list)
    instance: Instance | None = None
    ended: list[str] = field(default_factory=list)
    cost: Cost | None = None
    phases: list[Phase] = field(default_factory=list)
    ending: GputxError | None = None


@dataclass(frozen=True)
class Standing:
    """How one server is. ``health`` is its own answer, None where it gave none; times are seconds since the epoch."""

    server: Server
    instance: Instance | None
    now: float
    cost: float | None
    """USD so far, where the price is known."""
    health: dict[str, Any] | None
    queued: float | None
    """Seconds of audio that are queued or running; None where it does not say."""
    trouble: str = ""

    @property
    def healthy(self) -> bool:
        return self.health is not None and bool(self.health.get("model_loaded"))

    @property
    def word(self) -> str:
        """One word or two for a person."""
        if self.instance is None or not self.instance.live:
            return "gone"
        return "healthy" if self.healthy else "not answering"
