"""The guest's first process: boots, waits for the power to go, takes everything down with it.

It reads one JSON line of configuration and then commands from stdin, and reports on stdout; stderr is the
console. Its stdin coming to an end means that the daemon is gone: then the guest goes too.
"""

from __future__ import annotations

import asyncio
import ctypes
import importlib
import json
import os
import socket
import sys
import time
from pathlib import Path
from typing import BinaryIO

from .cloudinit import CloudInit
from .configuration import Configuration
from .imds import LINK_LOCAL, MetadataService
from .power import Power
from .processes import Processes
from .system import System
from .timers import Timers

_STOP_GRACE_SECONDS = 0.6
_PR_SET_DUMPABLE = 4
# After a turn of the clock: how often to look whether the guest is at rest, how often in a row it has to be, how
# often where it can't be looked at, and when to stop looking.
_REST_SECONDS = 0.005
_RESTS = 3
_RESTS_UNSEEN = 30
_SETTLE_SECONDS = 0.25
_LOG = "/var/log/cloud-init-output.log"


class Machine:
    """One boot, from configuration to power-off."""

    def __init__(self, config: Configuration, commands: asyncio.StreamReader) -> None:
        self._config = config
        self._commands = commands
        self._started = time.monotonic()
        self._ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._log: BinaryIO | None = None
        # Whether what is waited for is init's own work, which no look at processes shows.
        self._at_work = False
        self._settling: asyncio.Task[None] | None = None

    async def run(self) -> None:
        config = self._config
        user_data = config.raw_user_data
        self._metadata = MetadataService(config.metadata, user_data, config.authorized_keys)
        endpoint = await self._metadata.listen(config.address)
        if config.own_network:
            await self._metadata.listen(LINK_LOCAL, 80)
        self._system = System(Path(config.root), Path(config.tools), config.instance_id, endpoint, config.account)
        self._system.lay_out(config.address)
        # asyncssh looks for a home, which outside a namespace the user database need not know.
        os.environ["HOME"] = str(self._system.home)
        self._processes = Processes(first=os.getpid() == 1)
        self._timers = Timers(config.offset, self._system.run / "clock")
        power = Power(self._timers, self._system.run / "scheduled", self._end, self.say)
        tasks = [
            asyncio.create_task(work)
            for work in (self._obey(), power.listen(self._system.run / "initctl"), self._boot(user_data))
        ]
        for task in tasks:
            task.add_done_callback(self._complain)
        kind = await self._ended
        self.say(f"systemd-shutdown[1]: {kind}: sending SIGTERM to remaining processes...")
        for task in tasks:
            task.cancel()
        await self._processes.end_all(_STOP_GRACE_SECONDS)
        self._report({"power": kind})

    async def _boot(self, user_data: bytes) -> None:
        try:
            self.say(f"Booting instance {self._system.instance_id}")
            with self._system.path(_LOG).open("ab") as self._log:
                cloud_init = CloudInit(
                    self._system, self._processes, user_data, say=self.say, output=self._script_output
                )
                # The import takes as long as most boot hooks, and both are waited for.
                importing = asyncio.create_task(asyncio.to_thread(importlib.import_module, ".sshd", __package__))
                await cloud_init.early()
                self._at_work = True
                await importing
                await self._start_sshd(cloud_init)
                self._up()
                await cloud_init.final()
                self.say(f"Cloud-init finished. Datasource DataSourceEc2Local. Up {self._uptime():.2f} seconds")
                await asyncio.Event().wait()
        except Exception as error:  # noqa: BLE001 - a boot that fails leaves a machine that runs, as it does in EC2
            self.say(f"boot failed: {type(error).__name__}: {error}")
            self._up()

    def _up(self) -> None:
        self._at_work = False
        self._report({"phase": "up"})

    async def _start_sshd(self, cloud_init: CloudInit) -> None:
        from . import sshd  # noqa: PLC0415 - see _boot

        key = sshd.host_key(self._system, cloud_init.host_key, fresh=cloud_init.once("config_ssh"))
        if cloud_init.once("config_ssh_authorized_keys"):
            keys = (*self._config.authorized_keys, *cloud_init.authorized_keys)
            sshd.authorize(self._system, keys)
        listener = socket.socket(fileno=self._config.listener)
        listener.setblocking(False)
        await sshd.listen(self._system, self._processes, listener, key)
        self.say(sshd.announcement(key))
        self.say(f"Started OpenBSD Secure Shell server. Up {self._uptime():.2f} seconds")

    async def _obey(self) -> None:
        while line := await self._commands.readline():
            command = json.loads(line)
            match command["op"]:
                case "clock":
                    self._timers.set_offset(float(command["offset"]))
                    if self._settling is not None:
                        self._settling.cancel()
                    self._settling = asyncio.create_task(self._settle(int(command["number"])))
                case "metadata":
                    self._metadata.set(command["path"], command["value"])
                case "power-button":
                    self._end("off")
        self._end("off")

    async def _settle(self, number: int) -> None:
        """Answer a turn of the clock once what it woke has done what it had to do, or goes on working.

        Without this a script that sleeps ten times a minute would wake once from a turn of ten minutes.
        """
        needed = _RESTS if self._processes.seen else _RESTS_UNSEEN
        rests = 0
        end = time.monotonic() + _SETTLE_SECONDS
        while rests < needed and (self._at_work or time.monotonic() < end):
            await asyncio.sleep(_REST_SECONDS)
            rests = 0 if self._at_work or self._processes.busy() else rests + 1
        if not self._ended.done():
            self._report({"clock": number, "due": self._timers.due})

    def _complain(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self.say(f"init: {type(error).__name__}: {error}")

    def _end(self, kind: str) -> None:
        if not self._ended.done():
            self._ended.set_result(kind)
            self._report({"phase": "ending"})

    def _uptime(self) -> float:
        return time.monotonic() - self._started

    def _script_output(self, data: bytes) -> None:
        sys.stderr.buffer.write(data)
        sys.stderr.buffer.flush()
        if self._log is not None and not self._log.closed:
            self._log.write(data)
            self._log.flush()

    def say(self, text: str) -> None:
        """A line on the console, with the seconds since the boot before it."""
        for line in text.splitlines():
            stamp = "" if line.startswith(("-----", "ssh-")) else f"[{self._uptime():12.6f}] "
            sys.stderr.write(f"{stamp}{line}\n")
        sys.stderr.flush()

    def _report(self, report: dict[str, object]) -> None:
        # The daemon may be gone, which is then why this guest ends.
        try:
            sys.stdout.write(json.dumps(report) + "\n")
            sys.stdout.flush()
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _keep_to_itself() -> None:
    """Bar the guest's programs, which run as the same user, from this process's memory and descriptors."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


async def _main() -> None:
    commands = asyncio.StreamReader(limit=1 << 20)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin.buffer)
    line = await commands.readline()
    if line:
        await Machine(Configuration.parse(line), commands).run()


if __name__ == "__main__":
    _keep_to_itself()
    asyncio.run(_main())
