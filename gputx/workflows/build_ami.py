"""``gputx build-ami``: a recipe in, a checked image out, and nothing left running.

:func:`build` finds out whether there is such an image already; :class:`gputx.workflows.image_build.ImageBuild` is the
life of a build.
"""

from __future__ import annotations

from dataclasses import dataclass

from gputx.ami.recipe import Recipe
from gputx.clock import Stop
from gputx.errors import GputxError
from gputx.events import EventStream
from gputx.workflows.build_report import BuildReport
from gputx.workflows.check_broker import need_checks
from gputx.workflows.hosts.survey import LaunchOptions
from gputx.workflows.image_build import ImageBuild
from gputx.workflows.place import open_place
from gputx.workflows.story import Story
from gputx.workflows.where import run_id


@dataclass(frozen=True)
class BuildRequest:
    """What is to be built.

    Attributes:
        force: build even where there is an image of the same inputs.
        resume: go on with the builder that was kept last.
        keep: seconds that a builder is left to be looked at if a step or a check fails; None ends it.
    """

    recipe: Recipe
    force: bool = False
    resume: bool = False
    keep: float | None = None
    dry_run: bool = False


@dataclass(frozen=True)
class BuildPlace:
    """The account: ``on`` is "aws" or "sandbox"; and what may be launched there."""

    on: str
    region: str
    profile: str | None
    options: LaunchOptions


def build(request: BuildRequest, where: BuildPlace, events: EventStream, stop: Stop) -> BuildReport:
    """Build the image, or find the one that was built of the same inputs.

    Returns:
        The report. ``ending`` is set where there is no image, or where something may still run.

    Raises:
        ConfigurationError: what the checks need is not installed, or the account can't be opened.
    """
    need_checks()
    with open_place(where.on, region=where.region, profile=where.profile) as place:
        story = Story(events, place.session.clock)
        report = BuildReport(
            run_id(story.clock),
            where.on,
            place.session.region,
            story.clock.time(),
            request.recipe.profile.name,
            dry_run=request.dry_run,
        )
        try:
            ImageBuild(request, place, where.options, report, story=story, stop=stop).run()
        except GputxError as error:
            report.ending = error
        report.phases = story.phases
        return report
