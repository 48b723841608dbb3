"""What ``gputx doctor --json`` prints; docs/json.md describes it field by field."""

from __future__ import annotations

from typing import Any

from gputx.workflows.checks.finding import Verdict
from gputx.workflows.checks.rounds import Result
from gputx.workflows.doctor import DoctorReport

VERSION = 1


def doctor_document(report: DoctorReport) -> dict[str, Any]:
    """The document of one round of checks."""
    request, ending = report.request, report.ending
    return {
        "version": VERSION,
        "on": request.on,
        "region": request.region,
        "profile": request.profile,
        "error": ending.message if ending else None,
        "exit_code": int(ending.exit_code) if ending else 0,
        "counts": {verdict: report.counts.get(verdict, 0) for verdict in Verdict},
        "checks": [_check(result) for result in report.results],
    }


def _check(result: Result) -> dict[str, Any]:
    finding = result.finding
    return {
        "name": result.name,
        "verdict": finding.verdict,
        "line": finding.line,
        "remedy": finding.remedy,
        "details": list(finding.details),
        "facts": dict(finding.facts),
        "seconds": round(result.seconds, 3),
    }
