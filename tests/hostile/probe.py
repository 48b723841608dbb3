"""``python -m tests.hostile.probe HOST PORT``: asks for /health twenty times a second, each time on a new connection,
until a line comes on stdin; then says how long each answer took, and how late the machine woke this process up between
them, which is no fault of any server. A process of its own, so that no enemy slows it."""

from __future__ import annotations

import http.client
import json
import select
import sys
import time

EVERY_SECONDS = 0.05


def main(host: str, port: int) -> None:
    """Ask until told to end."""
    seconds: list[float] = []
    late: list[float] = []
    failed = 0
    while True:
        asleep = time.monotonic()
        if select.select([sys.stdin], [], [], EVERY_SECONDS)[0]:
            break
        late.append(max(0.0, time.monotonic() - asleep - EVERY_SECONDS))
        connection = http.client.HTTPConnection(host, port, timeout=10)
        started = time.monotonic()
        try:
            connection.request("GET", "/health")
            answer = connection.getresponse()
            answer.read()
            failed += answer.status != http.client.OK
        except (OSError, http.client.HTTPException):
            failed += 1
        finally:
            connection.close()
        seconds.append(time.monotonic() - started)
    print(json.dumps({"seconds": seconds, "failed": failed, "late": late}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
