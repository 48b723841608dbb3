"""Readies the network of a guest's own, then becomes the command: run by its namespace's root, before the walls.

    python network.py CONTROL PORT COMMAND...

Nothing leads out of it but one socket, listening at 127.0.0.1:PORT in there, which is handed to the daemon over
the descriptor CONTROL; the daemon accepts from it out here. Without CONTROL (-1) there is not even that. It is run
as a script, so it imports nothing of gputx.
"""

from __future__ import annotations

import fcntl
import os
import socket
import struct
import sys
from pathlib import Path

_SIOCSIFADDR, _SIOCSIFNETMASK, _SIOCSIFFLAGS = 0x8916, 0x891C, 0x8914
_IFF_UP_RUNNING = 0x1 | 0x40
_METADATA = "169.254.169.254"
_BACKLOG = 64


def main(arguments: list[str]) -> None:
    control, port, command = int(arguments[0]), int(arguments[1]), arguments[2:]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as handle:
        fcntl.ioctl(handle, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", _IFF_UP_RUNNING))
        fcntl.ioctl(handle, _SIOCSIFADDR, _address(b"lo:imds", _METADATA))
        fcntl.ioctl(handle, _SIOCSIFNETMASK, _address(b"lo:imds", "255.255.255.255"))
    # The metadata service is at port 80, and the guest's first process is no root.
    Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").write_text("0", encoding="ascii")
    if control >= 0:
        with socket.socket(fileno=control) as daemon, socket.socket() as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(("127.0.0.1", port))
            listener.listen(_BACKLOG)
            socket.send_fds(daemon, [b"."], [listener.fileno()])
    os.execvp(command[0], command)  # noqa: S606 - a list, and no shell


def _address(name: bytes, address: str) -> bytes:
    """struct ifreq with a struct sockaddr_in in it."""
    return struct.pack("16sHH4s8x", name, socket.AF_INET, 0, socket.inet_aton(address))


if __name__ == "__main__":
    main(sys.argv[1:])
