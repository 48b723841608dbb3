"""``gputx reap``."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from gputx import config
from gputx.cli.options import as_json, cloud
from gputx.cli.say import put, say
from gputx.errors import ExitCode, InterruptedBySignal
from gputx.units import parse_duration

if TYPE_CHECKING:
    from gputx.workflows.reap import ReapRequest, Where
    from gputx.workflows.reap_report import ReapReport


@click.command()
@cloud
@click.option("--run", "run_id", metavar="ID", help="end exactly this run, whoever's it is and whoever holds it")
@click.option("--older-than", metavar="AGE", help="end nothing younger than this: 90s, 15m, 2h, 1d")
@click.option("--all", "everything", is_flag=True, help="end colleagues' runs, runs at work and servers, too")
@click.option("--all-regions", is_flag=True, help="look in every region of the account")
@click.option("--dry-run", is_flag=True, help="show what would be ended, and end nothing")
@click.option("--yes", "-y", is_flag=True, help="do not ask")
@as_json
@click.option("--quiet", "-q", is_flag=True, help="say nothing on stderr but warnings and errors")
def reap(dry_run: bool, yes: bool, as_json: bool, quiet: bool, **flags: Any) -> None:
    """End what gputx left in the account.

    \b
      gputx reap --dry-run

    Found by tag and by journal: what is yours and held by no gputx that lives, and whatever is past its deadline.
    What carries no gputx tag is never touched. For cron: --yes, and the exit code (0: nothing is left that should
    end).
    """
    settings = config.load({name: flags.pop(name) for name in ("on", "region", "profile")})
    request, where = _request(settings, dry_run, **flags), _where(settings)
    if not (yes or dry_run or sys.stdin.isatty()):
        raise click.UsageError("there is nobody to ask: add --yes to end what is found, or --dry-run to look")
    agreed = request if yes or dry_run else _agreed(request, where, quiet)
    _tell(_reap(agreed, where, quiet), as_json)


def _agreed(request: ReapRequest, where: Where, quiet: bool) -> ReapRequest:
    """Rehearse, show, ask. What is ended afterwards is no more than what was shown."""
    from gputx.cli.ask import confirm  # noqa: PLC0415 - commands load what they need when they run
    from gputx.cli.render.tables import leftovers  # noqa: PLC0415

    found = _reap(replace(request, dry_run=True), where, quiet)
    if isinstance(found.ending, InterruptedBySignal):
        raise found.ending
    if found.due:
        say(leftovers(found))
        things = f"these {len(found.due)} things" if len(found.due) > 1 else "this"
        if not confirm(f"End {things}?"):
            say("nothing was ended")
            raise click.exceptions.Exit(ExitCode.FAILED)
    return replace(request, only=found.due)


def _reap(request: ReapRequest, where: Where, quiet: bool) -> ReapReport:
    from gputx.cli.render import show  # noqa: PLC0415
    from gputx.lease.interrupts import supervise  # noqa: PLC0415
    from gputx.workflows.reap import reap as workflow  # noqa: PLC0415

    with show.display(quiet=quiet) as display:
        return supervise(
            lambda stop: workflow(request, where, display.events, stop), on_signal=display.interrupted, last=True
        )


def _tell(report: ReapReport, as_json: bool) -> None:
    from gputx.cli.render.tables import leftovers  # noqa: PLC0415
    from gputx.workflows.reap_document import reap_document  # noqa: PLC0415

    try:
        put(json.dumps(reap_document(report), indent=2) + "\n" if as_json else leftovers(report))
    finally:
        # Whatever becomes of stdout: what may still run has to be said.
        if report.ending:
            raise report.ending


def _where(settings: config.Configuration) -> Where:
    from gputx.workflows.reap import Where  # noqa: PLC0415

    if settings.text("on") == "local":
        raise click.UsageError("nothing of --on local outlives its command; use --on aws or --on sandbox")
    return Where(settings.text("on"), settings.text("region"), settings.optional("profile"))


def _request(settings: config.Configuration, dry_run: bool, *, older_than: str | None, **flags: Any) -> ReapRequest:
    from gputx.lease.verdict import GRACE_SECONDS  # noqa: PLC0415
    from gputx.workflows.reap import ReapRequest  # noqa: PLC0415

    return ReapRequest(
        dry_run=dry_run,
        older_than=None if older_than is None else parse_duration(older_than),
        # Runs that were given a longer grace are heard of more seldom.
        grace=max(GRACE_SECONDS, settings.seconds("grace")),
        **flags,
    )
