"""A remote command from start to end: its input, its output, how it ended."""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass

import paramiko

from gputx.ssh.errors import ChannelClosedError, CommandTimeoutError
from gputx.ssh.link import Link

RECEIVE_BYTES = 1 << 16
# The remote host reports a status when a process exits; one that a signal ended has none to report.
NO_STATUS = -1


@dataclass(frozen=True)
class Completed:
    """A command that has ended. ``exit_status`` is -1 when a signal ended it."""

    exit_status: int
    stdout: bytes
    stderr: bytes


class Drain:
    """Reads stderr on a thread of its own: it shares the window with stdout, and unread it would stall both.

    Args:
        keep: how many bytes of the tail to keep; None keeps all.
    """

    def __init__(self, channel: paramiko.Channel, *, keep: int | None = None) -> None:
        self._channel = channel
        self._keep = keep
        self._pieces: deque[bytes] = deque()
        self._kept = 0
        self._thread = threading.Thread(target=self._read, name="ssh-stderr", daemon=True)
        self._thread.start()

    def data(self) -> bytes:
        """What was said so far, or the tail of it."""
        data = b"".join(self._pieces.copy())
        return data if self._keep is None else data[-self._keep :]

    def join(self, timeout: float) -> None:
        """Wait for the end of stderr, which a closed channel or a lost peer brings."""
        self._thread.join(timeout)

    def _read(self) -> None:
        while data := self._receive():
            self._pieces.append(data)
            self._kept += len(data)
            while self._keep is not None and self._kept - len(self._pieces[0]) >= self._keep:
                self._kept -= len(self._pieces.popleft())

    def _receive(self) -> bytes:
        while True:
            try:
                return self._channel.recv_stderr(RECEIVE_BYTES)
            except TimeoutError:
                # The channel's timeout belongs to the thread that has the deadline.
                continue
            except (EOFError, OSError, paramiko.SSHException):
                # The connection is gone; whoever reads stdout finds that out too, and says so.
                return b""


def write(channel: paramiko.Channel, data: bytes) -> None:
    """Send all of ``data``. A view, because paramiko copies what is left after every packet of 32 KB."""
    channel.sendall(memoryview(data))  # type: ignore[arg-type]  # typed as bytes, takes any buffer


def receive(link: Link, channel: paramiko.Channel) -> bytes:
    """The next piece of stdout; empty when the command closed it.

    Raises:
        PeerLostError, InterruptedBySignal: it ended because the connection did.
        TimeoutError: nothing came within the channel's timeout.
    """
    link.stop.check()
    doing = "reading from a command"
    with link.diagnosed(doing):
        data = channel.recv(RECEIVE_BYTES)
    # paramiko ends the stream in the same way whether the peer said so or vanished.
    if not data and not channel.eof_received and not link.answers():
        raise link.diagnosis(doing)
    return data


def exit_status(link: Link, channel: paramiko.Channel, timeout: float | None = None) -> int:
    """Wait for the end of a command; -1 when a signal ended it.

    Raises:
        PeerLostError, InterruptedBySignal: the connection ended before the command did.
        TimeoutError: it runs on.
    """
    # The event is set by a status, by a closed channel and by the end of the transport: see wire.py.
    if not channel.status_event.wait(timeout):
        raise TimeoutError
    link.stop.check()
    if channel.exit_status == NO_STATUS and not link.answers():
        raise link.diagnosis("waiting for a command to end")
    return channel.exit_status


def hang_up(channel: paramiko.Channel) -> None:
    """Close a channel, whatever state it or its connection is in."""
    try:
        channel.close()
    except (EOFError, OSError, paramiko.SSHException):
        # There is nobody left to tell.
        return


def run(link: Link, command: str, *, timeout: float, stdin: bytes = b"") -> Completed:
    """Run a command to its end.

    Args:
        timeout: seconds of real time, from start to exit.
        stdin: sent whole before output is read, so what comes out until then must fit the window of 64 MiB.

    Raises:
        CommandTimeoutError: it took longer; it was hung up on.
        ChannelClosedError: the host refuses to start it.
        PeerLostError, InterruptedBySignal: the connection ended, or a stop was requested.
    """
    give_up_at = time.monotonic() + timeout
    channel = link.execute(command)
    errors = Drain(channel)
    output: list[bytes] = []

    def limit() -> float:
        left = give_up_at - time.monotonic()
        if left <= 0:
            raise TimeoutError
        channel.settimeout(left)
        return left

    try:
        limit()
        send(link, channel, stdin)
        while data := receive(link, channel):
            output.append(data)
            limit()
        status = exit_status(link, channel, limit())
        errors.join(limit())
    except TimeoutError as error:
        raise CommandTimeoutError(
            f"a command on {link.address} did not end within {timeout:g} s", details=(command,)
        ) from error
    finally:
        hang_up(channel)
    return Completed(status, b"".join(output), errors.data())


def send(link: Link, channel: paramiko.Channel, data: bytes) -> None:
    """Give a command all of its input. A command that ends without reading it is not an error here."""
    try:
        with link.diagnosed("writing to a command"):
            write(channel, data)
            channel.shutdown_write()
    except ChannelClosedError:
        # `head -1` and `false` do this; the exit status tells whether it was meant.
        return
