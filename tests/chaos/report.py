"""The table of what the campaigns came to, between two marks in docs/reliability.md."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .campaigns import PLANS, Campaign
from .log import Log, Notes
from .schedules import Census

DOCUMENT = Path(__file__).parents[2] / "docs" / "reliability.md"
BEGIN, END = "<!-- chaos:begin -->", "<!-- chaos:end -->"
_BASELINES = {"C1": "B1", "C2": "B2"}


def write(directory: Path, seed: int, document: Path = DOCUMENT) -> None:
    """Replace what is between the marks.

    Raises:
        ValueError: the document has no such marks.
    """
    text = document.read_text(encoding="utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{document} has no {BEGIN} … {END}")
    document.write_text(f"{before}{BEGIN}\n{table(directory, seed)}\n{END}{after}", encoding="utf-8")


def table(directory: Path, seed: int) -> str:
    """Markdown, with a line for each campaign that has been run with this seed."""
    notes = Notes(directory, seed, fresh=False)
    logs = {key: Log(directory, key, seed, fresh=False) for key in PLANS}
    head = (
        "| | campaign | counted (not counted) | points hit | must hold | violations | plain try/finally | wall time |"
    )
    rows = [head, "|---|---|---|---|---|---|---|---|"]
    for key, plan in PLANS.items():
        if logs[key].records and not plan.plain:
            rows.append(_row(key, plan.campaign, logs, notes, seed))
    lines = ["\n".join(rows)]
    lines += [text for text in (_orphans(logs["C2"]), _fatal(logs["C8"]), _leaks(logs)) if text]
    lines.append(_machine(notes, seed))
    return "\n\n".join(lines)


def _row(key: str, campaign: Campaign, logs: dict[str, Log], notes: Notes, seed: int) -> str:
    log = logs[key]
    census = notes.census(PLANS[key].client) or Census((), 0.0)
    points = campaign.points(seed, census)
    hit = len(log.hit & set(points))
    plain = logs[_BASELINES[key]] if key in _BASELINES else None
    return (
        f"| {key} | {campaign.TITLE} | {log.counted} ({len(log.records) - log.counted}) | "
        f"{f'{hit} of {len(points)}' if points else '–'} | {campaign.PROMISE} | "
        f"{sum(bool(r['violations']) for r in log.records.values())} of {len(log.records)} | "
        f"{_rate(list(plain.records.values())) if plain and plain.records else '–'} | "
        f"{_minutes(notes.campaign(key).get('wall', 0.0))} |"
    )


def _rate(records: list[dict[str, Any]]) -> str:
    """How many of the trials that counted left an instance running."""
    counted = [record for record in records if record["counted"]]
    leaked = sum(bool(record["leaked"]) for record in counted)
    return f"leaked in {leaked} of {len(counted)} ({100 * leaked / max(1, len(counted)):.0f} %)"


def leak_rates(logs: dict[str, Log]) -> dict[str, tuple[int, int]]:
    """Of the plain client: signal → (trials that leaked, trials that counted)."""
    rates: dict[str, tuple[int, int]] = {}
    for key in _BASELINES.values():
        for record in logs[key].records.values():
            if record["counted"]:
                name = _signal(record)
                leaked, counted = rates.get(name, (0, 0))
                rates[name] = (leaked + bool(record["leaked"]), counted + 1)
    return rates


def _leaks(logs: dict[str, Log]) -> str:
    rates = leak_rates(logs)
    if not rates:
        return ""
    ours = {"KILL": "C2"}
    told = []
    for name, (leaked, counted) in sorted(rates.items()):
        mine = logs[ours.get(name, "C1")]
        of_ours = [r for r in mine.records.values() if r["counted"] and _signal(r) == name]
        live = sum(any("live" in violation for violation in r["violations"]) for r in of_ours)
        told.append(f"| {name} | {leaked} of {counted} ({100 * leaked / counted:.0f} %) | {live} of {len(of_ours)} |")
    return "\n".join(["| signal | plain try/finally leaked | gputx leaked |", "|---|---|---|", *told])


def _signal(record: dict[str, Any]) -> str:
    signals = record["schedule"]["strikes"][-1]["signals"]
    return f"{signals[0]} twice" if len(signals) > 1 else str(signals[0])


def _orphans(log: Log) -> str:
    lives = [record for record in log.records.values() if record.get("orphans")]
    if not lives:
        return ""
    longest = max(lives, key=lambda record: record["orphan_seconds"])
    dearest = max(record["orphan_cost"] for record in lives)
    return (
        f"Orphans of a killed client in C2: {len(lives)}. The longest lived {longest['orphan_seconds']:.0f} s from its "
        f"launch to its end; the dearest cost {dearest:.4f} USD at its zone's spot price."
    )


def _fatal(log: Log) -> str:
    slowest = max(log.records.values(), key=lambda record: record.get("seconds_to_exit", 0.0), default=None)
    if slowest is None:
        return ""
    return (
        f"From a fatal answer to the exit in C8: {slowest['seconds_to_exit']:.1f} s at most "
        f"({slowest['schedule']['point']})."
    )


def _machine(notes: Notes, seed: int) -> str:
    ran = [figures for key in PLANS if (figures := notes.campaign(key))]
    if not ran:
        return ""
    latest = max(ran, key=lambda figures: figures["date"])
    wall = sum(figures["wall"] for figures in ran)
    return (
        f"Seed {seed}; {latest['date']}; a machine with {latest['cores']} cores, {latest['workers']} sandboxes side by "
        f"side; {_minutes(wall)} in all. `make chaos` writes this."
    )


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"
