"""C9: `gputx build-ami` killed at every kind of call and at random moments of its steps and checks.

Several are killed one after another, each with a journal of its own. No run may ever choose what they left: that is
asked at once, by what a run asks, and again in the end. Then 15 minutes pass in which nobody does anything; then one
of them reaps.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gputx.aws.images import find_image
from gputx.aws.session import AwsSession, Emulator

from . import census as counting
from . import schedules
from .aftermath import come_after
from .schedules import Call, Census, Schedule, Strike
from .stage import Stage
from .trial import Played, play

KEY = "C9"
TITLE = "`build-ami`, KILL"
SIGNALS = (("KILL",),)
UNIT = 4
SILENCE_SECONDS = 15 * 60.0
PROMISE = "0 live after 15 min, 0 of anything (images and snapshots, too) after one reap; no half image chosen by a run"

PROGRAM = (str(Path(__file__).parents[1] / "sandbox" / "bake" / "small_build.py"),)
ARGUMENTS = ("build-ami", "--recipe", "small", "--force")
"""A small recipe: what is struck is the life of a build, and hours of downloads would only cost time."""

_IMAGE_CALLS = ("CreateImage", "CreateTags", "DeleteTags", "RunInstances", "TerminateInstances")
_LONGEST_SECONDS = 300.0


def take_census(stage: Stage, *, runs: int = 2) -> Census:
    """The calls of a build that nobody disturbs."""
    return counting.take(stage, program=PROGRAM, arguments=ARGUMENTS, runs=runs)


def points(seed: int, census: Census) -> list[str]:
    """The calls that make or end what matters, each before, after and at its response."""
    return [str(strike) for strike in schedules.points_of(seed, KEY, census, SIGNALS, _IMAGE_CALLS)]


def schedule(seed: int, index: int, census: Census) -> Schedule:
    strikes = schedules.points_of(seed, KEY, census, SIGNALS, _IMAGE_CALLS)
    # In the steps and the checks nothing is asked of the account for seconds.
    return schedules.point_or_moment(seed, KEY, index, census, strikes, moments=0.5)


def at(action: str, occurrence: int, phase: str, index: int = 0) -> Schedule:
    """A schedule for one certain call."""
    return Schedule(KEY, 0, index, (Strike(("KILL",), Call("ec2", action, occurrence), phase),))


def perform(stage: Stage, unit: Sequence[Schedule]) -> list[dict[str, Any]]:
    furnished = _chosen(stage)
    plays, chosen, at_kill = [], [], []
    for each in unit:
        played = _kill(stage, each)
        plays.append(played)
        chosen.append(_wrongly_chosen(stage, furnished))
        at_kill.append(stage.look().since(played.before))
    after = come_after(stage, unit, plays, seconds=SILENCE_SECONDS, timeout=300)
    late = _wrongly_chosen(stage, furnished)
    records = []
    for played, wrong, there in zip(plays, chosen, at_kill, strict=True):
        violations = [f"a run would have booted {wrong}"] if wrong else []
        violations += after.violations(played)
        if late:
            violations.append(f"after the reap a run would have booted {late}")
        records.append(
            played.record(violations, half_image=bool(there.unfinished), reap_code=after.code, unit=after.unit)
        )
    stage.sweep()
    for played in plays:
        shutil.rmtree(played.home)
    return records


def _kill(stage: Stage, each: Schedule) -> Played:
    played = play(stage, each, program=PROGRAM, arguments=ARGUMENTS, longest=_LONGEST_SECONDS)
    stage.settle()
    return played


def _wrongly_chosen(stage: Stage, furnished: str) -> str | None:
    """The image that a run would boot now, if it is none that was there before or was finished."""
    chosen = _chosen(stage)
    row = next(row for row in stage.account.table()["images"] if row["image_id"] == chosen)
    whole = (
        row["state"] == "available" and "gputx:deadline" not in row["tags"] and int(row["tags"].get("gputx:checks", 0))
    )
    return None if chosen == furnished or whole else f"{chosen} ({row['state']}, {row['tags']})"


def _chosen(stage: Stage) -> str:
    """What `gputx run` would boot: by the function that it asks."""
    account = stage.account
    emulator = Emulator(
        account.endpoint_url, account.access_key, account.secret_key, account.checkip_url, account.outside_ssh
    )
    return find_image(AwsSession(region=account.region, clock=account.clock, emulator=emulator), None).id
