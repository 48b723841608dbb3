"""One virtual machine under qemu: a disk, a NoCloud seed, its console and what it said when it went off."""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import subprocess
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

MEMORY_MB = 512
KERNEL_WORDS = "root=/dev/vda rw console=ttyS0 panic=-1 systemd.show_status=1 systemd.status_unit_format=name"
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


class BootError(Exception):
    """A machine did not do what the check waits for; the text says where its console is."""


@dataclass(frozen=True)
class Seed:
    """What cloud-init is given.

    Attributes:
        user_data: None: an instance that somebody else launched from the same disk.
        public_key: the login user's, OpenSSH.
    """

    instance_id: str
    public_key: str
    user_data: str | None

    def write(self, directory: Path) -> Path:
        """Make the ISO image that the datasource NoCloud looks for."""
        directory.mkdir(parents=True)
        metadata = {"instance-id": self.instance_id, "public-keys": [self.public_key]}
        (directory / "meta-data").write_text(json.dumps(metadata), encoding="utf-8")
        (directory / "user-data").write_text(self.user_data or "#cloud-config\n{}\n", encoding="utf-8")
        image = directory.with_suffix(".iso")
        names = ["meta-data", "user-data"]
        subprocess.run(
            ["genisoimage", "-quiet", "-V", "cidata", "-J", "-r", "-o", image, *names], cwd=directory, check=True
        )
        return image


def copy_of(disk: Path, to: Path) -> Path:
    """A disk with the content of another, which must not be written to from now on."""
    form = "raw" if disk.suffix == ".raw" else "qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-F", form, "-b", disk, to], check=True)
    return to


class Machine:
    """A machine that runs from the moment this is made until it goes off.

    Attributes:
        started: when qemu was started, seconds since the epoch. The guest's clock is the host's.
        port: its sshd, on loopback.
        console_path: the serial console; each line begins with the seconds since ``started``.
    """

    def __init__(self, base: Path, work: Path, *, disk: Path, seed: Path, words: str = "", clock: str = "utc") -> None:
        """Start it.

        Args:
            base: the directory with vmlinuz and initrd.
            work: a new directory for the console and the control socket.
            words: more words for the kernel's command line.
            clock: when the hardware clock starts, as qemu's ``-rtc base=`` takes it.
        """
        work.mkdir(parents=True)
        self.console_path = work / "console.log"
        self.port = _free_port()
        self._lines: list[tuple[float, str]] = []
        self._events: list[dict[str, Any]] = []
        self._changed = threading.Condition()
        control = work / "qmp"
        self.started = time.time()
        self._process = subprocess.Popen(
            [
                *("nice", "-n", "10", "qemu-system-x86_64"),
                *("-machine", "q35", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "1", "-m", str(MEMORY_MB)),
                *("-display", "none", "-serial", "stdio", "-qmp", f"unix:{control},server=on,wait=off"),
                *("-rtc", f"base={clock}", "-device", "virtio-rng-pci"),
                *("-drive", f"file={disk},if=virtio,format=qcow2,cache=unsafe"),
                *("-drive", f"file={seed},if=virtio,format=raw,readonly=on"),
                *("-netdev", f"user,id=n,hostfwd=tcp:127.0.0.1:{self.port}-:22", "-device", "virtio-net-pci,netdev=n"),
                *("-kernel", str(base / "vmlinuz"), "-initrd", str(base / "initrd")),
                *("-append", f"{KERNEL_WORDS} {words}"),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        threading.Thread(target=self._read_console, daemon=True).start()
        threading.Thread(target=self._read_events, args=(control,), daemon=True).start()

    def __enter__(self) -> Machine:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()

    @property
    def on(self) -> bool:
        return self._process.poll() is None

    def said(self, text: str) -> list[tuple[float, str]]:
        """The console's lines with this text, each with the seconds since ``started``."""
        with self._changed:
            return [(at, line) for at, line in self._lines if text in line]

    def wait_for(self, text: str, *, times: int = 1, timeout: float) -> tuple[float, str]:
        """The line that makes it ``times`` lines with this text. Raises BootError."""
        until = time.monotonic() + timeout
        while True:
            found = self.said(text)
            if len(found) >= times:
                return found[times - 1]
            with self._changed:
                self._changed.wait(0.2)
            if not self.on:
                raise BootError(f"went off without saying {text!r}: {self.console_path}")
            if time.monotonic() > until:
                raise BootError(f"did not say {text!r} within {timeout:g} s: {self.console_path}")

    def wait_off(self, timeout: float) -> float:
        """Seconds since the epoch when it went off. Raises BootError, too when it ended otherwise."""
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired as late:
            raise BootError(f"still on after {timeout:g} s: {self.console_path}") from late
        ended = time.time()
        with self._changed:
            # The thread reads the last event after the process has gone.
            self._changed.wait_for(lambda: any(event["event"] == "SHUTDOWN" for event in self._events), 5)
            reasons = [event["data"]["reason"] for event in self._events if event["event"] == "SHUTDOWN"]
        if reasons != ["guest-shutdown"]:
            raise BootError(f"ended with {reasons}, no power-off of its own: {self.console_path}")
        return ended

    def _read_console(self) -> None:
        stream: IO[bytes] = self._process.stdout  # type: ignore[assignment]
        with self.console_path.open("w", encoding="utf-8") as log:
            for raw in stream:
                at = time.time() - self.started
                line = _COLOUR.sub("", raw.decode("utf-8", "replace")).rstrip()
                log.write(f"{at:7.1f} {line}\n")
                log.flush()
                with self._changed:
                    self._lines.append((at, line))
                    self._changed.notify_all()

    def _read_events(self, control: Path) -> None:
        with socket.socket(socket.AF_UNIX) as channel:
            while self.on:
                with contextlib.suppress(FileNotFoundError, ConnectionRefusedError):
                    channel.connect(os.fspath(control))
                    break
                time.sleep(0.05)
            else:
                return
            channel.sendall(b'{"execute": "qmp_capabilities"}')
            for raw in channel.makefile("rb"):
                message = json.loads(raw)
                if "event" in message:
                    with self._changed:
                        self._events.append(message)
                        self._changed.notify_all()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
