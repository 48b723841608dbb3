"""C5: a launch that lands late. It is held on its way, its client is killed, the account is reaped, it is let go."""

from __future__ import annotations

import shutil
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from . import schedules
from .schedules import Census, Schedule
from .stage import Client, Stage
from .trial import Played, Turner, run_arguments

KEY = "C5"
TITLE = "launches that land late"
UNIT = 1
PROMISE = "0 left once the launch has landed"

_HELD, _HELD_LONG = 600.0, 1800.0
_GRACE_SECONDS = 600.0
_LAG_SECONDS = 500.0
_WAIT_SECONDS = 30.0
_STILL_RUNNING = 5

_JOURNAL_LOST, _TWICE, _OVERTAKEN, _INVISIBLE = (
    "held, journal lost",
    "held, reaped twice",
    "lands while it is reaped",
    "accepted, not visible yet",
)
VARIANTS = ("held", _JOURNAL_LOST, _TWICE, _OVERTAKEN, _INVISIBLE)


def points(_seed: int, _census: Census) -> list[str]:
    return [f"{variant}, {market}" for variant in VARIANTS for market in ("spot", "on-demand")]


def schedule(seed: int, index: int, _census: Census) -> Schedule:
    rng = schedules.dice(seed, KEY, index)
    turn = index % schedules.AGAIN
    variant = VARIANTS[turn % len(VARIANTS)]
    market = ("spot", "on-demand")[turn // len(VARIANTS) % 2]
    delay = {
        "held": _HELD,
        _JOURNAL_LOST: _HELD_LONG,
        _TWICE: _HELD,
        _OVERTAKEN: round(rng.uniform(0.2, 3.0), 2),
        _INVISIBLE: 0.0,
    }[variant]
    faults = (f"RunInstances delay={delay}s times=1",) if delay else (f"lag {_LAG_SECONDS:.0f}s",)
    point = f"{variant}, {market}"
    return Schedule(KEY, seed, index, faults=faults, variant=variant, market=market, point=point)


def perform(stage: Stage, unit: Sequence[Schedule]) -> list[dict[str, Any]]:
    return [_perform(stage, each) for each in unit]


def _perform(stage: Stage, each: Schedule) -> dict[str, Any]:
    played = _killed_in_flight(stage, each)
    violations: list[str] = []
    if each.variant == _JOURNAL_LOST:
        shutil.rmtree(played.home / "state")
        stage.pass_time(_GRACE_SECONDS + 5)  # only tags are left, and they have to be old enough
    reaps = [_reap(stage, played.home)]
    if each.variant == _TWICE:
        reaps.append(_reap(stage, played.home))
    if each.variant == _INVISIBLE:
        violations += _unseen(stage, played, reaps)
    elif each.variant != _OVERTAKEN:
        stage.account.advance(_HELD_LONG)
    stage.settle()
    landed = [row for row in stage.account.table()["instances"] if row["tags"].get("gputx:run") in played.run_ids]
    left = stage.look().since(played.before)
    if left.live or left.launching:
        violations.append(f"live after the launch had landed: {left.everything}")
    # A reap that is overtaken by the landing may have to leave the group, which costs nothing, to the next one.
    fine = (0, 1, _STILL_RUNNING) if each.variant == _OVERTAKEN else (0, _STILL_RUNNING)
    violations += [f"reap ended with {code}: {said}" for code, said in reaps if code not in fine]
    stage.account.advance(2)
    later = stage.look().since(played.before)
    record = played.record(
        violations, reap_codes=[code for code, _ in reaps], landed=len(landed), left=later.everything
    )
    if later.everything:
        stage.sweep()
    stage.reset()
    shutil.rmtree(played.home)
    return record


def _unseen(stage: Stage, played: Played, reaps: list[tuple[int, str]]) -> list[str]:
    """It runs, and nobody can see it: that may not be called ended, and has to be ended once it is visible."""
    trouble = []
    if stage.look().since(played.before).live and reaps[0][0] == 0:
        trouble.append("reap said that nothing is left while an instance ran that was not visible yet")
    stage.account.advance(_LAG_SECONDS)
    reaps.append(_reap(stage, played.home))
    return trouble


def _reap(stage: Stage, home: Path) -> tuple[int, str]:
    """Its exit code and what it said."""
    with Turner(stage, pace=5):  # where it has to wait
        return stage.run(home, "reap", "--yes", timeout=120)


def _killed_in_flight(stage: Stage, each: Schedule) -> Played:
    """Start a client, wait for its launch to be on its way, and kill it."""
    first_call, before, home = stage.last_call(), stage.look(), stage.home()
    for rule in each.faults:
        stage.account.add_rule(rule)
    client = stage.start(home, *run_arguments(each))
    if each.variant == _INVISIBLE:
        stage.account.add_rule(f"RunInstances signal=KILL pid={client.pid} at=after times=1")
        _until(client, lambda: False)
    else:
        _until(client, lambda: bool(stage.look().launching))
    there = stage.look().since(before)
    hit = {
        "action": "RunInstances",
        "at": "held",
        "time": stage.account.clock.time(),
        "alive": len(there.live),
        "things": there.things,
        "sent": bool(there.live | there.launching),
    }
    client.send(signal.SIGKILL)
    code = client.process.wait()
    seconds = time.monotonic() - client.started
    calls = stage.account.calls(first_call)
    at_exit = stage.look().since(before)
    return Played(each, home, code, seconds, before, at_exit, [hit], calls, client.stderr)


def _until(client: Client, seen: Any) -> None:
    """Wait for it, or for the client's end."""
    deadline = time.monotonic() + _WAIT_SECONDS
    while client.process.poll() is None and not seen() and time.monotonic() < deadline:
        time.sleep(0.02)
