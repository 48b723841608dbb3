"""A process behind an SSH channel, its pipes or its terminal wired to it without a detour."""

from __future__ import annotations

import asyncio
import fcntl
import os
import pty
import signal
import struct
import subprocess
import termios

import asyncssh

from .processes import Processes
from .system import System

_STDERR = asyncssh.EXTENDED_DATA_STDERR


class Program:
    """A process whose streams are the channel's.

    Like sshd, it leaves a process alone whose client went away (it sees its pipes close), and hangs up a
    terminal; and it ends the session once the process has ended and its output has been read to the end.
    """

    def __init__(self, processes: Processes, channel: asyncssh.SSHServerChannel[bytes], terminal: bool) -> None:
        self._processes = processes
        self._channel = channel
        self._terminal = terminal
        self._loop = asyncio.get_running_loop()
        self._early: list[bytes] = []
        self._early_eof = False
        self._input: asyncio.WriteTransport | None = None
        self._outputs: list[asyncio.ReadTransport] = []
        self._master = -1
        self._pid = 0
        self._task: asyncio.Task[None] | None = None
        self._paused = False

    def start(self, arguments: list[str], environment: dict[str, str], system: System) -> None:
        self._task = self._loop.create_task(self._run(arguments, environment, system))

    async def _run(self, arguments: list[str], environment: dict[str, str], system: System) -> None:
        ours: list[tuple[int, int | None]]
        if self._terminal:
            self._master, slave = pty.openpty()
            self.resize(self._channel.get_terminal_size())
            theirs = (slave, slave, slave)
            to_program, ours = os.dup(self._master), [(os.dup(self._master), None)]
        else:
            stdin, to_program = os.pipe()
            from_out, stdout = os.pipe()
            from_err, stderr = os.pipe()
            theirs = (stdin, stdout, stderr)
            ours = [(from_out, None), (from_err, _STDERR)]
        try:
            self._pid, exited = self._processes.spawn(
                arguments,
                environment=environment,
                directory=system.home if system.home.is_dir() else system.root,
                stdin=theirs[0],
                stdout=theirs[1],
                stderr=theirs[2],
                before_exec=_take_terminal if self._terminal else None,
            )
        except (OSError, subprocess.SubprocessError) as error:
            self._channel.write_stderr(f"{arguments[0]}: {error}\n".encode())
            self._channel.exit(255)
            for descriptor in (to_program, *(descriptor for descriptor, _ in ours)):
                os.close(descriptor)
            return
        finally:
            for descriptor in set(theirs):
                os.close(descriptor)
        writer, _ = await self._loop.connect_write_pipe(
            lambda: _Input(self._channel), os.fdopen(to_program, "wb", buffering=0)
        )
        drained = [await self._read(descriptor, datatype) for descriptor, datatype in ours]
        self._input = writer
        for data in self._early:
            writer.write(data)
        if self._early_eof:
            self._end_input()
        status = await exited
        await asyncio.gather(*drained)
        if not self._channel.is_closing():
            if status < 0:
                self._channel.exit_with_signal(signal.Signals(-status).name.removeprefix("SIG"))
            else:
                self._channel.exit(status)
        if not writer.is_closing():
            writer.abort()
        self._release_terminal()

    async def _read(self, descriptor: int, datatype: int | None) -> asyncio.Future[None]:
        drained: asyncio.Future[None] = self._loop.create_future()
        transport, _ = await self._loop.connect_read_pipe(
            lambda: _Output(self._channel, datatype, drained), os.fdopen(descriptor, "rb", buffering=0)
        )
        self._outputs.append(transport)
        if self._paused:
            transport.pause_reading()
        return drained

    def feed(self, data: bytes) -> None:
        if self._input is None:
            self._early.append(data)
        else:
            self._input.write(data)

    def feed_eof(self) -> None:
        self._end_input()

    def _end_input(self) -> None:
        if self._input is None:
            self._early_eof = True
        elif self._terminal:
            self._input.write(b"\x04")
        else:
            self._input.close()

    def pause_output(self) -> None:
        self._paused = True
        for transport in self._outputs:
            transport.pause_reading()

    def resume_output(self) -> None:
        self._paused = False
        for transport in self._outputs:
            transport.resume_reading()

    def signal(self, name: str) -> None:
        number = getattr(signal, f"SIG{name}", None)
        if self._pid and isinstance(number, signal.Signals):
            self._processes.signal(self._pid, number)

    def resize(self, size: tuple[int, int, int, int]) -> None:
        if self._master >= 0:
            width, height, pixel_width, pixel_height = size
            packed = struct.pack("HHHH", height, width, pixel_width, pixel_height)
            fcntl.ioctl(self._master, termios.TIOCSWINSZ, packed)

    def hang_up(self) -> None:
        for transport in self._outputs:
            transport.close()
        if self._input is None:
            self._early_eof = True
        elif not self._input.is_closing():
            self._input.abort()
        # The kernel sends SIGHUP once the terminal's last descriptor here is closed.
        self._release_terminal()

    def _release_terminal(self) -> None:
        if self._master >= 0:
            os.close(self._master)
            self._master = -1


class _Input(asyncio.BaseProtocol):
    """Back-pressure of the process's stdin, passed on as SSH flow control."""

    def __init__(self, channel: asyncssh.SSHServerChannel[bytes]) -> None:
        self._channel = channel

    def pause_writing(self) -> None:
        self._channel.pause_reading()

    def resume_writing(self) -> None:
        # Not at once: the channel may hand over its EOF, and the transport, still inside its own write, would
        # then be closed twice.
        asyncio.get_running_loop().call_soon(self._channel.resume_reading)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        # Nobody reads any more: what the client still sends has to be taken and dropped, not waited with.
        self._channel.resume_reading()


class _Output(asyncio.Protocol):
    def __init__(
        self, channel: asyncssh.SSHServerChannel[bytes], datatype: int | None, drained: asyncio.Future[None]
    ) -> None:
        self._channel = channel
        self._datatype = datatype
        self._drained = drained

    def data_received(self, data: bytes) -> None:
        if not self._channel.is_closing():
            self._channel.write(data, self._datatype)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        if not self._drained.done():
            self._drained.set_result(None)


def _take_terminal() -> None:
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
