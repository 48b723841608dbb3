"""The life of an image, to be read from top to bottom: survey, build, check, image, check again, finish.

Two leases: one of each instance (the builder, then a fresh one of the image), and one of the image itself, which is
undone unless its very last step was taken.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager

from gputx.aws import base_images, image_making, image_shelf
from gputx.clock import Stop
from gputx.errors import CapacityError, GputxError, InstanceLostError, InterruptedBySignal
from gputx.lease.guard import Guard
from gputx.models import CONTRACT, Image, Pool
from gputx.units import duration
from gputx.workflows.build_report import BuildReport, Checked
from gputx.workflows.build_request import BuildRequest
from gputx.workflows.build_steps import StepFailedError, Steps
from gputx.workflows.check_broker import run_checks
from gputx.workflows.hosts.allowance import allowance
from gputx.workflows.hosts.machine import Keys, Machine, Machines
from gputx.workflows.hosts.survey import Ground, LaunchOptions, interruptible, look_round
from gputx.workflows.image_lease import ImageLease
from gputx.workflows.kept_builders import KeptBuilders, Record
from gputx.workflows.lives import Lives
from gputx.workflows.place import Place
from gputx.workflows.resumed import Resumed
from gputx.workflows.settling import settle_earlier
from gputx.workflows.story import Story

_LIVES = 2
"""A builder, or a fresh instance, that is lost is replaced once, in another pool."""

_CAPACITY_PAUSES = (30.0, 60.0, 120.0, 240.0)
"""Before an instance of the image is asked for again."""

_CLOCKS_DIFFER_SECONDS = 5.0


class ChecksFailedError(GputxError):
    """The machine is not what the recipe promises, so there is no image."""


class ImageBuild:
    """One build on one account."""

    def __init__(
        self,
        request: BuildRequest,
        place: Place,
        options: LaunchOptions,
        report: BuildReport,
        *,
        story: Story,
        stop: Stop,
    ) -> None:
        self._request = request
        self._recipe = request.recipe
        self._report = report
        self._story = story
        self._stop = stop
        self._session = place.session
        self._place = place
        self._options = options
        self._machines = Machines(place, options, story, stop)
        self._kept = KeptBuilders(place.journal)
        self._lives = Lives(report, story)
        self._launches = 0
        self._lost_in: list[Pool] = []
        self._deadline = 0.0
        self._logs = place.journal.directory / "builds" / report.id

    def run(self) -> None:
        with ThreadPoolExecutor(1, thread_name_prefix="settle") as background:
            settled = background.submit(settle_earlier, self._place, self._story.note, self._stop)
            try:
                self._run()
            except Exception as error:
                # What may still run matters more than why there is no image.
                if still_running := self._lives.still_running:
                    raise still_running from error
                raise
            finally:
                for line in settled.result():
                    self._story.warn(line)
        if still_running := self._lives.still_running:
            raise still_running

    def _run(self) -> None:
        resumed = Resumed.find(self._kept, self._session, self._recipe) if self._request.resume else None
        ground = self._surveyed(resumed.record if resumed else None)
        self._report.base, self._report.plan = ground.image.id, list(ground.pools)
        self._report.recipe = self._recipe.digest(ground.image.id)
        if not self._request.force and self._found():
            return
        if self._request.dry_run:
            return
        self._logs.mkdir(parents=True, exist_ok=True)
        self._report.directory = self._logs
        with self._image_lease(ground) as lease:
            made = self._built(ground, lease, resumed)
            self._checked_afresh(ground, made)
            lease.finish(made, ground.image.ssh_port)

    # What is there

    def _surveyed(self, resumed: Record | None) -> Ground:
        return interruptible(
            self._session,
            self._stop,
            lambda: look_round(self._session, self._options, self._story, find_image=lambda: self._base(resumed)),
        )

    def _base(self, resumed: Record | None) -> Image:
        profile = self._recipe.profile
        base_images.check_types(
            self._session, self._options.instance_types, architecture=profile.architecture, gpu=profile.has_gpu
        )
        # A base that is published anew does not change what a builder was made of.
        base = resumed.base if resumed else profile.base
        return base_images.find_base(self._session, base, architecture=profile.architecture, ssh_user=profile.ssh_user)

    def _found(self) -> bool:
        """Whether there is an image of the same inputs; then there is nothing to build."""
        with self._story.phase("found") as phase:
            built = image_shelf.find_built(self._session, self._report.recipe)
            phase.detail = built.id if built else "none"
        if built is None:
            return False
        self._report.image_id, self._report.image_name, self._report.found = built.id, built.name, True
        return True

    # The builder

    def _built(self, ground: Ground, lease: ImageLease, resumed: Resumed | None) -> image_making.Made:
        """An image of a builder on which every step was run and every check passed; where it is lost, of one more."""
        for life in range(1, _LIVES + 1):
            try:
                return self._one_builder(ground, lease, resumed if life == 1 else None)
            except InstanceLostError as error:
                self._again(life, error)
                self._report.steps.clear()
                self._report.checked.clear()
        raise AssertionError("unreachable: the last life ends in its result or its error")

    def _one_builder(self, ground: Ground, lease: ImageLease, resumed: Resumed | None) -> image_making.Made:
        keys = resumed.record.keys if resumed else Keys.fresh()
        guard = resumed.guard(self._place, self._story) if resumed else self._new_guard(ground, self._request.keep)
        self._deadline = guard.deadline
        with self._leased(guard, ground), self._machine(ground, guard, keys, resumed) as machine:
            try:
                self._work(machine)
            except (StepFailedError, ChecksFailedError) as error:
                self._keep(machine, guard, ground, why=error)
                raise
            self._steps(machine).tidy()
            return lease.imaged(machine)

    def _work(self, machine: Machine) -> None:
        steps = self._steps(machine)
        steps.run(steps.send(), self._report.steps.append)
        self._check(machine, "builder")

    def _steps(self, machine: Machine) -> Steps:
        return Steps(self._recipe, machine, self._story, self._stop, self._logs)

    @contextmanager
    def _machine(self, ground: Ground, guard: Guard, keys: Keys, resumed: Resumed | None) -> Iterator[Machine]:
        if resumed is None:
            with self._machines.machine(
                ground,
                guard,
                avoid=self._lost_in,
                attempted=self._lives.attempted,
                launched=self._lives.launched,
                keys=keys,
                disk_gb=self._recipe.profile.disk_gib,
            ) as machine:
                yield machine
            return
        stamp = self._machines.stamp(ground, guard)
        instance = resumed.take_back(self._session, guard, stamp)
        self._kept.forget(resumed.record.run_id)
        self._lives.launched(instance)
        with self._machines.attended(
            ground, guard, stamp, instance=instance, keys=keys, launched=self._lives.launched
        ) as machine:
            resumed.wake(machine)
            yield machine

    # Checks

    def _check(self, machine: Machine, where: str) -> None:
        """Run every check, and tell of all that fail. Raises ChecksFailedError where one does."""
        with self._story.phase("checks", where) as phase:
            junit = self._logs / f"checks-{where}.xml"
            checks = run_checks(
                self._recipe.checks,
                machine.connection,
                environment={**self._recipe.environment(), "GPUTX_CHECKED": where},
                junit=junit,
                log=self._logs / f"checks-{where}.log",
                stop=self._stop,
            )
            checked = Checked(where, checks, junit)
            self._report.checked.append(checked)
            phase.detail = checked.said
            if checked.failed:
                machine.look()
                raise ChecksFailedError(
                    f"there is no image, because checks failed on the {where}: {checked.said}",
                    details=tuple(f"{check.name}: {check.why}" for check in checked.failed),
                    hint=f"what they saw: {junit.with_suffix('.log')}",
                )

    # The image

    def _image_lease(self, ground: Ground) -> AbstractContextManager[ImageLease]:
        return ImageLease.held(
            self._machines,
            ground,
            self._recipe,
            working=2 * _LIVES * self._options.ttl + (self._request.keep or 0.0),
            report=self._report,
            story=self._story,
            stop=self._stop,
        )

    def _checked_afresh(self, ground: Ground, made: image_making.Made) -> None:
        """The same checks on an instance of the image: what a person's first run meets."""
        image = dataclasses.replace(
            ground.image,
            id=made.id,
            name=made.name,
            contract=CONTRACT,
            model=self._recipe.profile.model,
            model_revision=self._recipe.profile.model_revision,
        )
        fresh = dataclasses.replace(ground, image=image)
        life, waits = 1, list(_CAPACITY_PAUSES)
        while True:
            guard = self._new_guard(ground, None)
            try:
                with self._leased(guard, ground), self._machine(fresh, guard, Keys.fresh(), None) as machine:
                    self._check(machine, "image")
            except InstanceLostError as error:
                self._again(life, error)
                life += 1
            except CapacityError as error:
                # Half an hour of work is in the image by now, and the builder that ends still counts for a while.
                if not waits:
                    raise
                self._story.note(f"{error.message}; again in {waits[0]:.0f} s")
                self._story.clock.sleep(waits.pop(0), self._stop)
            else:
                return

    # Lives

    def _new_guard(self, ground: Ground, keep: float | None) -> Guard:
        self._launches += 1
        options = self._options
        lifetime = allowance(
            ttl=options.ttl + (keep or 0.0),
            max_cost=options.max_cost,
            spent=self._lives.spent,
            pools=ground.pools,
            on_demand=ground.on_demand,
        )
        name = self._report.id if self._launches == 1 else f"{self._report.id}-{self._launches}"
        guard = self._machines.guard(name, ground.who.account, lifetime=lifetime)
        self._deadline = guard.deadline
        return guard

    @contextmanager
    def _leased(self, guard: Guard, ground: Ground) -> Iterator[None]:
        """Whatever leaves the block, what the guard knows is ended; unless it is to be kept."""
        try:
            yield
        finally:
            if self._report.kept is None:
                self._lives.end(guard, ground.on_demand)
            else:
                self._lives.bill(ground.on_demand)

    def _again(self, life: int, error: InstanceLostError) -> None:
        """Say that an instance was lost and that there will be another; or raise, where there will not."""
        if self._story.clock.time() >= self._deadline - _CLOCKS_DIFFER_SECONDS:
            raise GputxError(
                f"the time that was allowed is over ({error.message})", hint="allow more with --ttl or --max-cost"
            ) from error
        if life == _LIVES or self._lives.still_running:
            raise error
        self._lost_in += self._lives.used[-1:]
        self._story.warn(error.message)
        self._story.note("starting again in another pool")

    def _keep(self, machine: Machine, guard: Guard, ground: Ground, *, why: GputxError) -> None:
        """Leave the builder to be looked at, where that was asked for. Where it can't be left it is ended as ever."""
        if self._request.keep is None:
            return
        until = min(self._story.clock.time() + self._request.keep, guard.deadline)
        try:
            kept = self._kept.keep(
                machine,
                guard,
                self._session,
                until=until,
                account=ground.who.account,
                profile=self._recipe.profile.name,
                base=ground.image.id,
            )
        except InterruptedBySignal:
            raise
        except (GputxError, OSError) as error:
            self._story.warn(f"the builder can't be kept, so it is ended: {error}")
            return
        self._report.kept = kept
        self._story.warn(
            f"{why.message}; {kept.instance_id} stays for {duration(until - self._story.clock.time())} and costs "
            f"money: {kept.ssh}"
        )
