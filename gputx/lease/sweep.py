"""Ending what earlier runs left: anything of ours whose own deadline has passed.

A resource past the deadline in its tag belongs to no living run, so ending it can hurt nobody. What is not yet
due is left alone: it may be a colleague's, or another terminal's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from gputx.errors import GputxError
from gputx.models import Leftover

_MARGIN_SECONDS = 120.0
"""Clocks differ; an instance's own deadline fires first."""


class Broom(Protocol):
    """What the sweep needs of an account. Calls may raise GputxError."""

    def leftovers(self) -> Sequence[Leftover]:
        """Everything with our tag that still exists (instances: that is not ending)."""

    def remove(self, leftover: Leftover) -> bool:
        """End or delete one thing; False where something still holds it."""


@dataclass(frozen=True)
class Swept:
    """What a sweep ended, and what it could not."""

    removed: tuple[Leftover, ...]
    kept: tuple[Leftover, ...]
    alive: tuple[Leftover, ...] = ()
    """Instances that are not due yet: somebody's, and left alone."""


def sweep(broom: Broom, *, now: float) -> Swept:
    """Remove everything overdue, one thing at a time.

    Args:
        now: seconds since the epoch.

    Raises:
        GputxError: the account could not be read.
    """
    removed: list[Leftover] = []
    kept: list[Leftover] = []
    # Instances first: they cost money, and they hold the groups.
    there = broom.leftovers()
    due = [item for item in there if item.deadline is not None and item.deadline + _MARGIN_SECONDS < now]
    for item in sorted(due, key=lambda item: item.kind != "instance"):
        try:
            gone = broom.remove(item)
        except GputxError:
            gone = False
        (removed if gone else kept).append(item)
    alive = tuple(item for item in there if item.kind == "instance" and item not in due)
    return Swept(tuple(removed), tuple(kept), alive)
