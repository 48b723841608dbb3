"""What the cases share: disks, keys, user-data, a client that shows signs of life, and what the console told."""

from __future__ import annotations

import contextlib
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from machine import BootError, Machine, Seed, copy_of

from gputx.aws import userdata
from gputx.clock import Stop, SystemClock
from gputx.errors import GputxError
from gputx.ssh.connection import Address, Connection, Liveness, connect
from gputx.ssh.keys import KeyPair, generate

LOGIN = "ubuntu"
BOOT_SECONDS = 600.0
"""What a boot may take under emulation on a busy machine before something is taken to be wrong."""

OFF_SECONDS = 60.0
"""What powering off may take, from the decision on."""

LATE_SECONDS = 10.0
"""How late a decision may show on the console."""

SLOW_SECONDS = 60.0
"""What a short command over SSH may take."""

BEAT_SECONDS = 5.0
UNITS = ("gputx-deadline.timer", "gputx-watchdog.service")


def expect(fact: bool, words: str) -> None:
    """Raises BootError with ``words`` unless ``fact``."""
    if not fact:
        raise BootError(words)


@dataclass
class Launch:
    """What one instance was launched with. ``deadline`` is in seconds since the epoch, the others in seconds."""

    instance_id: str
    ttl: float
    deadline: float
    grace: float
    early: userdata.EarlyWorker | None = None
    host_key: KeyPair = field(default_factory=generate)
    user_key: KeyPair = field(default_factory=generate)

    @classmethod
    def now(cls, instance_id: str, *, ttl: float, grace: float, early: userdata.EarlyWorker | None = None) -> Launch:
        """A launch whose deadline is ``ttl`` seconds from now."""
        return cls(instance_id, ttl=ttl, deadline=round(time.time() + ttl), grace=grace, early=early)

    def user_data(self) -> str:
        return userdata.build(
            ttl=self.ttl,
            deadline=self.deadline,
            grace=self.grace,
            host_private=self.host_key.private_openssh,
            host_public=self.host_key.public_openssh,
            user=LOGIN,
            early=self.early,
        )


@dataclass(frozen=True)
class Report:
    """What the image's boot-report printed."""

    lines: tuple[str, ...]

    def kept(self, instance_id: str) -> int | None:
        """The deadline that the disk keeps for an instance, in seconds since the epoch."""
        found = re.search(rf"^/var/lib/gputx/deadline-{instance_id}: (\d+)$", "\n".join(self.lines), re.M)
        return int(found[1]) if found else None

    @property
    def since(self) -> int:
        """When the watchdog began, in seconds since the epoch."""
        return int(next(line for line in self.lines if line.startswith("watchdog since @")).partition("@")[2])

    def active(self, unit: str) -> bool:
        return f"{unit} is active" in self.lines


class Room:
    """A directory with everything of one use of the check.

    Args:
        base: where the image is.
        work: where consoles and disks of the cases go.
    """

    def __init__(self, base: Path, work: Path) -> None:
        self._base = base
        self._work = work
        self._machines: list[Machine] = []

    def short(self) -> float:
        """A ttl, in seconds, that a boot and a login fit into, by the slowest boot so far."""
        boots = [machine.said("boot-report: end")[:1] for machine in self._machines]
        return 90 + round(1.5 * max((end[0][0] for end in boots if end), default=90.0))

    def disk(self, name: str, of: Path | None = None) -> Path:
        """A new disk: the image's, or a copy of one that a machine has left."""
        return copy_of(of or self._base / "disk.raw", self._work / f"{name}.qcow2")

    def boot(self, disk: Path, launch: Launch, *, bare: bool = False, words: str = "", clock: str = "utc") -> Machine:
        """Start a machine; ``bare``: without the launch's user-data. The other two are :class:`Machine`'s."""
        name = f"{len(self._machines) + 1:02d}-{disk.stem}"
        seed = Seed(launch.instance_id, launch.user_key.public_openssh, None if bare else launch.user_data())
        image = seed.write(self._work / f"{name}-seed")
        machine = Machine(self._base, self._work / name, disk=disk, seed=image, words=words, clock=clock)
        self._machines.append(machine)
        return machine


def report(machine: Machine, *, boot: int = 1) -> Report:
    """What the ``boot``-th boot of a machine reported. Raises BootError."""
    end, _ = machine.wait_for("boot-report: end", times=boot, timeout=BOOT_SECONDS)
    said = [(at, line.partition("boot-report: ")[2]) for at, line in machine.said("boot-report: ") if at <= end]
    first = max(number for number, (_, line) in enumerate(said) if line.startswith("instance "))
    return Report(tuple(line for _, line in said[first:]))


def armed(machine: Machine, launch: Launch, *, boot: int = 1) -> Report:
    """The report, once it is seen that both units run and the disk keeps the launch's deadline."""
    found = report(machine, boot=boot)
    for unit in UNITS:
        expect(found.active(unit), f"{unit} is not active: {machine.console_path}")
    kept = found.kept(launch.instance_id)
    expect(kept == launch.deadline, f"keeps the deadline {kept}, not {launch.deadline}: {machine.console_path}")
    return found


def client(machine: Machine, launch: Launch) -> Connection:
    """Connect as a run does, to the pinned host key only. Raises GputxError."""
    return connect(
        Address("127.0.0.1", machine.port),
        user=LOGIN,
        key=launch.user_key,
        host_key=launch.host_key.public_openssh,
        clock=SystemClock(),
        stop=Stop(),
        deadline_seconds=BOOT_SECONDS,
        liveness=Liveness(lost_after=SLOW_SECONDS),
    )


def root(connection: Connection, command: str) -> str:
    """What a command of the superuser printed. Raises BootError where it fails."""
    done = connection.run(f"sudo -n sh -c '{command}'", timeout=SLOW_SECONDS)
    expect(done.exit_status == 0, f"{command}: {done.exit_status} {done.stderr!r}")
    return done.stdout.decode().strip()


class Beats:
    """Signs of life, as a run shows them, every 5 s until :meth:`end`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._last = 0.0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)
        self._thread.start()

    def end(self) -> float:
        """Fall silent; return when the last one arrived, in seconds since the epoch."""
        self._over.set()
        self._thread.join()
        return self._last

    def _beat(self) -> None:
        number = 0
        # The connection ends with the machine.
        with contextlib.suppress(GputxError):
            while not self._over.wait(BEAT_SECONDS):
                number += 1
                self._last = leave(self._connection, userdata.BEAT_FILE, str(number))


@contextlib.contextmanager
def living(machine: Machine, launch: Launch) -> Iterator[tuple[Connection, Beats]]:
    """A client of a machine, which shows signs of life."""
    with client(machine, launch) as connection:
        beats = Beats(connection)
        try:
            yield connection, beats
        finally:
            beats.end()


def leave(connection: Connection, path: str, word: str) -> float:
    """Write a file as the login user; return when it was there, in seconds since the epoch. Raises GputxError."""
    # The client's own patience is 10 s, too little for an emulated machine that has others beside it.
    done = connection.run(f"echo {word} > {path} && date +%s.%N", timeout=SLOW_SECONDS)
    expect(done.exit_status == 0, f"{path} can't be written by {LOGIN}: {done.stderr!r}")
    return float(done.stdout)


def off_within(machine: Machine, since: float, least: float, most: float) -> str:
    """See a machine begin to power itself off ``least`` to ``most`` s after ``since``, and be off in the end."""
    ended = machine.wait_off(max(1.0, since + most + OFF_SECONDS - time.time())) - since
    up = max((at for at, _ in machine.said("boot-report: end")), default=0.0)
    began = next(at for at, _ in machine.said("Stopped target ") if at > up) + machine.started - since
    seen = f"began to shut down after {began:.0f} s (wanted: {least:.0f} to {most:.0f})"
    # The guest's clock was read off the hardware to the second; what is late is the emulated machine.
    expect(least - 2 <= began <= most + LATE_SECONDS, f"{seen}: {machine.console_path}")
    return f"{seen}, was off after {ended:.0f} s"
