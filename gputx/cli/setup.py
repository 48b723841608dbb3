"""``gputx setup`` and ``gputx teardown``."""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from gputx import config
from gputx.cli.options import as_json, cloud, setting
from gputx.cli.say import put, say
from gputx.errors import ExitCode, InputError, InterruptedBySignal

if TYPE_CHECKING:
    from gputx.clock import Stop
    from gputx.events import EventStream
    from gputx.workflows.reap import Where
    from gputx.workflows.setup import SetupRequest
    from gputx.workflows.setup_report import Named, SetupReport
    from gputx.workflows.teardown import TeardownRequest

_ADDRESS = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")


def _common(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        setting("instance_role"),
        setting("bucket"),
        click.option("--quiet", "-q", is_flag=True, help="say nothing on stderr but warnings and errors"),
        as_json,
        click.option("--yes", "-y", is_flag=True, help="do not ask"),
        cloud,
    ):
        command = option(command)
    return command


@click.command()
@_common
@setting("market")
@setting("instance_type")
@click.option("--budget", metavar="USD", help="a monthly budget that warns; none: no budget  [default: 100]")
@click.option("--email", metavar="ADDRESS", help="where the budget's warnings go; without one there is no budget")
@click.option("--dry-run", is_flag=True, help="show what would be made and what it costs, and make nothing")
def setup(*, budget: str | None, email: str | None, **flags: Any) -> None:
    """Make what gputx needs in an AWS account, after showing it.

    \b
      gputx setup --email you@example.org

    A private bucket, roles, log groups, a schedule group, a budget that warns, and more GPU vCPUs where AWS allows
    none. What is there already stays as it is; broken off, the same command goes on. gputx teardown takes it all
    away again.
    """
    manner = {name: flags.pop(name) for name in ("yes", "dry_run", "as_json", "quiet")}
    settings = config.load(flags)
    where = _where(settings)
    wanted = _setup_request(settings, _dollars(budget), _address(email))
    from gputx.workflows.setup import setup as workflow  # noqa: PLC0415 - commands load what they need when they run

    def work(rehearse: bool, only: frozenset[Named] | None, events: EventStream, stop: Stop) -> SetupReport:
        return workflow(replace(wanted, dry_run=rehearse, only=only), where, events, stop)

    _carry_out(work, "Make {}?", "nothing was made", **manner)


@click.command()
@_common
@click.option("--with-bucket", is_flag=True, help="delete the bucket, too, where it holds no results")
@click.option("--with-results", is_flag=True, help="delete the bucket and all results in it, for good")
@click.option("--dry-run", is_flag=True, help="show what would be removed, and remove nothing")
def teardown(*, with_bucket: bool, with_results: bool, **flags: Any) -> None:
    """Take away what gputx setup made, and nothing else.

    \b
      gputx teardown --dry-run

    The bucket stays unless --with-bucket says otherwise, and nothing that is in it goes without --with-results.
    What a person made is left alone, whatever its name.
    """
    manner = {name: flags.pop(name) for name in ("yes", "dry_run", "as_json", "quiet")}
    settings = config.load(flags)
    where = _where(settings)
    wanted = _teardown_request(settings, with_bucket, with_results)
    from gputx.workflows.teardown import teardown as workflow  # noqa: PLC0415 - as above

    def work(rehearse: bool, only: frozenset[Named] | None, events: EventStream, stop: Stop) -> SetupReport:
        return workflow(replace(wanted, dry_run=rehearse, only=only), where, events, stop)

    _carry_out(work, "Remove {}?", "nothing was removed", **manner)


def _carry_out(
    work: Callable[[bool, frozenset[Named] | None, EventStream, Stop], SetupReport],
    question: str,
    refused: str,
    *,
    yes: bool,
    dry_run: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Rehearse, show, ask, do. What is done afterwards is no more than what was shown."""
    if not (yes or dry_run or sys.stdin.isatty()):
        raise click.UsageError("there is nobody to ask: add --yes to do it, or --dry-run to look")
    only = None
    if not (yes or dry_run):
        rehearsed = _watched(work, True, None, quiet)
        if rehearsed.ending or not rehearsed.due:
            _tell(rehearsed, as_json)
            return
        only = _agreed(rehearsed, question, refused)
    _tell(_watched(work, dry_run, only, quiet), as_json)


def _agreed(rehearsed: SetupReport, question: str, refused: str) -> frozenset[Named]:
    from gputx.cli.ask import confirm  # noqa: PLC0415 - commands load what they need when they run
    from gputx.cli.render.parts import parts  # noqa: PLC0415

    say(parts(rehearsed))
    count = len(rehearsed.due)
    if not confirm(question.format(f"these {count} things" if count > 1 else "this")):
        say(refused)
        raise click.exceptions.Exit(ExitCode.FAILED)
    return rehearsed.due


def _watched(
    work: Callable[[bool, frozenset[Named] | None, EventStream, Stop], SetupReport],
    rehearse: bool,
    only: frozenset[Named] | None,
    quiet: bool,
) -> SetupReport:
    from gputx.cli.watched import watched  # noqa: PLC0415

    return watched(lambda events, stop: work(rehearse, only, events, stop), quiet=quiet)


def _tell(report: SetupReport, as_json: bool) -> None:
    from gputx.cli.render.parts import parts  # noqa: PLC0415
    from gputx.workflows.setup_report import setup_document  # noqa: PLC0415

    try:
        put(json.dumps(setup_document(report), indent=2) + "\n" if as_json else parts(report))
    finally:
        # Whatever becomes of stdout: what is missing has to be said.
        if report.ending:
            if isinstance(report.ending, InterruptedBySignal):
                say("stopped: what is done stays; the same command goes on from here")
            raise report.ending


def _where(settings: config.Configuration) -> Where:
    from gputx.workflows.reap import Where  # noqa: PLC0415

    if settings.text("on") == "local":
        raise click.UsageError("--on local needs nothing set up; use --on aws or --on sandbox")
    return Where(settings.text("on"), settings.text("region"), settings.optional("profile"))


def _setup_request(settings: config.Configuration, budget: float | None, email: str | None) -> SetupRequest:
    from gputx.models import Market  # noqa: PLC0415
    from gputx.workflows.setup import SetupRequest  # noqa: PLC0415

    market = settings.text("market")
    return SetupRequest(
        dry_run=True,
        bucket=settings.optional("bucket"),
        instance_role=settings.text("instance_role"),
        instance_types=settings.items("instance_type"),
        markets=tuple(Market) if market == "auto" else (Market(market),),
        budget=budget,
        email=email,
    )


def _teardown_request(settings: config.Configuration, with_bucket: bool, with_results: bool) -> TeardownRequest:
    from gputx.workflows.teardown import TeardownRequest  # noqa: PLC0415

    return TeardownRequest(
        dry_run=True,
        bucket=settings.optional("bucket"),
        instance_role=settings.text("instance_role"),
        with_bucket=with_bucket,
        with_results=with_results,
    )


def _dollars(said: str | None) -> float | None:
    """USD; 0 for no budget, None where nobody said."""
    if said is None or said == "none":
        return None if said is None else 0.0
    try:
        dollars = float(said)
    except ValueError:
        dollars = math.nan
    if not 1 <= dollars <= 1_000_000:
        raise InputError(f"--budget can't be {said!r}", hint="an amount in USD a month, 1 or more, or none")
    return dollars


def _address(said: str | None) -> str | None:
    # AWS takes 50 characters at most, and finds out by itself whether anybody reads there.
    if said is not None and not (_ADDRESS.fullmatch(said) and len(said) <= 50):
        raise InputError(f"--email can't be {said!r}", hint="one address of at most 50 characters: you@example.org")
    return said
