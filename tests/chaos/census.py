"""Which calls an undisturbed run makes: the points at which all others are struck."""

from __future__ import annotations

from collections import Counter
from typing import Any

from .schedules import Call, Census, Schedule
from .stage import Stage
from .trial import play

RUNS = 4


def take(
    stage: Stage,
    *,
    program: tuple[str, ...] = ("-m", "gputx"),
    arguments: tuple[str, ...] | None = None,
    runs: int = RUNS,
) -> Census:
    """Run a client a few times and list its calls.

    Raises:
        RuntimeError: it fails by itself.
    """
    made, seconds = [], []
    for index in range(runs):
        played = play(stage, Schedule("census", 0, index), program=program, arguments=arguments)
        if played.code != 0:
            raise RuntimeError(f"an undisturbed client ended with {played.code}: {played.stderr}")
        made.append(_calls(played.calls))
        seconds.append(played.seconds)
        stage.sweep()
    always = [call for call in made[-1] if all(call in run for run in made)]
    extra = sorted({call for run in made for call in run} - set(always), key=str)
    # The first run has caches to fill, and others may share the machine.
    return Census(tuple(always), round(min(seconds), 2), tuple(extra))


def _calls(log: list[dict[str, Any]]) -> list[Call]:
    """The client's own calls in order: what is fetched by a presigned address is the guest's."""
    seen: Counter[tuple[str, str]] = Counter()
    calls = []
    for entry in log:
        if not entry["presigned"]:
            key = entry["service"], entry["action"]
            calls.append(Call(*key, seen[key]))
            seen[key] += 1
    return calls


def describe(census: Census) -> str:
    """One line for a person."""
    actions = {(call.service, call.action) for call in census.calls}
    return f"{len(census.calls)} calls of {len(actions)} actions in {census.seconds} s"
