"""Tables a person can read at a glance."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from gputx.cli.render.words import columns, printable
from gputx.models import Kind, Leftover
from gputx.units import duration, money
from gputx.workflows.ps import Running
from gputx.workflows.reap_report import Fate, ReapReport


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


def leftovers(report: ReapReport) -> str:
    """What ``gputx reap`` prints: a row for each thing, then a line for what only the journal knows."""
    lines = "".join(f"{printable(item.what)}\n" for item in report.unseen)
    if not report.rows:
        return lines or "nothing is left over\n"
    head = ("VERDICT", "KIND", "ID", "REGION", "AGE", "COST SO FAR", "RUN", "WHY")
    cells = [
        tuple(
            printable(cell)
            for cell in (
                row.fate,
                row.leftover.kind,
                _short(row.leftover),
                row.leftover.region,
                _age(row.leftover, report.time),
                _cost(row.leftover),
                row.leftover.run_id,
                row.why,
            )
        )
        for row in report.rows
    ]
    return columns([head, *cells]) + lines + _sum(report)


def _short(thing: Leftover) -> str:
    """Of a queue's address, its name."""
    return thing.id.rpartition("/")[2] if thing.kind is Kind.QUEUE else thing.id


def _age(thing: Leftover, now: float) -> str:
    return "unknown" if thing.created_at is None else duration(max(0.0, now - thing.created_at))


def _cost(thing: Leftover) -> str:
    if thing.kind is not Kind.INSTANCE:
        return ""
    return "unknown" if thing.cost is None else money(thing.cost)


def _sum(report: ReapReport) -> str:
    counts = {fate: sum(row.fate is fate for row in report.rows) for fate in Fate}
    return ", ".join(f"{count} {fate}" for fate, count in counts.items() if count) + "\n"
