"""One guest, seen from outside: its power, its console, its disk."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import subprocess
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from gputx.sandbox.guests.address import bind
from gputx.sandbox.guests.answers import Answers, reports
from gputx.sandbox.guests.doorway import Doorway
from gputx.sandbox.guests.image import copy_tree
from gputx.sandbox.guests.isolation import Isolation
from gputx.sandbox.guests.machine.configuration import Configuration
from gputx.sandbox.trees import discard_tree

_CONSOLE_BYTES = 64 * 1024


@dataclass(frozen=True)
class GuestSpec:
    """What EC2 decides about a guest.

    ``address`` is a loopback address, ``port`` sshd's; ``authorized_keys`` are OpenSSH public key lines;
    ``user_data`` is raw (plain, gzip or MIME; empty if none); ``metadata`` maps IMDS paths under
    ``/latest/meta-data/`` to their values.
    """

    instance_id: str
    address: str
    port: int
    authorized_keys: tuple[str, ...]
    user_data: bytes
    metadata: Mapping[str, object]


class Guest:
    """Made by :meth:`GuestHost.boot`; all methods may be called from any thread."""

    def __init__(
        self,
        spec: GuestSpec,
        *,
        directory: Path,
        isolation: Isolation,
        offset: float,
        way_out: tuple[str, int] | None,
        on_power: Callable[[str], None],
    ) -> None:
        self._spec = spec
        self._directory = directory
        self._console = directory / "console.log"
        self._isolation = isolation
        self._offset = offset
        self._way_out = way_out
        self._on_power = on_power
        self._metadata = dict(spec.metadata)
        self._process: subprocess.Popen[bytes] | None = None
        self._going = False
        self._lock = threading.RLock()
        self._thread: threading.Thread | None = None
        self._answers = Answers()

    def start(self, image: Path | None, *, after: Guest | None = None) -> None:
        """Boot in the background, once ``after`` is down.

        The disk is a copy of ``image`` or, with None, what is there from an earlier life.
        """
        self._thread = threading.Thread(
            target=self._live, args=(image, after), name=f"guest-{self._spec.instance_id}", daemon=True
        )
        self._thread.start()

    def shutdown(self) -> None:
        """Press the power button, and pull the plug if that is not enough. Returns at once; idempotent."""
        with self._lock:
            if self._going:
                return
            self._going = True
        self._ending()
        self._send({"op": "power-button"})
        plug = threading.Timer(self._isolation.grace, self.kill)
        plug.daemon = True
        plug.start()

    def kill(self) -> None:
        """Pull the plug."""
        with self._lock:
            self._going = True
            self._ending()
            if self._process is not None and self._process.poll() is None:
                self._process.kill()

    def join(self) -> None:
        """Wait until nothing of the guest runs any more."""
        if self._thread is not None:
            self._thread.join()

    def console(self) -> str:
        """The last 64 KiB of what the guest wrote on its console, over all its boots."""
        try:
            with self._console.open("rb") as file:
                size = file.seek(0, 2)
                file.seek(max(0, size - _CONSOLE_BYTES))
                return file.read().decode("utf-8", "replace")
        except FileNotFoundError:
            return ""

    def set_metadata(self, path: str, value: object | None) -> None:
        """Publish a value in the guest's IMDS, text or JSON data; None withdraws it."""
        with self._lock:
            if value is None:
                self._metadata.pop(path, None)
            else:
                self._metadata[path] = value
        self._send({"op": "metadata", "path": path, "value": value})

    @property
    def down(self) -> bool:
        """Whether nothing of it runs any more and ``on_power``, if it was to be called, has returned."""
        return self._answers.down

    def set_clock(self, offset: float) -> None:
        """The sandbox's clock is now ``offset`` seconds ahead of this machine's."""
        with self._lock:
            self._offset = offset
            if not self._answers.down:
                self._send({"op": "clock", "offset": offset, "number": self._answers.ask()})

    def settle(self, *, boots: bool) -> float | None:
        """Wait, within bounds, until what :meth:`set_clock` made due has happened.

        Args:
            boots: wait for a boot to end, too. An end is always waited for.

        Returns:
            When the guest's next timer is due, in seconds since the epoch; None if it has none or does not answer.
        """
        return self._answers.wait(boots=boots)

    def delete_disk(self) -> None:
        """Take away everything the guest wrote, its console included, once it is down.

        It is out of sight when this returns; a thread of its own removes it.
        """
        self.join()
        for directory in {self._isolation.disk(self._directory).parent, self._directory}:
            discard_tree(directory)

    def _live(self, image: Path | None, after: Guest | None) -> None:
        try:
            if after is not None:
                after.join()
            if image is not None:
                self._install(image)
            outcome = "reboot"
            while outcome == "reboot" and not self._going:
                outcome = self._run()
        except Exception as error:  # noqa: BLE001 - whatever it is, an instance without a guest must not look well
            self._note(f"the machine did not start, or is broken: {error}")
            outcome = "halt"
        try:
            if not self._going:
                self._on_power("off" if outcome == "off" else "halt")
        finally:
            self._answers.enter("down")

    def _ending(self) -> None:
        if not self._answers.down:
            self._answers.enter("ending")

    def _install(self, image: Path) -> None:
        disk = self._isolation.disk(self._directory)
        self._directory.mkdir(parents=True, exist_ok=True)
        copy_tree(image, disk)
        self._isolation.own(disk)

    def _run(self) -> str:
        """One boot; returns how it ended: off, halt or reboot."""
        disk = self._isolation.disk(self._directory)
        address, port = self._spec.address, self._spec.port
        # The lock is held until the guest is configured: a turned clock must not be the first thing it is told.
        with Doorway(self._way_out if self._isolation.own_network else None) as door:
            with bind(address, port) as listener, self._console.open("ab") as console, self._lock:
                if self._going:
                    return "off"
                process = subprocess.Popen(
                    self._isolation.command(disk, "ip-" + address.replace(".", "-"), door=door),
                    env=self._isolation.environment,
                    cwd=disk,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=console,
                    pass_fds=(listener.fileno(), *door.descriptors),
                    start_new_session=True,
                )
                self._process = process
                door.open()
                self._answers.enter("booting")
                self._configure(process, self._configuration(disk, listener.fileno()))
            outcome = self._attend(process)
        self._isolation.sweep(disk)
        if outcome == "":
            self._note(f"the machine died (status {process.returncode})")
        return outcome or "halt"

    def _attend(self, process: subprocess.Popen[bytes]) -> str:
        """Hear a guest out until it has ended, or end it."""
        with process:
            try:
                outcome = self._listen(process)
            except BaseException:
                process.kill()
                raise
            with self._lock, contextlib.suppress(BrokenPipeError):
                if process.stdin is not None:
                    process.stdin.close()
        return outcome

    def _configure(self, process: subprocess.Popen[bytes], configuration: Configuration) -> None:
        assert process.stdin is not None  # noqa: S101 - a pipe was asked for
        with contextlib.suppress(BrokenPipeError):  # it is dead, which reading from it tells
            process.stdin.write(configuration.line())
            process.stdin.flush()
        # From here on a guest that does not read must not hold up whoever tells it something.
        os.set_blocking(process.stdin.fileno(), False)
        self._ask_again()  # what was asked while it was not there yet

    def _ask_again(self) -> None:
        with self._lock:
            self._send({"op": "clock", "offset": self._offset, "number": self._answers.asked})

    def _listen(self, process: subprocess.Popen[bytes]) -> str:
        """Hear the guest out; returns how it said that it ended, or nothing."""
        assert process.stdout is not None  # noqa: S101 - a pipe was asked for
        outcome = ""
        for report in reports(process.stdout):
            if self._answers.hear(report):
                self._ask_again()
            outcome = str(report.get("power", outcome))
        return outcome

    def _configuration(self, disk: Path, listener: int) -> Configuration:
        return Configuration(
            instance_id=self._spec.instance_id,
            address=self._spec.address,
            listener=listener,
            authorized_keys=list(self._spec.authorized_keys),
            user_data=base64.b64encode(self._spec.user_data).decode("ascii"),
            metadata=self._metadata,
            offset=self._offset,
            root=str(self._isolation.root(disk)),
            tools=str(self._isolation.tools()),
            own_network=self._isolation.own_network,
            account="http://{}:{}".format(*self._way_out) if self._way_out else "",
        )

    def _send(self, message: dict[str, object]) -> None:
        line = json.dumps(message).encode("utf-8") + b"\n"
        with self._lock:
            process = self._process
            if process is None or process.stdin is None or process.stdin.closed:
                return
            # A broken pipe: it is dead, which its own thread notices and tells. A full one: it reads nothing.
            with contextlib.suppress(BrokenPipeError, BlockingIOError):
                os.write(process.stdin.fileno(), line)

    def _note(self, text: str) -> None:
        self._directory.mkdir(parents=True, exist_ok=True)
        with self._console.open("a", encoding="utf-8") as console:
            console.write(text + "\n")
