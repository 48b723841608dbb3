"""Loopback addresses that stand for the public addresses of guests."""

from __future__ import annotations

import random
import socket
from collections.abc import Collection

from gputx.errors import ConfigurationError

_ATTEMPTS = 64


def free_address(taken: Collection[str], port: int) -> str:
    """An address in 127.0.0.0/8, outside 127.0.0.0/16, on which nobody listens at ``port``.

    Drawn at random, so that two daemons on one machine that ask at the same time do not meet.

    Args:
        taken: addresses already promised to other guests.
        port: the TCP port the guest's sshd will bind.

    Raises:
        ConfigurationError: only 127.0.0.1 can be bound here (macOS), or the port needs root.
    """
    source = random.SystemRandom()
    error: OSError | None = None
    for _ in range(_ATTEMPTS):
        address = f"127.{source.randint(1, 254)}.{source.randint(0, 255)}.{source.randint(2, 254)}"
        if address in taken:
            continue
        try:
            bind(address, port).close()
        except OSError as refused:
            error = refused
            continue
        return address
    raise ConfigurationError(
        f"no loopback address can be bound at port {port}: {error}",
        hint="macOS has only 127.0.0.1 unless aliases are added: sudo ifconfig lo0 alias 127.1.0.2",
    )


def bind(address: str, port: int) -> socket.socket:
    """A TCP socket bound to ``address``, not yet listening: a client is refused, as before sshd is up.

    Raises:
        OSError: the address is in use, not local, or the port needs root.
    """
    bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((address, port))
    except OSError:
        bound.close()
        raise
    return bound
