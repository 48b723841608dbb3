"""What of the world outside an account is needed: one sshd on loopback that is no guest's, and only says hello."""

from __future__ import annotations

import socketserver
import threading

BANNER = b"SSH-2.0-gputx-sandbox\r\n"
LOOPBACK = "127.0.0.1"


class _Hello(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        self.request.sendall(BANNER)


def listen() -> tuple[str, int]:
    """Answer for as long as this process lives, at a port of its own; returns where."""
    server = socketserver.ThreadingTCPServer((LOOPBACK, 0), _Hello)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, name="outside", daemon=True).start()
    return LOOPBACK, int(server.server_address[1])
