"""From a survey to an instance that answers over SSH, and its end."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING

from gputx.aws import instances, network, userdata
from gputx.aws import launch as launching
from gputx.aws.custody import AccountCustody
from gputx.aws.tags import Stamp
from gputx.clock import Stop
from gputx.errors import InstanceLostError
from gputx.lease.guard import Guard
from gputx.lease.heart import BEATS_PER_GRACE, Heart
from gputx.lease.record import RunRecord
from gputx.models import Attempt, Image, Instance, Kind, Pool
from gputx.ssh.keys import KeyPair, generate
from gputx.workflows.hosts.beats import AccountBeat, beat_over, say_done
from gputx.workflows.hosts.instance import IMAGE_MODEL, InstanceBench, worker_command
from gputx.workflows.hosts.survey import CloudOptions, Survey
from gputx.workflows.model import ModelChoice
from gputx.workflows.place import Place
from gputx.workflows.story import Story

if TYPE_CHECKING:
    from gputx.ssh.connection import Connection

_LOOK_EVERY_ATTEMPTS = 5


class CloudHost:
    """One account in one region, for one run."""

    def __init__(
        self, place: Place, options: CloudOptions, model: ModelChoice | None, story: Story, stop: Stop
    ) -> None:
        """``model`` None means the one inside the image."""
        self.place = place
        self.session = place.session
        self.options = options
        self._asked_model = model
        self._story = story
        self._stop = stop
        self.custody = AccountCustody(place.session)

    def guard(self, run_id: str, survey: Survey, *, lifetime: float) -> Guard:
        """A guard for one launch that has ``lifetime`` seconds from now; its name has to be new."""
        record = RunRecord(
            self.place.journal,
            account=survey.who.account,
            region=self.session.region,
            run_id=run_id,
            deadline=self.session.clock.time() + lifetime,
            say=self._story.warn,
        )
        return Guard(record=record, custody=self.custody, clock=self.session.clock, say=self._story.note)

    @contextmanager
    def bench(
        self,
        survey: Survey,
        guard: Guard,
        *,
        avoid: Collection[Pool],
        attempted: Callable[[Attempt], None],
        launched: Callable[[Instance], None],
    ) -> Iterator[InstanceBench]:
        """Launch, wait, connect; hang up in the end. Ending the instance is the guard's work, not done here.

        Args:
            avoid: pools that were lost already.

        Raises:
            ConfigurationError: the journal can't be written, so nothing was made.
            CapacityError: no pool gave an instance.
            InstanceLostError: it went away while booting.
            SshUnavailableError, HostKeyChangedError: it could not be reached, or is not what was launched.
        """
        user_key, host_key = generate(), generate()
        model = self._model(survey.image)
        guard.arm()
        now = self.session.clock.time()
        stamp = Stamp(guard.run_id, survey.who.arn, started=now, deadline=guard.deadline, journal=guard.journal_id)
        instance = self._launch(
            survey, guard, stamp, user_key=user_key, host_key=host_key, model=model, avoid=avoid, attempted=attempted
        )
        launched(instance)
        to_account = AccountBeat(
            self.session,
            guard,
            stamp,
            instance_id=instance.id,
            role=survey.schedule_role,
            grace=self.options.grace,
            warn=self._story.warn,
        )
        with self._heart(to_account):
            with self._story.phase("boot", instance.id) as phase:
                # paramiko takes a quarter of a second to import, and a booting instance leaves us the time.
                importlib.import_module("gputx.ssh.connection")
                instance = instances.wait_for_address(
                    self.session, instance.id, timeout=self.options.boot_timeout, stop=self._stop
                )
                phase.detail = f"{instance.id} at {instance.public_address}"
            launched(instance)
            with self._connect(survey.image, instance, user_key, host_key) as connection:
                with self._heart(lambda number: beat_over(connection, number)):
                    yield InstanceBench(connection, survey.payload, model, lambda: self._look(instance))
                # Only where everything was fetched: whatever happens to us now, the instance ends by itself.
                say_done(connection)

    def _heart(self, beat: Callable[[int], None]) -> Heart:
        def missed(why: str) -> None:
            self._story.note(f"a sign of life was not heard: {why}")

        return Heart(beat, every=self.options.grace / BEATS_PER_GRACE, clock=self.session.clock, missed=missed)

    def _look(self, instance: Instance) -> None:
        seen = instances.describe(self.session, instance.id)
        if seen is not None and seen.state != "running":
            raise InstanceLostError(f"{instance.id} was taken away ({seen.state})")

    def _model(self, image: Image) -> ModelChoice:
        """The model that was asked for; the one in the image where that is the one."""
        asked = self._asked_model
        inside = ModelChoice(image.model, IMAGE_MODEL, image.model_revision, engine=self.options.engine)
        if asked is None:
            return inside
        same = asked.from_hub and asked.name == image.model and asked.revision in {None, image.model_revision}
        return inside if same else asked

    def _launch(
        self,
        survey: Survey,
        guard: Guard,
        stamp: Stamp,
        *,
        user_key: KeyPair,
        host_key: KeyPair,
        model: ModelChoice,
        avoid: Collection[Pool],
        attempted: Callable[[Attempt], None],
    ) -> Instance:
        with self._story.phase("launch") as phase:
            self._stop.check()
            key, group = self._key_and_group(survey, guard, stamp, user_key)
            plan = launching.LaunchPlan(
                stamp=stamp,
                image=survey.image,
                key_name=key,
                group_id=group,
                subnets=survey.network.subnets,
                user_data=self._user_data(survey, stamp, host_key, model),
            )

            def after(attempt: Attempt, token: str) -> None:
                guard.answered(attempt, token)
                attempted(attempt)
                self._story.attempt(attempt)

            pools = [pool for pool in survey.pools if pool not in avoid] or survey.pools
            instance = launching.launch(
                self.session,
                plan,
                pools,
                stop=self._stop,
                before=guard.launching,
                sending=guard.sending,
                after=after,
            )
            guard.launched(instance)
            phase.detail = f"{instance.id} in {instance.zone}, {instance.market}"
        return instance

    def _key_and_group(self, survey: Survey, guard: Guard, stamp: Stamp, user_key: KeyPair) -> tuple[str, str]:
        name = network.resource_name(stamp.run_id)
        guard.making(Kind.KEY_PAIR, name)
        guard.making(Kind.SECURITY_GROUP, name)
        with ThreadPoolExecutor(2, thread_name_prefix="launch") as together:
            key = together.submit(network.import_key, self.session, stamp=stamp, public_openssh=user_key.public_openssh)
            group = together.submit(
                network.create_group,
                self.session,
                stamp=stamp,
                vpc_id=survey.network.vpc_id,
                port=survey.image.ssh_port,
                cidrs=survey.cidrs,
            )
            guard.made(Kind.KEY_PAIR, key.result())
            guard.made(Kind.SECURITY_GROUP, group.result())
            return key.result(), group.result()

    def _connect(self, image: Image, instance: Instance, user: KeyPair, host: KeyPair) -> Connection:
        from gputx.ssh.connection import Address, connect  # noqa: PLC0415 - imported while the instance booted

        address = Address(str(instance.public_address), image.ssh_port)

        def still_there(attempt: int, _seen: str) -> None:
            if attempt % _LOOK_EVERY_ATTEMPTS == 0:
                self._look(instance)

        with self._story.phase("ssh", str(address)) as phase:
            connection = connect(
                address,
                user=image.ssh_user,
                key=user,
                host_key=host.public_openssh,
                clock=self.session.clock,
                stop=self._stop,
                deadline_seconds=self.options.boot_timeout,
                on_attempt=still_there,
            )
            phase.detail = f"{image.ssh_user}@{address}, host key as launched"
        return connection

    def _user_data(self, survey: Survey, stamp: Stamp, host_key: KeyPair, model: ModelChoice) -> str:
        early = None
        # A model that has yet to be sent can't be loaded before SSH is up.
        if survey.payload_url and not model.upload:
            early = userdata.EarlyWorker(
                url=survey.payload_url,
                name=survey.payload.name,
                sha256=survey.payload.sha256,
                command=worker_command("serve", survey.payload, model),
            )
        return userdata.build(
            ttl=stamp.deadline - stamp.started,
            deadline=stamp.deadline,
            grace=self.options.grace,
            host_private=host_key.private_openssh,
            host_public=host_key.public_openssh,
            user=survey.image.ssh_user,
            early=early,
        )
