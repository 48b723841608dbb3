"""sshd: who may come in, with which keys, and what they may ask for."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import cast

import asyncssh

from .processes import Processes
from .session import Session
from .system import LOGIN_USER, System

_WINDOW_BYTES = 8 * 1024 * 1024
_PACKET_BYTES = 64 * 1024
_KEY_PATH = "/etc/ssh/ssh_host_ed25519_key"


def host_key(system: System, given: str | None, *, fresh: bool) -> asyncssh.SSHKey:
    """The host key on the disk, made or taken from user-data when ``fresh``, as cloud-init does per instance.

    Raises:
        asyncssh.KeyImportError: ``given`` is not an OpenSSH private key.
    """
    path = system.path(_KEY_PATH)
    if fresh or not path.exists():
        comment = system.path("/etc/hostname").read_text(encoding="utf-8").strip()
        if given is None:
            key = asyncssh.generate_private_key("ssh-ed25519", comment=f"root@{comment}")
        else:
            key = asyncssh.import_private_key(given)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        path.touch(mode=0o600)
        path.write_bytes(key.export_private_key())
        path.with_suffix(".pub").write_bytes(key.export_public_key())
    return asyncssh.read_private_key(path)


def announcement(key: asyncssh.SSHKey) -> str:
    """The host key as cloud-init prints it on the console, where a client may learn it."""
    public = key.export_public_key().decode("ascii").strip()
    comment = public.split(" ", 2)[2] if public.count(" ") > 1 else "no comment"
    prefix = "cloud-init: "
    rule = "#" * 61
    return "\n".join(
        [
            prefix + rule,
            prefix + "-----BEGIN SSH HOST KEY FINGERPRINTS-----",
            prefix + f"256 {key.get_fingerprint()} {comment} (ED25519)",
            prefix + "-----END SSH HOST KEY FINGERPRINTS-----",
            prefix + rule,
            "-----BEGIN SSH HOST KEY KEYS-----",
            public,
            "-----END SSH HOST KEY KEYS-----",
        ]
    )


def authorize(system: System, keys: tuple[str, ...]) -> None:
    """Let the holders of these OpenSSH public keys in as the login user."""
    path = system.home / ".ssh" / "authorized_keys"
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.write_text("".join(f"{key.strip()}\n" for key in keys), encoding="utf-8")
    path.chmod(0o600)


async def listen(system: System, processes: Processes, listener: socket.socket, key: asyncssh.SSHKey) -> None:
    """Answer on a bound socket.

    Raises:
        OSError: the socket can't listen.
    """
    await asyncssh.listen(
        sock=listener,
        server_factory=lambda: _Server(system, processes),
        server_host_keys=[key],
        server_version="OpenSSH_9.6p1",
        encoding=None,
        line_editor=False,
        allow_scp=True,
        agent_forwarding=False,
        x11_forwarding=False,
        login_timeout=120,
        window=_WINDOW_BYTES,
        max_pktsize=_PACKET_BYTES,
        compression_algs=None,
        gss_host=None,
    )


class _Server(asyncssh.SSHServer):
    def __init__(self, system: System, processes: Processes) -> None:
        self._system = system
        self._processes = processes
        self._connection: asyncssh.SSHServerConnection | None = None

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._connection = conn

    def begin_auth(self, username: str) -> bool:  # noqa: ARG002
        return True

    def public_key_auth_supported(self) -> bool:
        return True

    def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        if username != LOGIN_USER:
            return False
        path = self._system.home / ".ssh" / "authorized_keys"
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except OSError:
            return False
        offered = key.public_data
        return any(_public_data(line) == offered for line in lines)

    def session_requested(self) -> tuple[asyncssh.SSHServerChannel[bytes], Session]:
        connection = cast(asyncssh.SSHServerConnection, self._connection)
        channel = connection.create_server_channel(None, window=_WINDOW_BYTES, max_pktsize=_PACKET_BYTES)
        peer, local = connection.get_extra_info("peername"), connection.get_extra_info("sockname")
        session = Session(
            self._system,
            self._processes,
            lambda channel: _Files(cast("asyncssh.SSHServerChannel[bytes]", channel), self._system),
            f"{peer[0]} {peer[1]} {local[0]} {local[1]}",
        )
        return channel, session

    def connection_requested(self, dest_host: str, dest_port: int, orig_host: str, orig_port: int) -> bool:  # noqa: ARG002
        return True

    def server_requested(self, listen_host: str, listen_port: int) -> bool:  # noqa: ARG002
        return True


class _Files(asyncssh.SFTPServer):
    """The guest's files. Relative paths start in the home directory, as sftp-server has it."""

    def __init__(self, channel: asyncssh.SSHServerChannel[bytes], system: System) -> None:
        super().__init__(channel)
        self._system = system

    def map_path(self, path: bytes) -> bytes:
        mapped = Path(self._system.home, path.decode("utf-8", "surrogateescape"))
        if not self._system.private_root and self._system.root not in (
            mapped.resolve(),
            *mapped.resolve().parents,
        ):
            raise asyncssh.SFTPPermissionDenied(f"{mapped} is not the guest's")
        return bytes(mapped)

    def exit(self) -> None:
        # Without an exit status OpenSSH's scp takes a good transfer for a failed one.
        self.channel.exit(0)


def _public_data(line: str) -> bytes | None:
    try:
        return asyncssh.import_public_key(line).public_data
    except asyncssh.KeyImportError:
        return None
