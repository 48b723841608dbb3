"""``python -m tests.hostile``: besiege a server at length, and say what came of it."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from .siege import Siege, at, besiege

SEED = 20261121
MB = 1 << 20
MOST_GROWTH = 200 * MB
HEALTH_P99_SECONDS = 0.1


def main() -> int:
    """The exit code: 0 where everything held."""
    parser = argparse.ArgumentParser(prog="python -m tests.hostile", description=__doc__)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--acts", type=int, default=3000)
    parser.add_argument("--enemies", type=int, default=8, help="at once")
    options = parser.parse_args()
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="gputx-siege-") as directory:
        siege = besiege(Path(directory), seed=options.seed, enemies=options.enemies, total=options.acts)
    print(siege.table())
    watch = siege.watch
    took = time.monotonic() - started
    print(f"\n{len(siege.outcomes)} acts by {options.enemies} at once in {took:.0f} s, seed {options.seed}")
    print(f"faults: {len(siege.faults)}")
    for one in siege.faults[:20]:
        print(f"  {one.act}: {one.status} {one.fault or ''}")
    print(
        f"/health: {len(watch.health)} answers, {watch.unhealthy} failed; p50 {at(0.5, watch.health) * 1000:.1f} ms, "
        f"p99 {at(0.99, watch.health) * 1000:.1f} ms, most {max(watch.health) * 1000:.0f} ms "
        f"(the machine itself was late by {at(0.99, watch.late) * 1000:.1f} ms at p99)"
    )
    print(
        f"memory of the server at rest: {watch.before / MB:.0f} MB before, {watch.after / MB:.0f} MB after, with its "
        f"children {watch.tree_after / MB:.0f} MB; at most {max(watch.honest) / MB:.0f} MB by the honest, "
        f"{max(watch.memory) / MB:.0f} MB besieged"
    )
    print(f"descriptors: {watch.files_before} before, {watch.files_after} after; uploads left: {len(watch.left)}")
    print(f"it ended with {siege.status}")
    return 0 if _held(siege) else 1


def _held(siege: Siege) -> bool:
    fast = at(0.99, siege.watch.health) <= HEALTH_P99_SECONDS and not siege.watch.unhealthy
    return fast and not siege.faults and siege.growth <= MOST_GROWTH and not siege.watch.left and siege.status == 0


if __name__ == "__main__":
    sys.exit(main())
