"""The SSH connection of a run: made as soon as the instance answers, watched for as long as it lasts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from gputx.clock import Clock, Stop
from gputx.ssh import command as commands
from gputx.ssh import transfer
from gputx.ssh.command import Completed
from gputx.ssh.errors import AuthenticationRefusedError, SshUnavailableError
from gputx.ssh.forwarded import Forwarded
from gputx.ssh.handshake import Address, NotReadyError, open_session
from gputx.ssh.keys import KeyPair
from gputx.ssh.link import Link, Liveness
from gputx.ssh.stream import Stream

__all__ = ["Address", "Completed", "Connection", "Forwarded", "Liveness", "Stream", "connect"]

FIRST_PAUSE_SECONDS = 0.2
LONGEST_PAUSE_SECONDS = 1.0
PAUSE_GROWTH = 1.5
# cloud-init writes the host key a moment before the user's: whoever shows the pinned host key has ours soon.
AUTHENTICATION_GRACE_SECONDS = 3.0

OnAttempt = Callable[[int, str], None]


class Connection:
    """An authenticated session with the one machine whose host key was pinned.

    Operations may run at the same time from several threads, each on a channel of its own. Every one of them
    raises PeerLostError when the connection ends or the peer stops answering, and InterruptedBySignal within
    about 0.3 s of a requested stop, which also ends the connection.
    """

    def __init__(self, link: Link) -> None:
        self._link = link

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def address(self) -> Address:
        return self._link.address

    def run(self, command: str, *, timeout: float = 30.0, input: bytes = b"") -> Completed:  # noqa: A002
        """Run a shell command to its end; see :func:`gputx.ssh.command.run`."""
        return commands.run(self._link, command, timeout=timeout, stdin=input)

    def open_stream(self, command: str) -> Stream:
        """Start a shell command and talk with it line by line."""
        self._link.stop.check()
        return Stream(self._link, command)

    def upload(self, source: Path, remote: str, *, progress: transfer.Progress | None = None) -> None:
        """Copy a file there, checked by hash and renamed into place; see :func:`gputx.ssh.transfer.store`."""
        transfer.upload(self._link, source, remote, progress=progress)

    def upload_bytes(self, data: bytes, remote: str, *, progress: transfer.Progress | None = None) -> None:
        """Make a file there of ``data``; see :func:`gputx.ssh.transfer.store`."""
        transfer.upload_bytes(self._link, data, remote, progress=progress)

    def dial(self, port: int) -> Forwarded:
        """A TCP connection to a port of the far side's own loopback; see :mod:`gputx.ssh.tunnel`."""
        return Forwarded(self._link, port)

    def close(self) -> None:
        """End the session and all that runs on it. Idempotent; never waits for the peer."""
        self._link.close()


def connect(
    address: Address,
    *,
    user: str,
    key: KeyPair,
    host_key: str,
    clock: Clock,
    stop: Stop,
    deadline_seconds: float = 300.0,
    on_attempt: OnAttempt | None = None,
    liveness: Liveness | None = None,
) -> Connection:
    """Try from the first second until sshd lets us in.

    A refused or unanswered port is tried again after 0.2 s, growing to 1 s, each attempt with 1 s for TCP, so
    SSH is found within about a second of coming up.

    Args:
        host_key: the public key that the launch gave the instance, ``ssh-ed25519 AAAA…``; the only one
            accepted.
        clock: measures the deadline and the pauses.
        stop: honoured in every wait, here and for the life of the connection.
        deadline_seconds: how long to keep trying.
        on_attempt: called after each attempt that failed with its number, from 1, and what was seen.
        liveness: when a quiet peer is asked, and when it is given up, in real seconds.

    Raises:
        SshUnavailableError: it did not come up in time, or has no cipher in common with us.
        HostKeyChangedError: another machine answered; not retried.
        AuthenticationRefusedError: the key was still refused after 3 s.
        InterruptedBySignal: a stop was requested.
        ValueError: ``host_key`` is no ed25519 public key.
    """
    liveness = liveness or Liveness()
    deadline = clock.time() + deadline_seconds
    pause = FIRST_PAUSE_SECONDS
    refused_until: float | None = None
    attempt = 0
    while True:
        stop.check()
        attempt += 1
        try:
            transport, wire = open_session(
                address, user=user, key=key, host_key=host_key, stop=stop, lost_after=liveness.lost_after
            )
        except NotReadyError as not_ready:
            seen = str(not_ready)
            if clock.time() >= deadline:
                raise SshUnavailableError(
                    f"SSH at {address} did not come up within {deadline_seconds:g} s; last seen: {seen}",
                    hint="the instance may still be booting, or a firewall is in the way (see --allow-cidr)",
                    details=(f"{attempt} attempts",),
                ) from not_ready
        except AuthenticationRefusedError as refusal:
            seen = refusal.message
            refused_until = refused_until or clock.time() + AUTHENTICATION_GRACE_SECONDS
            if clock.time() >= min(refused_until, deadline):
                raise
        else:
            return Connection(Link(transport, wire, address=address, stop=stop, liveness=liveness))
        if on_attempt is not None:
            on_attempt(attempt, seen)
        clock.sleep(pause, stop)
        pause = min(pause * PAUSE_GROWTH, LONGEST_PAUSE_SECONDS)
