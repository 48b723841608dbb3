"""The instances that one command has had: which pools gave them, how each ended, and what they cost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from gputx.errors import StillRunningError
from gputx.lease.guard import Guard
from gputx.models import Attempt, Cost, Instance, Pool, Stay
from gputx.workflows.story import Story


class Billed(Protocol):
    """A report that says where a command worked and what it cost."""

    attempts: list[Attempt]
    instance: Instance | None
    ended: list[str]
    cost: Cost | None


class Lives:
    """Kept by a command while it launches, works and ends."""

    def __init__(self, report: Billed, story: Story) -> None:
        self._report = report
        self._story = story
        self.used: list[Pool] = []
        """Pools that gave an instance: whoever launches again because it was lost goes elsewhere first."""
        self._stays: list[Stay] = []
        self._unended: list[StillRunningError] = []

    @property
    def spent(self) -> float:
        """USD, at the on-demand price where it is known: what it can have come to at most."""
        return sum(stay.billed_seconds * (stay.on_demand_hourly or stay.hourly or 0.0) / 3600 for stay in self._stays)

    @property
    def still_running(self) -> StillRunningError | None:
        """All ends that could not be confirmed, as one; None where there are none."""
        if not self._unended:
            return None
        first, *others = self._unended
        for other in others:
            first = first.joined(other)
        return first

    def attempted(self, attempt: Attempt) -> None:
        self._report.attempts.append(attempt)
        if attempt.code is None:
            self.used.append(attempt.pool)

    def launched(self, instance: Instance) -> None:
        self._report.instance = instance

    def end(self, guard: Guard, on_demand: Mapping[str, float]) -> None:
        """End what this life made, see it ending, and add its time to the bill. Raises nothing."""
        instance = self._report.instance
        phase = self._story.open("terminate", instance.id if instance else "")
        try:
            guard.end()
        except StillRunningError as error:
            self._unended.append(error)
            phase.detail = error.message
            phase.close(ok=False)
        else:
            phase.detail = f"{', '.join(guard.ended)} (seen shutting-down)" if guard.ended else "nothing was launched"
            phase.close()
        self._report.ended += guard.ended
        if guard.left:
            self._story.note(f"a {' and a '.join(guard.left)} could not be deleted yet; a later gputx command will")
        self.bill(on_demand)

    def bill(self, on_demand: Mapping[str, float]) -> None:
        """Add the time of the newest instance, up to now, once."""
        launched = [attempt for attempt in self._report.attempts if attempt.code is None]
        if len(self._stays) < len(launched):
            last = launched[-1]
            seconds = self._story.clock.time() - last.end
            self._stays.append(Stay(seconds, last.pool.hourly, on_demand.get(last.pool.instance_type)))
            self._report.cost = Cost(tuple(self._stays))
