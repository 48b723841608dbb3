"""The tags gputx writes in the same call that makes a thing, and how it finds its own by them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

RUN = "gputx:run"
OWNER = "gputx:owner"
DEADLINE = "gputx:deadline"


@dataclass(frozen=True)
class Stamp:
    """Whose a resource is and when it is due, in seconds since the epoch."""

    run_id: str
    owner: str
    deadline: float

    def as_tags(self) -> dict[str, str]:
        return {
            "Name": f"gputx-{self.run_id}",
            "Purpose": "fast-transcription",
            RUN: self.run_id,
            OWNER: self.owner,
            DEADLINE: datetime.fromtimestamp(self.deadline, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        }


def specification(resource_type: str, tags: Mapping[str, str]) -> dict[str, Any]:
    """One entry of a TagSpecifications parameter."""
    return {"ResourceType": resource_type, "Tags": [{"Key": k, "Value": v} for k, v in tags.items()]}


def read(tagged: Iterable[Mapping[str, str]] | None) -> dict[str, str]:
    """AWS's list of Key and Value as a plain mapping."""
    return {tag["Key"]: tag["Value"] for tag in tagged or ()}


def deadline_of(tags: Mapping[str, str]) -> float | None:
    """Seconds since the epoch, or None where there is no such tag or it is not a time."""
    try:
        return datetime.strptime(tags[DEADLINE], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC).timestamp()
    except (KeyError, ValueError):
        return None
