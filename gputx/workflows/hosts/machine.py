"""From a survey to an instance that answers over SSH: launched, seen, connected to, and told that its client lives.

Ending it is the guard's work, and not done here.
"""

from __future__ import annotations

import importlib
import shlex
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gputx.aws import instances, network, userdata
from gputx.aws import launch as launching
from gputx.aws.custody import AccountCustody
from gputx.aws.tags import Stamp
from gputx.aws.userdata import BEAT_FILE, DONE_FILE
from gputx.clock import Stop
from gputx.errors import GputxError, InstanceLostError
from gputx.lease.guard import Guard
from gputx.lease.heart import BEATS_PER_GRACE, Heart
from gputx.lease.record import RunRecord
from gputx.models import Attempt, Image, Instance, Kind, Pool
from gputx.ssh.keys import KeyPair, generate
from gputx.workflows.hosts.beats import AccountBeat, beat_over, say_done
from gputx.workflows.hosts.profile import launched as launch_with_profile
from gputx.workflows.hosts.survey import Ground, LaunchOptions
from gputx.workflows.place import Place
from gputx.workflows.story import Story

if TYPE_CHECKING:
    from gputx.ssh.connection import Connection

_LOOK_EVERY_ATTEMPTS = 5

KEEP_FILE = "/run/gputx/keep"
"""While it is there, a machine that was kept lives on without a client; in memory, as the other two."""

_KEEPER = """\
: > {keep}
while [ -e {keep} ]; do
  if [ "$(date +%s)" -ge {until} ]; then : > {done}; exit; fi
  echo "kept $(date +%s)" > {beat}
  sleep 20
done
"""


@dataclass(frozen=True)
class Keys:
    """What one launch is reached with: the user's key, and the host key that the instance is given."""

    user: KeyPair
    host: KeyPair

    @classmethod
    def fresh(cls) -> Keys:
        return cls(generate(), generate())


class Machines:
    """One account in one region, for one command that launches."""

    def __init__(self, place: Place, options: LaunchOptions, story: Story, stop: Stop) -> None:
        self.place = place
        self.session = place.session
        self._launch_options = options
        self._story = story
        self._stop = stop
        self.custody = AccountCustody(place.session)

    def guard(self, run_id: str, account: str, *, lifetime: float) -> Guard:
        """A guard for one launch that has ``lifetime`` seconds from now; its name has to be new."""
        record = RunRecord(
            self.place.journal,
            account=account,
            region=self.session.region,
            run_id=run_id,
            deadline=self.session.clock.time() + lifetime,
            say=self._story.warn,
        )
        return Guard(record=record, custody=self.custody, clock=self.session.clock, say=self._story.note)

    def stamp(self, ground: Ground, guard: Guard) -> Stamp:
        """What everything of the run is tagged with. Raises ConfigurationError."""
        now = self.session.clock.time()
        return Stamp(guard.run_id, ground.who.arn, started=now, deadline=guard.deadline, journal=guard.journal_id)

    @contextmanager
    def machine(
        self,
        ground: Ground,
        guard: Guard,
        *,
        avoid: Collection[Pool],
        attempted: Callable[[Attempt], None],
        launched: Callable[[Instance], None],
        keys: Keys | None = None,
        early: userdata.EarlyWorker | None = None,
        disk_gb: int = 0,
        profile: str | None = None,
    ) -> Iterator[Machine]:
        """Launch, wait, connect; hang up in the end.

        Args:
            avoid: pools that were lost already.
            disk_gb: the least size of its disk.
            profile: an instance profile, where EC2 will have it: the machine's instance says whether.

        Raises:
            ConfigurationError: the journal can't be written, so nothing was made.
            CapacityError: no pool gave an instance.
            InstanceLostError: it went away while booting.
            SshUnavailableError, HostKeyChangedError: it could not be reached, or is not what was launched.
        """
        keys = keys or Keys.fresh()
        guard.arm()
        stamp = self.stamp(ground, guard)
        with self._story.phase("launch") as phase:
            self._stop.check()
            instance = self._launch(
                ground,
                guard,
                stamp,
                keys,
                avoid=avoid,
                attempted=attempted,
                early=early,
                disk_gb=disk_gb,
                profile=profile,
            )
            phase.detail = f"{instance.id} in {instance.zone}, {instance.market}"
        launched(instance)
        with self.attended(ground, guard, stamp, instance=instance, keys=keys, launched=launched) as machine:
            yield machine

    @contextmanager
    def attended(
        self,
        ground: Ground,
        guard: Guard,
        stamp: Stamp,
        *,
        instance: Instance,
        keys: Keys,
        launched: Callable[[Instance], None],
    ) -> Iterator[Machine]:
        """An instance that was launched, connected to and told that its client lives. Raises as :meth:`machine`."""
        options = self._launch_options
        to_account = AccountBeat(
            self.session,
            guard,
            stamp,
            instance_id=instance.id,
            role=ground.schedule_role,
            grace=options.grace,
            warn=self._story.warn,
        )
        with self._heart(to_account):
            with self._story.phase("boot", instance.id) as phase:
                # paramiko takes a quarter of a second to import, and a booting instance leaves us the time.
                importlib.import_module("gputx.ssh.connection")
                instance = instances.wait_for_address(
                    self.session, instance.id, timeout=options.boot_timeout, stop=self._stop
                )
                phase.detail = f"{instance.id} at {instance.public_address}"
            launched(instance)
            machine = Machine(self, instance, ground.image, keys, to_account)
            with machine.reached():
                yield machine
                # Only where everything was fetched: whatever happens to us now, the instance ends by itself.
                if not machine.kept:
                    say_done(machine.connection)

    def _heart(self, beat: Callable[[int], None]) -> Heart:
        def missed(why: str) -> None:
            self._story.note(f"a sign of life was not heard: {why}")

        every = self._launch_options.grace / BEATS_PER_GRACE
        return Heart(beat, every=every, clock=self.session.clock, missed=missed)

    def _look(self, instance: Instance) -> None:
        seen = instances.describe(self.session, instance.id)
        if seen is not None and seen.state != "running":
            raise InstanceLostError(f"{instance.id} was taken away ({seen.state})")

    def _launch(
        self,
        ground: Ground,
        guard: Guard,
        stamp: Stamp,
        keys: Keys,
        *,
        avoid: Collection[Pool],
        attempted: Callable[[Attempt], None],
        early: userdata.EarlyWorker | None,
        disk_gb: int,
        profile: str | None,
    ) -> Instance:
        key, group = self._key_and_group(ground, guard, stamp, keys.user)
        plan = launching.LaunchPlan(
            stamp=stamp,
            image=ground.image,
            key_name=key,
            group_id=group,
            subnets=ground.network.subnets,
            user_data=userdata.build(
                ttl=stamp.deadline - stamp.started,
                deadline=stamp.deadline,
                grace=self._launch_options.grace,
                host_private=keys.host.private_openssh,
                host_public=keys.host.public_openssh,
                user=ground.image.ssh_user,
                early=early,
            ),
            profile=profile,
            disk_gb=disk_gb,
            volume_rate=self._launch_options.volume_rate,
        )

        def after(attempt: Attempt, token: str) -> None:
            guard.answered(attempt, token)
            attempted(attempt)
            self._story.attempt(attempt)

        pools = [pool for pool in ground.pools if pool not in avoid] or ground.pools

        def launch(plan: launching.LaunchPlan) -> Instance:
            return launching.launch(
                self.session, plan, pools, stop=self._stop, before=guard.launching, sending=guard.sending, after=after
            )

        clock, note = self.session.clock, self._story.note
        instance = launch_with_profile(launch, plan, clock=clock, stop=self._stop, note=note)
        guard.launched(instance)
        return instance

    def _key_and_group(self, ground: Ground, guard: Guard, stamp: Stamp, user_key: KeyPair) -> tuple[str, str]:
        name = network.resource_name(stamp.run_id)
        guard.making(Kind.KEY_PAIR, name)
        guard.making(Kind.SECURITY_GROUP, name)
        with ThreadPoolExecutor(2, thread_name_prefix="launch") as together:
            key = together.submit(network.import_key, self.session, stamp=stamp, public_openssh=user_key.public_openssh)
            group = together.submit(
                network.create_group,
                self.session,
                stamp=stamp,
                vpc_id=ground.network.vpc_id,
                port=ground.image.ssh_port,
                cidrs=ground.cidrs,
            )
            guard.made(Kind.KEY_PAIR, key.result())
            guard.made(Kind.SECURITY_GROUP, group.result())
            return key.result(), group.result()

    def _connect(self, machine: Machine, stop: Stop | None = None) -> Connection:
        from gputx.ssh.connection import Address, connect  # noqa: PLC0415 - imported while the instance booted

        instance, image = machine.instance, machine.image
        address = Address(str(instance.public_address), image.ssh_port)

        def still_there(attempt: int, _seen: str) -> None:
            if attempt % _LOOK_EVERY_ATTEMPTS == 0:
                self._look(instance)

        with self._story.phase("ssh", str(address)) as phase:
            connection = connect(
                address,
                user=image.ssh_user,
                key=machine.keys.user,
                host_key=machine.keys.host.public_openssh,
                clock=self.session.clock,
                stop=stop or self._stop,
                deadline_seconds=self._launch_options.boot_timeout,
                on_attempt=still_there,
            )
            phase.detail = f"{image.ssh_user}@{address}, host key as launched"
        return connection


class Machine:
    """An instance that runs, and the way in."""

    def __init__(
        self, machines: Machines, instance: Instance, image: Image, keys: Keys, to_account: AccountBeat
    ) -> None:
        self.kept = False
        """It is not to end when it is left."""
        self._to_account = to_account
        self.instance = instance
        self.image = image
        self.keys = keys
        self._machines = machines
        self._connection: Connection | None = None

    @property
    def connection(self) -> Connection:
        """The newest one. Only inside :meth:`reached`."""
        if self._connection is None:
            raise RuntimeError("the machine was not connected to")
        return self._connection

    def look(self) -> None:
        """Raises InstanceLostError where the account shows the instance ending, AwsError where it does not answer."""
        self._machines._look(self.instance)

    def keep(self, until: float) -> None:
        """Have it live until then, in seconds since the epoch, though nobody will be heard of.

        A program on the machine stands in for its client, until then or until the file KEEP_FILE is taken away; the
        account's own lock is moved. Its deadline holds as before.

        Raises:
            GputxError: one of the two could not be done, so that it would end before.
        """
        self.leave(until)
        script = _KEEPER.format(keep=KEEP_FILE, until=int(until), beat=BEAT_FILE, done=DONE_FILE)
        done = self.connection.run(f"setsid sh -c {shlex.quote(script)} </dev/null >/dev/null 2>&1 & sleep 0.2")
        if done.exit_status != 0:
            self.kept = False
            raise GputxError(f"{self.instance.id} could not be told to stay: {done.stderr.decode(errors='replace')}")

    def leave(self, until: float) -> None:
        """Have the account's own lock let it live until then, in seconds since the epoch; what runs on it has to tell
        its watchdog that somebody lives.

        Raises:
            AwsError: the schedule could not be moved, so that it would end before.
        """
        self._to_account.stay(until)
        self.kept = True

    @contextmanager
    def reached(self, stop: Stop | None = None) -> Iterator[Connection]:
        """A connection, over which it hears that its client lives; again after a reboot, where the old one is no more.

        Args:
            stop: gives up waiting for it, beside the command's own.

        Raises:
            InstanceLostError, SshUnavailableError, HostKeyChangedError: as :meth:`Machines.machine`.
        """
        with self._machines._connect(self, stop) as connection:
            self._connection = connection

            def beat(number: int) -> None:
                if self._connection is connection:
                    beat_over(connection, number)

            with self._machines._heart(beat):
                yield connection
