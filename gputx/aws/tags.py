"""The tags gputx writes in the same call that makes a thing, and how it finds its own by them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

RUN = "gputx:run"
OWNER = "gputx:owner"
DEADLINE = "gputx:deadline"
STARTED = "gputx:started"
JOURNAL = "gputx:journal"
HEARTBEAT = "gputx:heartbeat"
"""Moved on by a living client, so that another machine's `gputx reap` can see that it lives."""
PURPOSE = "Purpose"
CONTRACT = "gputx:contract"
"""On a finished image: the number of the contract it keeps. The other tags of an image are in docs/contracts.md."""
SSH_PORT = "gputx:ssh-port"
RECIPE = "gputx:recipe"
"""On an image, from the call that makes it: a hash of all that went into it."""
SETUP = "gputx:setup"
"""On what `gputx setup` made, from the call that made it: `gputx teardown` takes away what carries it, and no more."""
MADE_BY_SETUP = {SETUP: "1"}

_TIME = "%Y-%m-%dT%H:%M:%SZ"


@dataclass(frozen=True)
class Stamp:
    """Whose a resource is, since when, and when it is due; in seconds since the epoch."""

    run_id: str
    owner: str
    started: float
    deadline: float
    journal: str
    name: str | None = None
    """What a person reads in the console; ``gputx-RUN`` by default."""
    purpose: str = "fast-transcription"

    def as_tags(self) -> dict[str, str]:
        return {
            "Name": self.name or f"gputx-{self.run_id}",
            PURPOSE: self.purpose,
            RUN: self.run_id,
            OWNER: self.owner,
            STARTED: stamp_of(self.started),
            DEADLINE: stamp_of(self.deadline),
            JOURNAL: self.journal,
        }


def listed(tags: Mapping[str, str]) -> list[dict[str, str]]:
    """A plain mapping as AWS's list of Key and Value."""
    return [{"Key": key, "Value": value} for key, value in tags.items()]


def specification(resource_type: str, tags: Mapping[str, str]) -> dict[str, Any]:
    """One entry of a TagSpecifications parameter."""
    return {"ResourceType": resource_type, "Tags": listed(tags)}


def read(tagged: Iterable[Mapping[str, str]] | None) -> dict[str, str]:
    """AWS's list of Key and Value as a plain mapping."""
    return {tag["Key"]: tag["Value"] for tag in tagged or ()}


def stamp_of(seconds: float) -> str:
    """A time, in seconds since the epoch, as our tags spell it."""
    return datetime.fromtimestamp(seconds, UTC).strftime(_TIME)


def time_of(tags: Mapping[str, str], key: str) -> float | None:
    """The time in a tag, in seconds since the epoch; None where there is no such tag or it is not a time."""
    try:
        return datetime.strptime(tags[key], _TIME).replace(tzinfo=UTC).timestamp()
    except (KeyError, ValueError):
        return None
