"""A TCP proxy that makes loopback as far away as another country.

Each direction holds every chunk of bytes back by a fixed time and puts no bound on bandwidth: chunks in
flight are kept in a queue that only memory limits, so what a protocol loses to the delay is its own window. A
kernel with netem does the same; this needs neither root nor that kernel.

    python benchmarks/delay_proxy.py --to 127.0.0.1:22 --one-way-ms 20
"""

from __future__ import annotations

import argparse
import contextlib
import queue
import socket
import threading
import time
from collections.abc import Iterator

CHUNK_BYTES = 1 << 18
BUFFER_BYTES = 1 << 22


class DelayProxy:
    """Listens on 127.0.0.1 and forwards each connection to ``target``, late by ``one_way_seconds`` each way.

    Args:
        target: (host, port) of the server behind the delay.
        one_way_seconds: 0.02 makes a round trip of 40 ms. 0 forwards at once.
    """

    def __init__(self, target: tuple[str, int], one_way_seconds: float) -> None:
        self._target = target
        self._delay = one_way_seconds
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Stop listening; connections already made live on until either end closes them."""
        # close() alone leaves a thread that sits in accept() sitting there.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._join, args=(client,), daemon=True).start()

    def _join(self, client: socket.socket) -> None:
        # A handshake crosses the distance once each way before its caller may send.
        time.sleep(2 * self._delay)
        try:
            server = socket.create_connection(self._target, timeout=5)
        except OSError:
            client.close()
            return
        server.settimeout(None)
        for side in (client, server):
            side.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            side.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER_BYTES)
        self._pump(client, server)
        self._pump(server, client)

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        in_flight: queue.SimpleQueue[tuple[float, bytes]] = queue.SimpleQueue()

        def read() -> None:
            data = b"-"
            while data:
                try:
                    data = source.recv(CHUNK_BYTES)
                except OSError:
                    data = b""
                in_flight.put((time.monotonic() + self._delay, data))

        def write() -> None:
            data = b"-"
            while data:
                due, data = in_flight.get()
                if (wait := due - time.monotonic()) > 0:
                    time.sleep(wait)
                try:
                    sink.sendall(data) if data else sink.shutdown(socket.SHUT_WR)
                except OSError:
                    # The far end is gone: make the near end's reader see that too.
                    with contextlib.suppress(OSError):
                        source.shutdown(socket.SHUT_RDWR)
                    return

        threading.Thread(target=read, daemon=True).start()
        threading.Thread(target=write, daemon=True).start()


@contextlib.contextmanager
def delayed(target: tuple[str, int], one_way_seconds: float) -> Iterator[int]:
    """The port of a proxy in front of ``target`` for the length of a block."""
    proxy = DelayProxy(target, one_way_seconds)
    try:
        yield proxy.port
    finally:
        proxy.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--to", required=True, metavar="HOST:PORT")
    parser.add_argument("--one-way-ms", type=float, default=20.0)
    arguments = parser.parse_args()
    host, _, port = arguments.to.rpartition(":")
    with delayed((host, int(port)), arguments.one_way_ms / 1000) as listening:
        print(f"127.0.0.1:{listening} → {arguments.to}, {2 * arguments.one_way_ms:g} ms round trip", flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()
