"""One process with a stage of its own, on which units of trials are played one after another."""

from __future__ import annotations

import os
import signal
import threading
import time
import traceback
from pathlib import Path
from typing import Any

from .campaigns import PLANS, take_census
from .schedules import Schedule
from .stage import Stage
from .trial import replay_command

_TRIALS_A_STAGE = 160
"""Then a new sandbox: the table of the old one has grown."""


class _Worker:
    stage: Stage | None = None
    directory = Path()
    stages = 0
    trials = 0


def begin(directory: Path) -> None:
    """Make this process a worker whose stages are below ``directory``."""
    # Ctrl-C is for the campaign, which lets the trials under way end. Not ignored: clients would inherit that.
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: None)
    _Worker.directory = directory / f"worker-{os.getpid()}"
    threading.Thread(target=_end_with, args=(os.getppid(),), name="orphaned", daemon=True).start()


def count(client: str) -> dict[str, Any]:
    """A census, as a dictionary."""
    return take_census(_stage(), client).as_dict()


def perform(unit: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Play the schedules of one unit. A failure of the harness itself is a violation, and a new stage is made."""
    schedules = [Schedule.from_dict(document) for document in unit]
    _Worker.trials += len(schedules)
    try:
        return PLANS[schedules[0].campaign].campaign.perform(_stage(), schedules)
    except Exception:  # noqa: BLE001 - whatever it is, it is put on record and the campaign goes on
        trouble = traceback.format_exc()
        _strike_the_stage()
        return [
            {
                "campaign": each.campaign,
                "seed": each.seed,
                "index": each.index,
                "replay": replay_command(each),
                "counted": False,
                "why_not_counted": "the harness failed",
                "reached": [],
                "violations": [f"the harness failed: {trouble}"],
                "schedule": each.as_dict(),
            }
            for each in schedules
        ]


def _end_with(parent: int) -> None:
    """End when the campaign was killed: the sandbox ends with this process."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def _stage() -> Stage:
    if _Worker.stage is not None and _Worker.trials > _TRIALS_A_STAGE:
        _strike_the_stage()
    if _Worker.stage is None:
        _Worker.trials = 0
        _Worker.stages += 1
        _Worker.stage = Stage(_Worker.directory / f"stage-{_Worker.stages}")
    return _Worker.stage


def _strike_the_stage() -> None:
    if _Worker.stage is not None:
        _Worker.stage.close()
        _Worker.stage = None
