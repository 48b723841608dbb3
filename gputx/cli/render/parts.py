"""What ``gputx setup`` and ``gputx teardown`` print: a row for each part, then what a person may want to do."""

from __future__ import annotations

from gputx.cli.render.words import columns, printable
from gputx.workflows.setup_report import Row, SetupReport, Verdict

_UNCHANGED = {Verdict.THERE, Verdict.KEPT, Verdict.LEFT_ALONE, Verdict.SKIPPED}

_GONE = {Verdict.REMOVED, Verdict.WOULD_REMOVE, Verdict.SKIPPED, Verdict.TAKEN}


def parts(report: SetupReport) -> str:
    """The table, the commands that it leads to, and a line that counts."""
    if not report.rows:
        return "\n".join(["nothing of gputx setup is in this account", *report.notes]) + "\n"
    head = ("VERDICT", "PART", "NAME", "WHERE", "COSTS", "WHY")
    cells = [
        tuple(printable(cell) for cell in (it.verdict, it.kind, it.name, it.region or "account", _cost(it), it.why))
        for it in report.rows
    ]
    advice = [f"{it.name}: {it.command}" for it in report.rows if it.command]
    lines = [f"next for {line}" for line in advice] + list(report.notes)
    return _without_empty_columns([head, *cells]) + "".join(f"{printable(line)}\n" for line in lines) + _sum(report)


def _without_empty_columns(rows: list[tuple[str, ...]]) -> str:
    used = [column for column in range(len(rows[0])) if any(row[column] for row in rows[1:])]
    return columns([tuple(row[column] for column in used) for row in rows])


def _cost(it: Row) -> str:
    """Of what is there afterwards."""
    return "" if it.verdict in _GONE else it.cost


def _sum(report: SetupReport) -> str:
    counts = {verdict: sum(it.verdict is verdict for it in report.rows) for verdict in Verdict}
    counted = ", ".join(f"{count} {verdict.replace('would', 'to')}" for verdict, count in counts.items() if count)
    changed = any(it.verdict not in _UNCHANGED for it in report.rows)
    return f"account {report.account}: {counted}{'' if changed else '; nothing to do'}\n"
