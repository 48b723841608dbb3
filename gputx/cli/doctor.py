"""``gputx doctor``."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import click

from gputx import config
from gputx.cli.options import as_json, cloud, setting
from gputx.cli.say import put, say
from gputx.units import parse_duration

if TYPE_CHECKING:
    from gputx.workflows.checks.rounds import Tell
    from gputx.workflows.doctor import DoctorReport, DoctorRequest


@click.command()
@cloud
@setting("market")
@setting("instance_type")
@setting("zone")
@setting("image")
@setting("bucket")
@setting("subnet")
@setting("allow_cidr")
@setting("instance_role")
@click.option("--timeout", metavar="TIME", default="20s", show_default=True, help="for each check")
@as_json
def doctor(timeout: str, as_json: bool, **flags: Any) -> None:
    """Check everything a run needs, and say how to mend it.

    \b
      gputx doctor --on sandbox

    Changes nothing, here or in the account. Each check ends as ok, warning (a run would work), failed (it would not) or
    skipped; what is not ok comes with a command that can be pasted. The exit code is 0 where nothing failed.
    """
    settings = config.load(flags)
    request = _request(settings, timeout)
    if as_json:
        from gputx.workflows.doctor_document import doctor_document  # noqa: PLC0415

        report = _examined(request, lambda _: None)
        put(json.dumps(doctor_document(report), indent=2) + "\n")
    else:
        report = _shown(request)
    if report.ending:
        raise report.ending


def _shown(request: DoctorRequest) -> DoctorReport:
    """On a terminal, all checks at once while they last; elsewhere a line each, in their order."""
    from gputx.cli.render import findings  # noqa: PLC0415 - commands load what they need when they run

    style = findings.Style.of(sys.stdout)
    if sys.stdout is not None and sys.stdout.isatty() and sys.stderr is not None and sys.stderr.isatty():
        with findings.Board(request.names, style) as board:
            report = _examined(request, board.tell)
        put("".join(findings.row(result, style) for result in report.results))
    else:
        from gputx.workflows.checks.rounds import in_order  # noqa: PLC0415

        report = _examined(request, in_order(request.names, lambda result: put(findings.row(result, style))))
    put(findings.total(report, style))
    return report


def _examined(request: DoctorRequest, tell: Tell) -> DoctorReport:
    from gputx.lease.interrupts import supervise  # noqa: PLC0415 - commands load what they need when they run
    from gputx.workflows.doctor import doctor as workflow  # noqa: PLC0415

    return supervise(
        lambda stop: workflow(request, tell, stop), on_signal=lambda _signum, _count: say("stopping"), last=True
    )


def _request(settings: config.Configuration, timeout: str) -> DoctorRequest:
    from gputx.models import Market  # noqa: PLC0415 - commands load what they need when they run
    from gputx.workflows.checks.finding import Remedies  # noqa: PLC0415
    from gputx.workflows.checks.ground import Wishes  # noqa: PLC0415
    from gputx.workflows.doctor import DoctorRequest  # noqa: PLC0415

    seconds = parse_duration(timeout)
    if seconds <= 0:
        raise click.UsageError("--timeout has to be longer than nothing: write it like 20s")
    market, region, profile = settings.text("market"), settings.text("region"), settings.optional("profile")
    return DoctorRequest(
        on=settings.text("on"),
        region=region,
        profile=profile,
        wishes=Wishes(
            instance_types=settings.items("instance_type"),
            zones=settings.items("zone"),
            markets=(Market.SPOT, Market.ON_DEMAND) if market == "auto" else (Market(market),),
            bucket=settings.optional("bucket"),
            image=settings.optional("image"),
            subnet=settings.optional("subnet"),
            cidrs=settings.items("allow_cidr"),
            instance_role=settings.text("instance_role"),
            grace=settings.seconds("grace"),
        ),
        remedies=Remedies(
            region,
            profile,
            _typed(settings, "on", "region", "profile"),
            _typed(settings, "bucket", "instance_role", "market", "instance_type"),
        ),
        timeout=seconds,
    )


def _typed(settings: config.Configuration, *names: str) -> tuple[str, ...]:
    """Those of these options that only this command line knows: a remedy has to say them again."""
    typed = [name for name in names if settings.origins[name].startswith("flag ")]
    return tuple(word for name in typed for word in (f"--{name.replace('_', '-')}", _said(settings.values[name])))


def _said(value: Any) -> str:
    return ",".join(value) if isinstance(value, tuple) else str(value)
