"""One SSH session: a command, a shell, or SFTP."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import asyncssh
from asyncssh.channel import SSHChannel
from asyncssh.stream import SSHServerStreamSession

from .processes import Processes
from .program import Program
from .system import LOGIN_USER, System


class Session(SSHServerStreamSession[bytes]):
    """SFTP (and scp's old protocol) go the way of the base class; commands and shells are processes."""

    def __init__(
        self,
        system: System,
        processes: Processes,
        sftp: Callable[[SSHChannel[bytes]], asyncssh.SFTPServer],
        peer: str,
    ) -> None:
        super().__init__(None, sftp, 3, True)
        self._system = system
        self._processes = processes
        self._peer = peer
        self._program: Program | None = None

    def pty_requested(self, term_type: str, term_size: object, term_modes: object) -> bool:  # noqa: ARG002
        return True

    def shell_requested(self) -> bool:
        return True

    def exec_requested(self, command: str) -> bool:  # noqa: ARG002
        return True

    def session_started(self) -> None:
        channel = cast("asyncssh.SSHServerChannel[bytes]", self._chan)
        command = channel.get_command()
        if channel.get_subsystem() == "sftp" or (command and command.startswith("scp ")):
            super().session_started()
            return
        environment = self._system.environment(user=LOGIN_USER)
        environment |= {"SSH_CONNECTION": self._peer, "SSH_CLIENT": self._peer}
        # As Debian's AcceptEnv has it
        environment |= {
            name: value for name, value in channel.get_environment().items() if name.startswith(("LANG", "LC_"))
        }
        terminal = channel.get_terminal_type()
        if terminal is not None:
            environment["TERM"] = terminal or "dumb"
        shell = self._system.shell
        # A login shell is told so by a dash before its name; bash takes -l for the same.
        arguments = [shell, "-c", command] if command is not None else [shell, "-l"]
        self._program = Program(self._processes, channel, terminal is not None)
        self._program.start(arguments, environment, self._system)

    def data_received(self, data: bytes, datatype: int | None) -> None:
        if self._program is None:
            super().data_received(data, datatype)
        else:
            self._program.feed(data)

    def eof_received(self) -> bool:
        if self._program is None:
            return bool(super().eof_received())
        self._program.feed_eof()
        return True

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._program is not None:
            self._program.pause_output()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._program is not None:
            self._program.resume_output()

    def signal_received(self, signal: str) -> None:
        if self._program is not None:
            self._program.signal(signal)

    def terminal_size_changed(self, width: int, height: int, pixwidth: int, pixheight: int) -> None:
        if self._program is not None:
            self._program.resize((width, height, pixwidth, pixheight))

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self._program is not None:
            self._program.hang_up()
