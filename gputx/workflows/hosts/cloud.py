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
from gputx.aws.session import AwsSession
from gputx.aws.tags import Stamp
from gputx.clock import Stop
from gputx.errors import InstanceLostError
from gputx.lease.guard import Guard
from gputx.models import Attempt, Image, Instance, Pool
from gputx.ssh.keys import KeyPair, generate
from gputx.workflows.hosts.instance import IMAGE_MODEL, InstanceBench, worker_command
from gputx.workflows.hosts.survey import CloudOptions, Survey
from gputx.workflows.model import ModelChoice
from gputx.workflows.story import Story

if TYPE_CHECKING:
    from gputx.ssh.connection import Connection

_LOOK_EVERY_ATTEMPTS = 5


class CloudHost:
    """One account in one region, for one run."""

    def __init__(
        self, session: AwsSession, options: CloudOptions, model: ModelChoice | None, story: Story, stop: Stop
    ) -> None:
        """``model`` None means the one inside the image."""
        self.session = session
        self.options = options
        self._asked_model = model
        self._story = story
        self._stop = stop
        self.custody = AccountCustody(session)

    def guard(self, run_id: str) -> Guard:
        """A guard for one launch; its name has to be new."""
        return Guard(run_id=run_id, custody=self.custody, clock=self.session.clock, say=self._story.note)

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
            CapacityError: no pool gave an instance.
            InstanceLostError: it went away while booting.
            SshUnavailableError, HostKeyChangedError: it could not be reached, or is not what was launched.
        """
        user_key, host_key = generate(), generate()
        model = self._model(survey.image)
        instance = self._launch(
            survey, guard, user_key=user_key, host_key=host_key, model=model, avoid=avoid, attempted=attempted
        )
        launched(instance)
        with self._story.phase("boot", instance.id) as phase:
            # paramiko takes a quarter of a second to import, and a booting instance leaves us the time.
            importlib.import_module("gputx.ssh.connection")
            instance = instances.wait_for_address(
                self.session, instance.id, timeout=self.options.boot_timeout, stop=self._stop
            )
            phase.detail = f"{instance.id} at {instance.public_address}"
        launched(instance)
        with self._connect(survey.image, instance, user_key, host_key) as connection:
            yield InstanceBench(connection, survey.payload, model, lambda: self._look(instance))

    def _look(self, instance: Instance) -> None:
        seen = instances.describe(self.session, instance.id)
        if seen is not None and seen.state != "running":
            raise InstanceLostError(f"{instance.id} was taken away ({seen.state})")

    def _model(self, image: Image) -> ModelChoice:
        """The model that was asked for; the one in the image where that is the one."""
        asked = self._asked_model
        inside = ModelChoice(image.model, IMAGE_MODEL, image.model_revision)
        if asked is None:
            return inside
        same = asked.from_hub and asked.name == image.model and asked.revision in {None, image.model_revision}
        return inside if same else asked

    def _launch(
        self,
        survey: Survey,
        guard: Guard,
        *,
        user_key: KeyPair,
        host_key: KeyPair,
        model: ModelChoice,
        avoid: Collection[Pool],
        attempted: Callable[[Attempt], None],
    ) -> Instance:
        stamp = Stamp(guard.run_id, survey.who.arn, self.session.clock.time() + self.options.ttl)
        self._stop.check()
        with self._story.phase("launch") as phase:
            guard.arm()
            key, group = self._key_and_group(survey, stamp, user_key)
            plan = launching.LaunchPlan(
                stamp=stamp,
                image=survey.image,
                key_name=key,
                group_id=group,
                subnets=survey.network.subnets,
                user_data=self._user_data(survey, host_key, model),
            )

            def after(attempt: Attempt, token: str) -> None:
                guard.answered(attempt, token)
                attempted(attempt)
                self._story.attempt(attempt)

            pools = [pool for pool in survey.pools if pool not in avoid] or survey.pools
            instance = launching.launch(self.session, plan, pools, stop=self._stop, before=guard.launching, after=after)
            guard.launched(instance)
            phase.detail = f"{instance.id} in {instance.zone}, {instance.market}"
        return instance

    def _key_and_group(self, survey: Survey, stamp: Stamp, user_key: KeyPair) -> tuple[str, str]:
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

    def _user_data(self, survey: Survey, host_key: KeyPair, model: ModelChoice) -> str:
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
            ttl=self.options.ttl,
            host_private=host_key.private_openssh,
            host_public=host_key.public_openssh,
            user=survey.image.ssh_user,
            early=early,
        )
