"""What is said when a run is over: the texts, the plan of a dry run, the receipt."""

from __future__ import annotations

from gputx.cli.render.words import printable
from gputx.errors import InterruptedBySignal
from gputx.models import FileReport, RunReport
from gputx.units import duration, money


def transcripts(report: RunReport) -> str:
    """The texts, one segment a line; with several files each under its name, as head(1) does it."""
    texts = [file for file in report.files if file.transcript is not None]
    if len(report.files) == 1:
        return _text(texts[0]) if texts else ""
    return "\n".join(f"==> {printable(file.input)} <==\n{_text(file)}" for file in texts)


def _text(file: FileReport) -> str:
    return "".join(f"{segment.text}\n" for segment in file.transcript.segments) if file.transcript else ""


def plan(report: RunReport) -> str:
    """The pools a launch would try, in order."""
    rows = [
        f"{pool!s:<40} {money(pool.hourly) + '/h' if pool.hourly is not None else 'price unknown'}"
        for pool in report.plan
    ]
    image = f"image {report.image.id} ({report.image.name}), model {report.image.model}\n" if report.image else ""
    return image + "".join(f"{number}. {row}\n" for number, row in enumerate(rows, 1))


def receipt(report: RunReport) -> str:
    """``33 s · $0.0017 (on-demand would have been $0.0051) · nothing left running``."""
    end = max((phase.end for phase in report.phases), default=report.started_at)
    parts = [duration(end - report.started_at)]
    if isinstance(report.ending, InterruptedBySignal):
        parts.insert(0, "stopped")
    if report.cost is not None:
        parts.append(_cost(report))
    if report.may_still_run:
        parts.append("something may still be running")
    elif report.place == "local":
        parts.append("on this machine")
    elif report.instance or report.ended:
        parts.append("nothing left running")
    else:
        parts.append("nothing was launched")
    return " · ".join(parts)


def _cost(report: RunReport) -> str:
    cost = report.cost
    if cost is None or cost.total is None:
        return "price unknown"
    other = cost.on_demand_total
    if other is None or report.instance is None or report.instance.market == "on-demand":
        return money(cost.total)
    return f"{money(cost.total)} (on-demand would have been {money(other)})"
