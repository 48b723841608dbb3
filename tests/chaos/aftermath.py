"""What comes after clients were killed: a while in which nobody does anything, and one reap. Nothing may be left."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from . import schedules
from .schedules import Schedule
from .stage import Holdings, Stage
from .trial import Played

REAPED = (0, 5)
"""5: a launch was written down as sent, and killed before it was. Only its deadline can tell that it never came."""


@dataclass(frozen=True)
class Aftermath:
    """How it was after the silence, and after the reap of one of the clients."""

    plays: tuple[Played, ...]
    seconds: float
    silence: Holdings
    reap: Holdings
    code: int
    said: str
    lives: dict[str, float]
    """Seconds from each instance's launch to its end, on the sandbox's clock; of those that had ended by the reap."""

    def violations(self, played: Played) -> list[str]:
        """What one client has broken of the promise."""
        found = []
        if still := sorted(launched(played) & self.silence.live):
            found.append(f"live after {self.seconds:.0f} s of silence: {still}")
        if self.reap.everything:
            found.append(f"left after one reap (of the trials {self.unit}): {self.reap.everything}")
        if self.code not in REAPED:
            found.append(f"reap ended with {self.code}: {self.said[-1500:]}")
        if played.hung:
            found.append("the client hung")
        return found

    @property
    def unit(self) -> list[int]:
        """The trials that share it."""
        return [played.schedule.index for played in self.plays]

    def clear(self, stage: Stage) -> None:
        """Leave the stage to the next ones."""
        if self.reap.everything:
            stage.sweep()
        for played in self.plays:
            shutil.rmtree(played.home)


def come_after(
    stage: Stage, unit: Sequence[Schedule], plays: Sequence[Played], *, seconds: float, timeout: float = 200
) -> Aftermath:
    """Let time pass, and have one of the clients reap: its journal knows of one of them, the tags tell of the rest."""
    stage.pass_time(seconds)
    table: list[dict[str, Any]] = stage.account.table()["instances"]
    silence = stage.look()
    reaper = schedules.dice(unit[0].seed, unit[0].campaign, unit[0].index).choice(plays)
    code, said = stage.run(reaper.home, "reap", "--yes", timeout=timeout)
    stage.account.advance(2)
    lives = {row["instance_id"]: life for row in table if (life := _life(row)) is not None}
    return Aftermath(tuple(plays), seconds, silence, stage.look(), code, said, lives)


def launched(played: Played) -> set[str]:
    """The instances that a client was told of."""
    return {id_ for call in played.calls if call["action"] == "RunInstances" for id_ in call["instances"]}


def _life(row: dict[str, Any]) -> float | None:
    ended = row["since"].get("shutting-down", row["since"].get("terminated"))
    return None if ended is None else round(float(ended - row["launched"]), 1)
