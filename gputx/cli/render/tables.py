"""Tables a person can read at a glance."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from gputx.cli.render.words import columns
from gputx.units import duration, money
from gputx.workflows.ps import Running


def instances(found: Sequence[Running]) -> str:
    """What ``gputx ps`` prints."""
    if not found:
        return "nothing is running\n"
    head = ("INSTANCE", "STATE", "TYPE", "ZONE", "MARKET", "AGE", "COST SO FAR", "ENDS BY (UTC)", "RUN")
    rows = [
        (
            r.instance.id,
            r.instance.state,
            r.instance.instance_type,
            r.instance.zone,
            str(r.instance.market),
            duration(r.age),
            "unknown" if r.cost is None else money(r.cost),
            "unknown" if r.deadline is None else f"{datetime.fromtimestamp(r.deadline, UTC):%H:%M}",
            r.run_id,
        )
        for r in found
    ]
    return columns([head, *rows])
