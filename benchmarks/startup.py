"""What a person waits before ``gputx --help`` answers, as a ratio to the least that Python itself takes.

    python benchmarks/startup.py [--gputx PATH] [--rounds 20] [--max-ratio 3]

Rounds alternate and medians are compared. CPU time is that of the process alone: it tells a slow disk from
slow imports.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path


def measure(command: list[str]) -> tuple[float, float]:
    """(wall, CPU) seconds of one run."""
    began = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        _, status, usage = os.wait4(process.pid, 0)
        ended = time.perf_counter()
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with exit status {process.returncode}")
    return ended - began, usage.ru_utime + usage.ru_stime


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gputx", type=Path, default=Path(sys.executable).with_name("gputx"))
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--max-ratio", type=float, help="exit 1 when the wall time is more than this many times")
    arguments = parser.parse_args()
    if not arguments.gputx.is_file():
        print(f"there is no {arguments.gputx}: install gputx here, or name one with --gputx", file=sys.stderr)
        return 2
    commands = {
        "python -c pass": [sys.executable, "-c", "pass"],
        "gputx --help": [str(arguments.gputx), "--help"],
    }
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
    for command in commands.values():
        measure(command)  # compiles what is not compiled yet and fills the page cache
    for _ in range(arguments.rounds):
        for name, command in commands.items():
            times[name].append(measure(command))
    wall, cpu = (
        {name: statistics.median(row[column] for row in rows) for name, rows in times.items()} for column in (0, 1)
    )
    print(f"medians of {arguments.rounds} alternating rounds\n")
    print(f"{'':<16} {'wall ms':>9} {'CPU ms':>9}")
    for name in commands:
        print(f"{name:<16} {1000 * wall[name]:>9.1f} {1000 * cpu[name]:>9.1f}")
    wall_ratio, cpu_ratio = (column["gputx --help"] / column["python -c pass"] for column in (wall, cpu))
    print(f"{'ratio':<16} {wall_ratio:>9.2f} {cpu_ratio:>9.2f}")
    return int(arguments.max_ratio is not None and wall_ratio > arguments.max_ratio)


if __name__ == "__main__":
    sys.exit(main())
