"""Every instance the account ever had, and its life on the clock, from pending to terminated."""

from __future__ import annotations

import json
import logging
import re
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gputx.sandbox.guests import GuestHost, GuestSpec
from gputx.sandbox.plane import emulator
from gputx.sandbox.plane.machine import INTERRUPTED, POWERED_OFF, USER, Machine
from gputx.sandbox.plane.sessions import Sessions
from gputx.sandbox.plane.wire import AwsError
from gputx.sandbox.rulebook import RuleBook
from gputx.sandbox.rules import Interruption
from gputx.sandbox.timers import Timers

log = logging.getLogger(__name__)

# How long AWS goes on describing a terminated instance: about an hour.
TERMINATED_SHOWN_SECONDS = 3600.0
_GUEST_END_SECONDS = 5.0
_INSTANCE_ID = re.compile(r"i-(?:[0-9a-f]{8}|[0-9a-f]{17})")


class Machines:
    """The ledger, and every way an instance changes state. Called under the control plane's lock."""

    def __init__(
        self,
        *,
        timers: Timers,
        rules: RuleBook,
        guests: GuestHost,
        ssh_port: int,
        lock: threading.RLock,
        sessions: Sessions,
    ) -> None:
        self._timers = timers
        self._rules = rules
        self._guests = guests
        self._ssh_port = ssh_port
        self._lock = lock
        self._sessions = sessions
        self._machines: dict[str, Machine] = {}
        self.disks: dict[str, Path] = {}
        self._watchers: list[Callable[[Machine], None]] = []

    def watch(self, ending: Callable[[Machine], None]) -> None:
        """Have ``ending`` called with every instance that begins to stop or to end."""
        self._watchers.append(ending)

    def all(self) -> list[Machine]:
        return list(self._machines.values())

    def find(self, instance_id: str) -> Machine | None:
        """An instance there is or ever was; None if there never was one of that id."""
        return self._machines.get(instance_id)

    def get(self, instance_id: str, backend: Any = None) -> Machine:
        """An instance that Describe could still show, lag or not; in the region of ``backend``, if given.

        Raises:
            AwsError: InvalidInstanceID.Malformed, InvalidInstanceID.NotFound.
        """
        if not _INSTANCE_ID.fullmatch(instance_id):
            raise AwsError("InvalidInstanceID.Malformed", f'Invalid id: "{instance_id}"')
        machine = self._machines.get(instance_id)
        elsewhere = machine is not None and backend is not None and machine.backend is not backend
        if machine is None or elsewhere or self._forgotten(machine):
            raise AwsError("InvalidInstanceID.NotFound", f"The instance ID '{instance_id}' does not exist")
        return machine

    def _forgotten(self, machine: Machine) -> bool:
        ended = machine.since.get("terminated")
        return ended is not None and self._timers.now() >= ended + TERMINATED_SHOWN_SECONDS

    def admit(self, machine: Machine) -> None:
        """Take in an instance that has just been launched: it is pending, and will be running."""
        now = self._timers.now()
        machine.instance.launch_time = datetime.fromtimestamp(now, UTC).replace(tzinfo=None)
        self._machines[machine.id] = machine
        self._enter(machine, "pending", now)
        self._plan(machine, now + self._rules.value("pending"), lambda due: self._run(machine, due, first=True))

    def terminate(self, machine: Machine, reason: tuple[str, str] = USER) -> None:
        """Begin to end an instance; nothing happens to one that is ending or has ended."""
        if machine.state not in ("shutting-down", "terminated"):
            if machine.spot:
                interrupted = reason is INTERRUPTED
                machine.spot.close("instance-terminated-no-capacity" if interrupted else "instance-terminated-by-user")
            self._end(machine, "shutting-down", reason)

    def stop(self, machine: Machine, reason: tuple[str, str] = USER) -> None:
        """Begin to stop an instance.

        Raises:
            AwsError: UnsupportedOperation for one-time spot, IncorrectInstanceState.
        """
        if machine.spot:
            raise AwsError(
                "UnsupportedOperation",
                f"You can't stop the Spot Instance '{machine.id}' because it is associated with a one-time "
                "Spot Instance request. You can only stop Spot Instances associated with persistent Spot "
                "Instance requests.",
            )
        if machine.state in ("stopping", "stopped"):
            return
        if machine.state != "running":
            raise _incorrect_state(machine, "stopped")
        self._end(machine, "stopping", reason)

    def start(self, machine: Machine) -> None:
        """Start a stopped instance from its own disk.

        Raises:
            AwsError: IncorrectInstanceState.
        """
        if machine.state in ("pending", "running"):
            return
        if machine.state != "stopped":
            raise _incorrect_state(machine, "started")
        now = self._timers.now()
        machine.instance.start()
        self._enter(machine, "pending", now)
        self._plan(machine, now + self._rules.value("pending"), lambda due: self._run(machine, due, first=False))

    def reboot(self, machine: Machine, while_down: Callable[[], None] | None = None) -> None:
        """Restart the guest; the instance stays running.

        Args:
            while_down: called from a thread between the guest's end and its start.

        Raises:
            AwsError: IncorrectInstanceState.
        """
        if machine.state != "running":
            raise _incorrect_state(machine, "rebooted")

        def restart() -> None:
            with machine.restarting:
                old = machine.guest
                if old:
                    old.shutdown()
                    old.join()
                if while_down:
                    while_down()
            with self._lock:
                # Another restart may have started it again: two guests would be waiting for each other's disk.
                if machine.state == "running" and machine.guest is old:
                    self._boot(machine, None)

        threading.Thread(target=restart, name=f"reboot-{machine.id}", daemon=True).start()

    def console(self, machine: Machine) -> str:
        return machine.guest.console() if machine.guest else ""

    def interrupt_running(self, rule: Interruption) -> None:
        """A rule has come into force: it also counts for what runs already."""
        now = self._timers.now()
        for machine in self.all():
            if machine.state == "running":
                self._plan_interruption(machine, rule, now)

    def _plan(self, machine: Machine, due: float, callback: Any) -> None:
        if machine.next_state:
            machine.next_state.cancel()
        machine.next_state = self._timers.at(due, callback)

    def _enter(self, machine: Machine, state: str, at: float) -> None:
        machine.state = state
        machine.since[state] = at
        emulator.set_state(machine.instance, state)
        machine.address = machine.instance.public_ip or machine.address
        machine.groups = tuple(group.id for group in machine.instance.security_groups)
        log.info("%s is %s", machine.id, state)

    def _run(self, machine: Machine, due: float, *, first: bool) -> None:
        self._enter(machine, "running", due)
        if first and self._rules.withholds_user_data(machine.facets):
            machine.user_data = b""
        self._boot(machine, self.disks[machine.instance.image_id] if first else None)
        for rule in self._rules.interruptions():
            self._plan_interruption(machine, rule, due)

    def _boot(self, machine: Machine, image: Path | None) -> None:
        machine.halted = False
        spec = GuestSpec(
            instance_id=machine.id,
            address=machine.address,
            port=self._ssh_port,
            authorized_keys=(machine.public_key,) if machine.public_key else (),
            user_data=machine.user_data,
            metadata=machine.metadata() | self._sessions.metadata(machine),
        )

        def on_power(kind: str) -> None:
            with self._lock:
                if machine.guest is booted and machine.state == "running":
                    self._powered(machine, kind)

        booted = self._guests.boot(spec, image=image, on_power=on_power)
        machine.guest = booted

    def _powered(self, machine: Machine, kind: str) -> None:
        if kind == "halt":
            # A halted machine still draws power: EC2 sees it running, and goes on billing it.
            machine.halted = True
            log.info("%s halted: running, and reachable by nobody", machine.id)
        elif machine.spot or machine.instance.instance_initiated_shutdown_behavior == "terminate":
            self.terminate(machine, POWERED_OFF)
        else:
            self.stop(machine, POWERED_OFF)

    def _end(self, machine: Machine, state: str, reason: tuple[str, str]) -> None:
        now = self._timers.now()
        self._enter(machine, state, now)
        self._give_reason(machine, reason, now)
        for ending in self._watchers:
            ending(machine)
        if machine.guest:
            machine.guest.shutdown()
            machine.ending = threading.Thread(target=machine.guest.join, name=f"end-{machine.id}", daemon=True)
            machine.ending.start()
        self._plan(machine, now + self._rules.value("shutting-down"), lambda due: self._ended(machine, reason, due))

    def _ended(self, machine: Machine, reason: tuple[str, str], due: float) -> None:
        if machine.ending:
            # An instance is not gone before everything that ran on it is.
            machine.ending.join(_GUEST_END_SECONDS)
            if machine.ending.is_alive():
                machine.next_state = self._timers.later(0.1, lambda due: self._ended(machine, reason, due))
                return
            machine.ending = None
        if any(not taken.wait(_GUEST_END_SECONDS) for taken in machine.copies):
            # Its disk is being copied, and stays until that is done.
            machine.next_state = self._timers.later(0.1, lambda due: self._ended(machine, reason, due))
            return
        machine.copies.clear()
        if machine.state == "stopping":
            machine.instance.stop()
            self._enter(machine, "stopped", due)
        else:
            emulator.end_instance(machine.backend, machine.instance)
            self._enter(machine, "terminated", due)
            machine.instance.security_groups = []
            self._timers.at(
                due + TERMINATED_SHOWN_SECONDS,
                lambda _: emulator.forget_instance(machine.backend, machine.instance),
            )
        self._give_reason(machine, reason, machine.since.get("shutting-down", due))
        # Last, because it is the guest's doing what its disk looks like.
        if machine.state == "terminated" and machine.guest:
            machine.guest.delete_disk()

    def _give_reason(self, machine: Machine, reason: tuple[str, str], at: float) -> None:
        when = datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S GMT")
        emulator.set_reason(machine.instance, *reason, when)
        machine.reason = reason[0]

    def _plan_interruption(self, machine: Machine, rule: Interruption, since: float) -> None:
        if machine.spot and rule.fits(machine.facets):
            self._timers.at(since + rule.after, lambda due: self._interrupt(machine, rule, due))

    def _interrupt(self, machine: Machine, rule: Interruption, due: float) -> None:
        if machine.state != "running" or rule not in self._rules.interruptions() or not rule.claim():
            return
        if rule.notice <= 0:
            self.terminate(machine, INTERRUPTED)
            return
        end = due + rule.notice
        if machine.spot:
            machine.spot.status = "marked-for-termination"
        if machine.guest:
            when = datetime.fromtimestamp(end, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            machine.guest.set_metadata("spot/instance-action", json.dumps({"action": "terminate", "time": when}))
            machine.guest.set_metadata("spot/termination-time", when)
        log.info("%s was told that it ends in %g s", machine.id, rule.notice)
        self._timers.at(end, lambda _: self.terminate(machine, INTERRUPTED))


def _incorrect_state(machine: Machine, verb: str) -> AwsError:
    return AwsError(
        "IncorrectInstanceState",
        f"The instance '{machine.id}' is not in a state from which it can be {verb}.",
    )
