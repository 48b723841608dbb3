"""The way to a server: over SSH to its loopback, through a port here; or straight, where it is public."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import httpx

from gputx.clock import Clock, Stop
from gputx.errors import GputxError
from gputx.ssh.connection import Address, Connection, connect
from gputx.ssh.tunnel import Tunnel
from gputx.workflows.api.servers import Server

REACH_SECONDS = 20.0
"""How long SSH of a machine that is up already is waited for."""

_POLL_SECONDS = 0.3
_ANSWER_SECONDS = 5.0


def enter(server: Server, *, clock: Clock, stop: Stop, patience: float = REACH_SECONDS) -> Connection:
    """An SSH connection to a server's machine.

    Raises:
        SshUnavailableError, HostKeyChangedError, AuthenticationRefusedError: there is none to be had.
        InterruptedBySignal: a stop was requested.
    """
    return connect(
        Address(server.address, server.ssh_port),
        user=server.ssh_user,
        key=server.keys.user,
        host_key=server.host_public,
        clock=clock,
        stop=stop,
        deadline_seconds=patience,
    )


@dataclass(frozen=True)
class Door:
    """An open way in."""

    server: Server
    connection: Connection
    tunnel: Tunnel

    @property
    def url(self) -> str:
        """The server's address as seen from here; as long as the door is open."""
        return f"{'https' if self.server.public else 'http'}://127.0.0.1:{self.tunnel.port}"

    def client(self) -> httpx.Client:
        """For requests to the server, with its token. To be closed."""
        return client_of(self.server, self.url)


@contextmanager
def opened(
    server: Server, *, clock: Clock, stop: Stop, port: int = 0, patience: float = REACH_SECONDS
) -> Iterator[Door]:
    """A door for a block. Raises as :func:`enter`, and ConfigurationError where the port is taken."""
    with ExitStack() as stack:
        connection = stack.enter_context(enter(server, clock=clock, stop=stop, patience=patience))
        tunnel = stack.enter_context(Tunnel(port))
        tunnel.through(connection, server.port)
        yield Door(server, connection, tunnel)


def client_of(server: Server, url: str) -> httpx.Client:
    """An HTTP client for one server; one that is public is known by its certificate and by nothing else."""
    return httpx.Client(
        base_url=url,
        headers={"Authorization": f"Bearer {server.token}"},
        verify=pinned(server.certificate) if server.certificate else True,
        timeout=httpx.Timeout(30.0, connect=10.0),
        trust_env=False,  # a proxy knows the way neither to loopback nor to an instance of ours
    )


def pinned(certificate: str) -> ssl.SSLContext:
    """Trust this one certificate (PEM), under whatever address it is shown."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = False  # through a tunnel it is reached under another address; it is this one or none
    context.load_verify_locations(cadata=certificate)
    return context


def health(client: httpx.Client) -> dict[str, object] | None:
    """What the server says of itself; None where it does not answer, or not yet."""
    try:
        answer = client.get("/health", timeout=_ANSWER_SECONDS)
        said = answer.json() if answer.status_code == 200 else None
    except (httpx.HTTPError, ValueError):
        return None
    return said if isinstance(said, dict) else None


def await_healthy(door: Door, *, clock: Clock, stop: Stop, timeout: float, starts: str, log: str) -> dict[str, object]:
    """Wait until the model is loaded.

    Args:
        timeout: seconds.
        starts: a file there with a line for each time that the server was started.
        log: shell words there that show the end of its log.

    Raises:
        GputxError: it did not get there, or ended again and again; with the last lines of its log.
    """
    give_up_at = clock.time() + timeout
    with door.client() as client:
        while True:
            said = health(client)
            if said is not None and said.get("model_loaded"):
                return said
            stop.check()
            counted = door.connection.run(f"wc -l < {starts}").stdout.strip()
            again = int(counted) if counted.isdigit() else 0
            if again > _STARTS or clock.time() >= give_up_at:
                lines = door.connection.run(log).stdout.decode(errors="replace").strip().splitlines()
                why = f"ended {again - 1} times" if again > _STARTS else f"did not answer within {timeout:.0f} s"
                raise GputxError(f"the server {why}", details=tuple(lines[-6:]), hint="`gputx api logs` shows more")
            clock.sleep(_POLL_SECONDS, stop)


_STARTS = 3
"""A server that has been started more often than this before it answered will not answer."""
