"""The lease of an image that is being made: asked for, waited for, finished; or undone, however it was left.

CreateImage has no token, so the journal has the image before it is asked for, under a run of its own, and finds it by
the tags that it carries from that very call.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from gputx import __version__
from gputx.ami.recipe import Recipe
from gputx.aws import image_making, image_shelf, tags
from gputx.aws.errors import AwsError
from gputx.aws.session import AwsSession
from gputx.clock import Stop
from gputx.errors import GputxError, InterruptedBySignal
from gputx.lease.guard import Guard
from gputx.models import Kind
from gputx.workflows.build_report import BuildReport
from gputx.workflows.hosts.machine import Machine, Machines
from gputx.workflows.hosts.survey import Ground
from gputx.workflows.story import Story

IMAGING_SECONDS = 3600.0
"""An image of some ten GB takes EC2 five to ten minutes; one that is pending after an hour is given up."""

_LIFE_SECONDS = 3 * 3600.0
"""Beside the time that its two instances may take: an image that was not finished by then is anybody's to take away."""


class ImageLease:
    """One image, from before it is asked for until it is finished or gone."""

    def __init__(
        self,
        session: AwsSession,
        guard: Guard,
        stamp: tags.Stamp,
        recipe: Recipe,
        *,
        report: BuildReport,
        story: Story,
        stop: Stop,
    ) -> None:
        self._session = session
        self._guard = guard
        self._stamp = stamp
        self._recipe = recipe
        self._report = report
        self._story = story
        self._stop = stop

    @classmethod
    @contextmanager
    def held(
        cls,
        machines: Machines,
        ground: Ground,
        recipe: Recipe,
        *,
        working: float,
        report: BuildReport,
        story: Story,
        stop: Stop,
    ) -> Iterator[ImageLease]:
        """A lease for a block: whatever leaves it before the image is finished, the image goes.

        Args:
            working: seconds that the instances of the build may live, all of them one after another.

        Raises:
            ConfigurationError: the journal can't be written, so nothing may be made.
        """
        guard = machines.guard(f"{report.id}-image", ground.who.account, lifetime=_LIFE_SECONDS + working)
        guard.arm()
        stamp = machines.stamp(ground, guard)
        try:
            yield cls(machines.session, guard, stamp, recipe, report=report, story=story, stop=stop)
        finally:
            if guard.holds(Kind.IMAGE):
                with story.phase("undo") as phase:
                    guard.end()
                    phase.detail = "not yet: a later gputx command takes it away" if guard.left else ""
            guard.abandon()

    def imaged(self, machine: Machine) -> image_making.Made:
        """Ask for the image, which reboots the builder, and wait for it while the builder hears that we live.

        Raises:
            ImageFailedError: EC2 could not make it, or not in an hour.
            AwsError: it was refused.
        """
        name = self._name()
        labels = {
            **self._stamp.as_tags(),
            "Name": name,
            tags.RECIPE: self._report.recipe,
            image_shelf.PROFILE: self._recipe.profile.name,
        }
        with self._story.phase("image", name) as phase:
            self._stop.check()
            self._guard.making(Kind.IMAGE, name)
            try:
                image_id = image_making.create(
                    self._session,
                    instance_id=machine.instance.id,
                    name=name,
                    description=f"gputx: {self._recipe.profile.title}"[:255],
                    labels=labels,
                    stop=self._stop,
                )
            except AwsError as error:
                if not error.lost:
                    self._guard.refused(Kind.IMAGE)
                raise
            self._guard.made(Kind.IMAGE, image_id)
            self._report.image_name = name
            phase.detail = f"{image_id}, pending"
            with self._heard_again(machine):
                made = image_making.wait(self._session, image_id, timeout=IMAGING_SECONDS, stop=self._stop)
            phase.detail = f"{made.id}, {name}"
        return made

    def finish(self, made: image_making.Made, ssh_port: int) -> None:
        """The last word: from here on a run may choose it. Raises AwsError."""
        passed = sum(checked.passed for checked in self._report.checked)
        labels = {
            **self._recipe.tags(),
            tags.SSH_PORT: str(ssh_port),
            "gputx:base": self._report.base,
            "gputx:checks": str(passed),
            "gputx:built-by": f"gputx {__version__}",
        }
        with self._story.phase("finish", made.id) as phase:
            image_making.finish(self._session, made, labels)
            self._guard.finished(Kind.IMAGE)
            self._report.image_id = made.id
            phase.detail = f"{made.id}: {passed} checks passed"

    def _name(self) -> str:
        """Unique in the account and region: the build's time and a part of its inputs' hash."""
        day, time, _ = self._report.id.split("-", 2)
        return f"gputx-{self._recipe.profile.name}-{day}-{time}-{self._report.recipe[:8]}"

    @contextmanager
    def _heard_again(self, machine: Machine) -> Iterator[None]:
        """After its reboot the builder has to hear of us, or it would end itself with its image half made.

        Where it can't be reached the image is waited for all the same: as a rule it is there in less than the grace.
        """
        over = Stop()

        def attend() -> None:
            try:
                with machine.reached(over):
                    over.wait(IMAGING_SECONDS)
            except InterruptedBySignal:
                return
            except GputxError as error:
                if not over.requested:
                    self._story.note(f"the builder was not reached after its reboot: {error.message}")

        with ThreadPoolExecutor(1, thread_name_prefix="again") as background:
            background.submit(attend)
            try:
                yield
            finally:
                over.request(signal.SIGTERM)
