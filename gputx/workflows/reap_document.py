"""What ``gputx reap --json`` prints; docs/json.md describes it field by field."""

from __future__ import annotations

from typing import Any

from gputx.lease.unseen import Unseen
from gputx.workflows.reap_report import ReapReport, Row

VERSION = 1


def reap_document(report: ReapReport) -> dict[str, Any]:
    """The document of one reap, or of a rehearsal of it."""
    return {
        "version": VERSION,
        "on": report.on,
        "caller": report.caller,
        "regions": list(report.regions),
        "dry_run": report.dry_run,
        "error": report.ending.message if report.ending else None,
        "things": [_thing(row, report.time) for row in report.rows],
        "journal": [_unseen(item) for item in report.unseen],
        "blind": [{"region": item.region, "what": item.what, "why": item.why} for item in report.blind],
    }


def _thing(row: Row, now: float) -> dict[str, Any]:
    thing = row.leftover
    return {
        "verdict": row.fate,
        "why": row.why,
        "kind": thing.kind,
        "id": thing.id,
        "region": thing.region,
        "run": thing.run_id,
        "owner": thing.owner or None,
        "purpose": thing.purpose or None,
        "state": thing.state or None,
        "age_seconds": None if thing.created_at is None else round(max(0.0, now - thing.created_at), 1),
        "deadline": thing.deadline,
        "cost": thing.cost,
        "command": row.command,
    }


def _unseen(item: Unseen) -> dict[str, Any]:
    return {
        "kind": item.kind,
        "id": item.id,
        "region": item.region,
        "run": item.run_id,
        "deadline": item.deadline,
        "what": item.what,
        "ended": item.ended,
        "command": item.command,
    }
