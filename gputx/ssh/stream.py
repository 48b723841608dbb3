"""A remote command while it runs: lines in, lines out, the tail of its log at hand."""

from __future__ import annotations

from collections.abc import Iterator

from gputx.ssh.command import NO_STATUS, Drain, exit_status, hang_up, receive, write
from gputx.ssh.link import Link

STDERR_TAIL_BYTES = 1 << 16

_LAST_WORDS_SECONDS = 2.0
"""What was written before an end arrives right behind its exit status."""


class Stream:
    """A command with its stdin and stdout open. One thread may write while another reads."""

    def __init__(self, link: Link, command: str) -> None:
        self._link = link
        self._channel = link.execute(command)
        self._log = Drain(self._channel, keep=STDERR_TAIL_BYTES)

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def write_line(self, line: str) -> None:
        """Send one line, UTF-8; the newline is added.

        Raises:
            ValueError: ``line`` holds a newline.
            ChannelClosedError: the command has ended.
            PeerLostError, InterruptedBySignal: the connection ended, or a stop was requested.
        """
        if "\n" in line:
            raise ValueError("a line must not hold a newline")
        self._link.stop.check()
        with self._link.diagnosed("writing to a command"):
            write(self._channel, line.encode() + b"\n")

    def close_stdin(self) -> None:
        """Tell the command that no more lines will come.

        Raises:
            PeerLostError, InterruptedBySignal: the connection ended, or a stop was requested.
        """
        with self._link.diagnosed("writing to a command"):
            self._channel.shutdown_write()

    def lines(self) -> Iterator[str]:
        """Lines of stdout as they come, without their newlines, until the command closes it.

        A last line without a newline counts when the command ended by itself, and is dropped when it was
        cut off. While nothing comes the peer is asked for a sign of life, which tells lost from quiet.

        Raises:
            PeerLostError: the connection ended, or its peer stopped answering.
            InterruptedBySignal: a stop was requested.
        """
        rest = b""
        while data := receive(self._link, self._channel):
            *complete, rest = (rest + data).split(b"\n")
            for line in complete:
                yield line.decode(errors="replace")
        if rest:
            yield rest.decode(errors="replace")

    def wait(self) -> int:
        """The exit status, once the command has ended; -1 when a signal ended it.

        What it has logged is whole by then, unless something that it left behind still has its stderr.

        Raises:
            PeerLostError, InterruptedBySignal: the connection ended, or a stop was requested.
        """
        status = exit_status(self._link, self._channel)
        self._log.join(_LAST_WORDS_SECONDS)
        return status

    @property
    def exit_status(self) -> int | None:
        """The exit status if it is known by now."""
        status = self._channel.exit_status
        return status if status != NO_STATUS or self._channel.closed else None

    @property
    def stderr(self) -> str:
        """The last 64 KiB of what the command has logged so far."""
        return self._log.data().decode(errors="replace")

    def close(self) -> None:
        """Hang up on the command, which sees the end of its input. Idempotent."""
        hang_up(self._channel)
