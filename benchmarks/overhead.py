"""What gputx adds to a run: wall time beyond the instance's boot, the model's load and the transcription.

    python benchmarks/overhead.py [--rounds 5]

Runs ``gputx run --on sandbox --json`` on a held-out clip, with a sandbox that is already up, and takes from the
wall time of the whole process (Python's start included) the union of the phases boot, ssh (the guest's own boot
until sshd answers), model and transcribe. Prints each round and the median. The stricter figure counts the wait
for sshd as ours too.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from gputx import sandbox

CLIP = Path(__file__).parents[1] / "examples" / "held-out" / "clip02.flac"


def covered(phases: list[dict[str, float | str]], names: set[str]) -> float:
    """Seconds in which at least one of the named phases was open."""
    spans = sorted((float(p["start"]), float(p["end"])) for p in phases if p["name"] in names)
    total, reached = 0.0, 0.0
    for start, end in spans:
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total


def one_run(account: sandbox.Account, directory: str) -> tuple[float, float, float]:
    """(wall seconds, added, added when waiting for sshd counts as ours)."""
    command = [sys.executable, "-m", "gputx", "run", str(CLIP), "--on", "sandbox", "--json", "--quiet"]
    environ = {**os.environ, "GPUTX_SANDBOX_DIR": str(account.state_dir)}
    start = time.perf_counter()
    ended = subprocess.run(command, cwd=directory, env=environ, capture_output=True, text=True, check=True)
    wall = time.perf_counter() - start
    phases = json.loads(ended.stdout)["run"]["phases"]
    theirs = {"boot", "model", "transcribe"}
    return wall, wall - covered(phases, theirs | {"ssh"}), wall - covered(phases, theirs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as directory, sandbox.ephemeral() as account:
        one_run(account, directory)  # the first fills the page cache
        results = [one_run(account, directory) for _ in range(rounds)]
    for wall, added, strict in results:
        print(f"wall {wall:6.2f} s   added {added:5.2f} s   with the wait for sshd {strict:5.2f} s")
    added, strict = (statistics.median(column) for column in list(zip(*results, strict=True))[1:])
    print(f"median: gputx adds {added:.2f} s (aim: at most 1.5 s); with the wait for sshd {strict:.2f} s")


if __name__ == "__main__":
    main()
