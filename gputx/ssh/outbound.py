"""Whether SSH gets out of the network that this machine is in."""

from __future__ import annotations

import socket

from gputx.clock import Stop
from gputx.ssh.wire import dial

_CONNECT_SECONDS, _GREETING_SECONDS = 4.0, 4.0
_LONGEST_GREETING = 255
"""Source: RFC 4253, section 4.2: the identification string, which a server sends first and begins with ``SSH-``."""


def greeting(host: str, port: int, stop: Stop) -> str:
    """The first line of whoever answers there. A proxy that takes a connection and drops it says none.

    Raises:
        OSError: no such host, refused, unreachable, no answer in time, or an answer that is not SSH's.
        InterruptedBySignal: a stop was requested.
    """
    with dial(host, port, timeout=_CONNECT_SECONDS, stop=stop) as connection:
        connection.setblocking(True)
        connection.settimeout(_GREETING_SECONDS)
        said = b""
        while b"\n" not in said and len(said) < _LONGEST_GREETING:
            stop.check()
            try:
                piece = connection.recv(_LONGEST_GREETING)
            except TimeoutError:
                raise TimeoutError(f"connected, and silent for {_GREETING_SECONDS:.0f} s") from None
            if not piece:
                break
            said += piece
    line = said.partition(b"\n")[0].decode("ascii", "replace").strip()
    if not line.startswith("SSH-"):
        raise ConnectionError(f"it is no SSH server: it said {line[:40]!r}" if line else "it hung up without a word")
    return line


def unknown_host(error: OSError) -> bool:
    """Whether the trouble is only that there is no host of that name."""
    return isinstance(error, socket.gaierror)
