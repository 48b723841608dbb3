"""What a bench came to, as a table."""

from __future__ import annotations

from gputx.cli.render.words import columns, printable
from gputx.units import duration, size
from gputx.workflows.bench_picture import pace
from gputx.workflows.bench_report import BenchReport, Standing

_NONE = "–"


def table(report: BenchReport) -> str:
    """The recording and the machine in one line, then a row for each contestant, fastest first.

    The column of word error rates is there only where somebody said what the truth is.
    """
    if all(standing.seconds is None for standing in report.standings):
        return ""  # the error says why
    scored = report.reference_words is not None
    head = ["CONTESTANT", "SECONDS", "× REAL TIME", "FIRST TEXT", *(["WER %"] if scored else []), "MEMORY", "NOTE"]
    rows = [_row(standing, scored) for standing in report.standings]
    for decoder, packages in report.absent.items():
        rows.append([decoder, *[_NONE] * (len(head) - 2), f"not installed there: {' and '.join(packages)}"])
    cells = [[printable(cell) for cell in row] for row in rows]
    return printable(_about(report)) + "\n" + columns([head, *cells])


def _about(report: BenchReport) -> str:
    parts = [report.input, duration(report.duration_seconds)]
    parts += [report.run.model] if report.run.model else []
    parts += [report.run.instance.instance_type] if report.run.instance else []
    parts += [str(report.machine)] if report.machine else []
    parts += [f"medians of {report.rounds} rounds"] if report.rounds > 1 else []
    return " · ".join(parts)


def _row(standing: Standing, scored: bool) -> list[str]:
    errors = standing.word_error_rate
    return [
        standing.name,
        _NONE if standing.seconds is None else f"{standing.seconds:.1f}",
        _NONE if standing.speed is None else pace(standing.speed),
        _NONE if standing.first_text_seconds is None else duration(standing.first_text_seconds),
        *([_NONE if errors is None else f"{100 * errors:.1f}"] if scored else []),
        _memory(standing),
        _note(standing),
    ]


def _memory(standing: Standing) -> str:
    parts = [size(standing.memory)] if standing.memory else []
    parts += [f"{size(standing.gpu_memory)} GPU"] if standing.gpu_memory else []
    return " + ".join(parts) or _NONE


def _note(standing: Standing) -> str:
    """What sets it apart: nothing matters beside what kept it from being measured."""
    if standing.error and standing.seconds is None:
        return standing.error
    return "; ".join([*(["the default"] if standing.default else []), *standing.notes, *filter(None, [standing.error])])
