"""One attempt at a session: TCP, key exchange, the pinned host key, our key. Nothing here tries again."""

from __future__ import annotations

import io
import logging
import threading
import time
from dataclasses import dataclass

import paramiko
from paramiko.ssh_exception import IncompatiblePeer

from gputx.clock import Stop
from gputx.ssh.errors import AuthenticationRefusedError, HostKeyChangedError, SshUnavailableError
from gputx.ssh.keys import ED25519, KeyPair, blob_fingerprint, fingerprint, key_blob
from gputx.ssh.wire import Wire, dial

# paramiko logs tracebacks for a port that is not up yet, and without a handler Python prints them on stderr.
logging.getLogger("paramiko").addHandler(logging.NullHandler())

# AES-GCM first: one pass encrypts and authenticates, and both ends have hardware for it. 52 MB to sshd on two
# busy cores: 85–100 MB/s, against 70 with paramiko's own first choice, aes128-ctr and an HMAC.
CIPHERS = ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "aes128-ctr", "aes256-ctr")
MACS = ("hmac-sha2-256-etm@openssh.com", "hmac-sha2-512-etm@openssh.com", "hmac-sha2-256", "hmac-sha2-512")

# What a remote command may have said that nobody has read yet. It is a permission, not an allocation, and at
# 40 ms of round trip 2 MiB (the default) would hold a stream to 50 MB/s.
RECEIVE_WINDOW_BYTES = 1 << 26

CONNECT_TIMEOUT_SECONDS = 1.0
BANNER_TIMEOUT_SECONDS = 5.0
KEY_EXCHANGE_TIMEOUT_SECONDS = 10.0
AUTHENTICATION_TIMEOUT_SECONDS = 10.0


@dataclass(frozen=True)
class Address:
    """Where sshd listens."""

    host: str
    port: int = 22

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


class NotReadyError(Exception):
    """Nothing wrong that time may not put right; the text says what was seen."""


def open_session(
    address: Address, *, user: str, key: KeyPair, host_key: str, stop: Stop, lost_after: float
) -> tuple[paramiko.Transport, Wire]:
    """An authenticated transport to exactly the machine that owns ``host_key``.

    Known hosts, agents, passwords and keys lying about on this machine have no say: the pinned key is what
    paramiko's RejectPolicy would enforce with a known_hosts file of one line.

    Raises:
        NotReadyError: refused, unreachable, timed out, or cut off on the way.
        HostKeyChangedError: another host key; nothing was sent, not even the user name.
        SshUnavailableError: no cipher, MAC or key exchange in common.
        AuthenticationRefusedError: the right host does not accept the key.
        InterruptedBySignal: a stop was requested.
        ValueError: ``host_key`` is no ed25519 public key.
    """
    expected = key_blob(host_key)
    try:
        wire = Wire(
            dial(address.host, address.port, timeout=CONNECT_TIMEOUT_SECONDS, stop=stop),
            stop=stop,
            lost_after=lost_after,
        )
    except OSError as error:
        raise NotReadyError(_plain(error)) from error
    transport = paramiko.Transport(wire, default_window_size=RECEIVE_WINDOW_BYTES)
    try:
        _exchange_keys(transport, wire, address, stop)
        _check_host(transport, address, expected)
        _authenticate(transport, wire, address, user=user, key=key, stop=stop)
    except BaseException:
        transport.close()
        wire.close()
        raise
    return transport, wire


def _exchange_keys(transport: paramiko.Transport, wire: Wire, address: Address, stop: Stop) -> None:
    options = transport.get_security_options()
    options.ciphers = CIPHERS
    options.digests = MACS
    options.key_types = (ED25519,)
    transport.banner_timeout = BANNER_TIMEOUT_SECONDS
    transport.handshake_timeout = KEY_EXCHANGE_TIMEOUT_SECONDS
    try:
        transport.start_client(timeout=BANNER_TIMEOUT_SECONDS + KEY_EXCHANGE_TIMEOUT_SECONDS)
        transport.get_remote_server_key()
    except IncompatiblePeer as error:
        if "host key" in str(error):
            raise _another_host(address, f"an {ED25519} key", "keys of other types only") from error
        raise SshUnavailableError(f"{address} speaks no SSH that gputx accepts: {error}") from error
    except (EOFError, OSError, paramiko.SSHException) as error:
        stop.check()
        raise NotReadyError(f"no SSH there yet: {wire.ending or _plain(error)}") from error


def _check_host(transport: paramiko.Transport, address: Address, expected: bytes) -> None:
    offered = transport.get_remote_server_key().asbytes()
    if offered != expected:
        raise _another_host(address, blob_fingerprint(expected), blob_fingerprint(offered))


def _authenticate(
    transport: paramiko.Transport, wire: Wire, address: Address, *, user: str, key: KeyPair, stop: Stop
) -> None:
    answered = threading.Event()
    private = paramiko.Ed25519Key.from_private_key(io.StringIO(key.private_openssh))
    give_up_at = time.monotonic() + AUTHENTICATION_TIMEOUT_SECONDS
    try:
        transport.auth_publickey(user, private, answered)
    except (EOFError, OSError, paramiko.SSHException) as error:
        stop.check()
        raise NotReadyError(f"cut off during authentication: {wire.ending or _plain(error)}") from error
    while not answered.wait(0.1) and transport.is_active() and time.monotonic() < give_up_at:
        stop.check()
    if transport.is_authenticated():
        return
    stop.check()
    # paramiko has one exception for "refused" and for "the connection died on the way to an answer".
    if not answered.is_set() or wire.ending is not None or not transport.is_active():
        raise NotReadyError(f"cut off during authentication: {wire.ending or 'no answer'}")
    raise AuthenticationRefusedError(
        f"{address} does not accept the run's key for user {user}",
        hint="check the image's tag gputx:ssh-user, and that its cloud-init installs the keys of the launch",
        details=(f"key offered: {fingerprint(key.public_openssh)}",),
    )


def _another_host(address: Address, expected: str, offered: str) -> HostKeyChangedError:
    return HostKeyChangedError(
        f"the machine that answers at {address} is not the one that was launched: its host key is another",
        hint="nothing was sent to it. Someone may be in between, or the address has been given to another "
        "machine: run it again, from another network if it recurs",
        details=(f"expected: {expected}", f"offered:  {offered}"),
    )


def _plain(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror[:1].lower() + error.strerror[1:]
    return str(error) or type(error).__name__
