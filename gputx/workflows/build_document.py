"""What ``gputx build-ami --json`` prints; docs/json.md describes it field by field."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from typing import Any

from gputx.workflows.build_report import BuildReport

VERSION = 1


def build_document(report: BuildReport) -> dict[str, Any]:
    """The document of one build. Times are seconds, money is USD."""
    return {
        "version": VERSION,
        "id": report.id,
        "on": report.place,
        "region": report.region,
        "profile": report.profile,
        "recipe": report.recipe or None,
        "base": report.base or None,
        "image": report.image_id,
        "image_name": report.image_name,
        "found": report.found,
        "dry_run": report.dry_run,
        "error": report.ending.message if report.ending else None,
        "steps": [
            {"name": step.name, "fate": step.fate, "seconds": round(step.seconds, 2), "why": step.why or None}
            for step in report.steps
        ],
        "checks": [
            {
                "where": checked.where,
                "name": check.name,
                "fate": check.fate,
                "seconds": round(check.seconds, 3),
                "why": check.why or None,
            }
            for checked in report.checked
            for check in checked.checks
        ],
        "phases": [{"name": phase.name, "start": phase.start, "end": phase.end} for phase in report.phases],
        "instances_ended": list(report.ended),
        "cost": report.cost.total if report.cost else None,
        "kept": None
        if report.kept is None
        else {"instance": report.kept.instance_id, "until": report.kept.until, "ssh": report.kept.ssh},
        "logs": str(report.directory) if report.directory else None,
    }


def junit_document(report: BuildReport) -> str:
    """All checks in one JUnit file: what pytest wrote of each machine, one suite each. Raises OSError."""
    whole = ET.Element("testsuites")
    for checked in report.checked:
        for suite in ET.parse(checked.junit).getroot().iter("testsuite"):  # noqa: S314 - pytest's own
            suite.set("name", checked.where)
            whole.append(suite)
    return ET.tostring(whole, encoding="unicode", xml_declaration=True) + "\n"
