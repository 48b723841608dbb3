"""The machine room: boots guests and turns their clock."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

from gputx.sandbox.guests.guest import Guest, GuestSpec
from gputx.sandbox.guests.image import copy_tree
from gputx.sandbox.guests.isolation import Isolation
from gputx.sandbox.trees import remove_tree

_CLOCK_POLL_SECONDS = 0.04


class GuestHost:
    """All guests of one daemon.

    Args:
        directory: the state directory; guests live in ``directory/guests/<instance id>``.
        clock_file: one line, the seconds by which the sandbox's clock is ahead; replaced when turned.
        isolation: one of the modes of :class:`Isolation`, to be used untried; None for the best that works.
    """

    def __init__(self, directory: Path, *, clock_file: Path, isolation: str | None = None) -> None:
        self._directory = directory / "guests"
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._isolation = Isolation(self._directory, forced=isolation)
        self._clock_file = clock_file
        self._offset = self._read_offset()
        self._guests: dict[str, Guest] = {}
        self._lock = threading.Lock()
        self._way_out: tuple[str, int] | None = None
        self._closed = threading.Event()
        threading.Thread(target=self._follow_clock, name="guests-clock", daemon=True).start()

    @property
    def isolation(self) -> str:
        """How guests are kept apart: ``namespace``, ``user-namespace``, ``user`` or ``process``.

        Raises:
            ConfigurationError: this machine can't keep a guest away from itself.
        """
        return self._isolation.mode

    def lead_to(self, address: tuple[str, int]) -> None:
        """Let guests that boot from now on reach this address on loopback, whatever else they are kept from."""
        self._way_out = address

    def boot(self, spec: GuestSpec, *, image: Path | None, on_power: Callable[[str], None]) -> Guest:
        """Start a guest and return at once; it boots in the background.

        Args:
            spec: what EC2 decided about the instance.
            image: the directory to copy from at first boot; None starts again from the guest's own disk.
            on_power: called from a thread with ``"off"`` when the OS powered itself off and ``"halt"`` when
                it halted or died; not called after :meth:`Guest.shutdown`, nor for a reboot.
        """
        with self._lock:
            guest = Guest(
                spec,
                directory=self._directory / spec.instance_id,
                isolation=self._isolation,
                offset=self._offset,
                way_out=self._way_out,
                on_power=on_power,
            )
            before = self._guests.get(spec.instance_id)
            self._guests[spec.instance_id] = guest
        guest.start(image, after=before)
        return guest

    def snapshot(self, instance_id: str, destination: Path) -> None:
        """Copy a guest's disk to ``destination``, from where other guests may boot.

        Raises:
            FileNotFoundError: there is no such disk.
        """
        disk = self._isolation.disk(self._directory / instance_id)
        if not disk.is_dir():
            raise FileNotFoundError(disk)
        copy_tree(disk, destination)
        # What a running system mounts here is not on the disk.
        for name in ("proc", "sys", "dev", "run"):
            remove_tree(destination / name)
            (destination / name).mkdir()

    def close(self) -> None:
        """End every guest, by force if need be, and wait until all are gone."""
        self._closed.set()
        with self._lock:
            guests = list(self._guests.values())
        for guest in guests:
            guest.shutdown()
        for guest in guests:
            guest.join()
        self._isolation.close()

    def settle(self, *, boots: bool) -> float | None:
        """Tell every guest how far the clock is turned, and wait, within bounds, for what that makes due.

        Args:
            boots: wait for guests that are booting, too; for those that are ending it is always waited.

        Returns:
            When the first of the guests' timers is due, in seconds since the epoch; None if there is none.
        """
        with self._lock:
            self._tell_clock()
            guests = [guest for guest in self._guests.values() if not guest.down]
        dues = [guest.settle(boots=boots) for guest in guests]
        return min((due for due in dues if due is not None), default=None)

    def _follow_clock(self) -> None:
        while not self._closed.wait(_CLOCK_POLL_SECONDS):
            # Read under the lock, so that nobody can be told an older time after a newer one.
            with self._lock:
                if self._read_offset() != self._offset:
                    self._tell_clock()

    def _tell_clock(self) -> None:
        self._offset = self._read_offset()
        for guest in self._guests.values():
            guest.set_clock(self._offset)

    def _read_offset(self) -> float:
        try:
            return float(self._clock_file.read_text(encoding="ascii"))
        except FileNotFoundError:
            return 0.0
