"""``gputx build-ami``: a recipe in, a checked image out, and nothing left running.

:func:`build` finds out whether there is such an image already; :class:`gputx.workflows.image_build.ImageBuild` is the
life of a build.
"""

from __future__ import annotations

from gputx.clock import Stop
from gputx.errors import GputxError
from gputx.events import EventStream
from gputx.workflows.build_report import BuildReport
from gputx.workflows.build_request import BuildPlace, BuildRequest
from gputx.workflows.check_broker import need_checks
from gputx.workflows.image_build import ImageBuild
from gputx.workflows.naming import run_id
from gputx.workflows.place import open_place
from gputx.workflows.story import Story


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
