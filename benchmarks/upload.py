"""Upload speed beside OpenSSH's own sftp client: same server, same key, same file, on loopback and at 40 ms.

    python benchmarks/upload.py [--size 52] [--rounds 5] [--min-ratio 0.9]

"bytes alone" is a plain write on both sides: ours into a remote ``cat``, on a connection that has run a
command; sftp's the time of a batch with one ``put`` less that of a batch with none. "checked" is our
``upload``, with its hash at both ends and its rename, beside the same ``put``, which checks nothing. "in all"
is from nothing to a stored file. Rounds alternate and medians are compared: a busy spell of the machine hits
both.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from delay_proxy import delayed
from ssh_server import ALIAS, Server, serving

from gputx.clock import Stop, SystemClock
from gputx.ssh.connection import Address, Connection, connect

ONE_WAY_SECONDS = 0.020


@dataclass
class Times:
    """Seconds of each round."""

    ours_bytes: list[float] = field(default_factory=list)
    ours_checked: list[float] = field(default_factory=list)
    ours_in_all: list[float] = field(default_factory=list)
    sftp_transfer: list[float] = field(default_factory=list)
    sftp_in_all: list[float] = field(default_factory=list)


def measure(server: Server, port: int, source: Path, rounds: int) -> Times:
    """Both ways ``rounds`` times, each first in every other round, after one round that does not count."""
    times = Times()
    target = source.with_name("target")
    content = source.read_bytes()

    def ours() -> None:
        began = time.perf_counter()
        with dial(server, port) as connection:
            connection.upload(source, str(target))
            times.ours_in_all.append(time.perf_counter() - began)
        with dial(server, port) as connection:
            connection.run("true")
            began = time.perf_counter()
            connection.upload(source, str(target))
            times.ours_checked.append(time.perf_counter() - began)
        with dial(server, port) as connection:
            connection.run("true")
            began = time.perf_counter()
            connection.run(f"cat > {shlex.quote(str(target))}", input=content)
            times.ours_bytes.append(time.perf_counter() - began)

    def theirs() -> None:
        idle = sftp(server, port, "pwd\n")
        in_all = sftp(server, port, f'put "{source}" "{target}"\n')
        times.sftp_transfer.append(in_all - idle)
        times.sftp_in_all.append(in_all)

    order: list[Callable[[], None]] = [ours, theirs]
    for _ in range(rounds + 1):
        for way in order:
            target.unlink(missing_ok=True)
            way()
            if target.stat().st_size != source.stat().st_size:
                raise RuntimeError(f"{way.__name__} stored {target.stat().st_size} bytes")
        order.reverse()
    for column in vars(times).values():
        del column[0]
    return times


def dial(server: Server, port: int) -> Connection:
    """A new connection, as a run makes it."""
    return connect(
        Address("127.0.0.1", port),
        user=server.user,
        key=server.user_key,
        host_key=server.host_key,
        clock=SystemClock(),
        stop=Stop(),
        deadline_seconds=10,
    )


def sftp(server: Server, port: int, batch: str) -> float:
    """Seconds that one run of the sftp client takes."""
    began = time.perf_counter()
    subprocess.run(
        [
            *("sftp", "-q", "-b", "-", "-F", "none", "-P", str(port), "-i", str(server.identity)),
            *("-o", "IdentitiesOnly=yes", "-o", f"HostKeyAlias={ALIAS}"),
            *("-o", f"UserKnownHostsFile={server.known_hosts}", f"{server.user}@127.0.0.1"),
        ],
        input=batch.encode(),
        stdout=subprocess.DEVNULL,
        check=True,
    )
    return time.perf_counter() - began


def report(where: str, times: Times, megabytes: int) -> float:
    """Print the lines of a setting; the ratio of the bytes alone, which both sides do alike."""
    ratios = []
    for what, ours, theirs in (
        ("bytes alone", times.ours_bytes, times.sftp_transfer),
        ("checked", times.ours_checked, times.sftp_transfer),
        ("in all", times.ours_in_all, times.sftp_in_all),
    ):
        fast, slow = megabytes / statistics.median(ours), megabytes / statistics.median(theirs)
        ratios.append(fast / slow)
        print(f"{where:<20} {what:<12} {fast:>10.1f} {slow:>10.1f} {fast / slow:>8.2f}", flush=True)
    return ratios[0]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=52, help="megabytes (10⁶ bytes) to send")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--min-ratio", type=float, help="exit 1 when the bytes alone go slower than this share of sftp")
    arguments = parser.parse_args()
    if shutil.which("sftp") is None:
        print("there is no sftp to compare with: install OpenSSH's client", file=sys.stderr)
        return 2
    ratios = []
    with tempfile.TemporaryDirectory(prefix="gputx-upload-") as directory, serving() as server:
        source = Path(directory) / "source"
        source.write_bytes(os.urandom(arguments.size * 1_000_000))
        print(f"{arguments.size} MB to {server.kind}, medians of {arguments.rounds} alternating rounds\n")
        print(f"{'':<20} {'':<12} {'ours MB/s':>10} {'sftp MB/s':>10} {'ratio':>8}")
        times = measure(server, server.port, source, arguments.rounds)
        ratios.append(report("loopback", times, arguments.size))
        with delayed(("127.0.0.1", server.port), ONE_WAY_SECONDS) as port:
            times = measure(server, port, source, arguments.rounds)
            ratios.append(report(f"{2000 * ONE_WAY_SECONDS:g} ms round trip", times, arguments.size))
    return int(arguments.min_ratio is not None and min(ratios) < arguments.min_ratio)


if __name__ == "__main__":
    sys.exit(main())
