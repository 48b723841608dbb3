"""HTTP by hand, for requests that no library would send."""

from __future__ import annotations

import socket
from contextlib import closing
from dataclasses import dataclass

CLOSED = 0
"""Stands for a status where the connection ended without one."""


@dataclass(frozen=True)
class Place:
    """Where the server is, and what opens it."""

    host: str
    port: int
    token: str


def head(place: Place, path: str, *headers: str, method: str = "POST") -> bytes:
    """A request line and headers of a form whose boundary is ``b``."""
    lines = [
        f"{method} {path} HTTP/1.1",
        "Host: a",
        f"Authorization: Bearer {place.token}",
        "Content-Type: multipart/form-data; boundary=b",
        *headers,
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


def part(name: str) -> bytes:
    """The beginning of a file in that form."""
    return f'--b\r\nContent-Disposition: form-data; name="{name}"; filename="a"\r\n\r\n'.encode()


def chunk(data: bytes) -> bytes:
    """A chunk of a body of unknown length."""
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


def connected(place: Place, seconds: float = 60.0) -> closing[socket.socket]:
    """A connection that waits so long for anything."""
    return closing(socket.create_connection((place.host, place.port), timeout=seconds))


def status(wire: socket.socket) -> int:
    """The status of the answer that comes; :data:`CLOSED` where none does."""
    data = b""
    try:
        while b"\r\n" not in data:
            more = wire.recv(4096)
            if not more:
                return CLOSED
            data += more
    except OSError:
        return CLOSED
    return int(data.split(b" ", 2)[1])
