"""Run the image recipe for real, as root, in a debootstrapped system; then its checks. `make ami-check`.

    python tools/ami/check.py [--base bookworm|jammy] [--profile cpu] [--without STEP] [--keep DIRECTORY]
                              [--steps STEP,…] [--each] [--junit FILE]

`--each` leaves out one step at a time, and expects a check to fail each time. Exit status 0: all is as it should be.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import room as rooms

from gputx.ami.recipe import FAILURES, Recipe, Step, load
from gputx.ssh.payload import build_payload

AMI_ROOT = "/run/gputx-ami"


def main() -> int:
    parser = argparse.ArgumentParser(description="Run the image recipe in a debootstrapped system, then its checks.")
    parser.add_argument("--base", choices=sorted(rooms.MIRRORS), default="bookworm")
    parser.add_argument("--profile", default="cpu")
    parser.add_argument("--without", help="leave out this step")
    parser.add_argument("--steps", help="only these, without checks")
    parser.add_argument("--each", action="store_true", help="leave out each step in turn")
    parser.add_argument("--keep", type=Path, help="an empty directory to work in, which stays")
    parser.add_argument("--junit", type=Path)
    arguments = parser.parse_args()
    recipe = load(arguments.profile)
    base = rooms.base(arguments.base)
    with tempfile.TemporaryDirectory(prefix="gputx-ami-", dir="/var/tmp") as folder:
        room = rooms.Room.make(base, arguments.keep or Path(folder) / "whole")
        upload(recipe, room)
        if arguments.each:
            return each(recipe, room, Path(folder))
        wanted = [step for step in recipe.steps if step.name != arguments.without]
        if arguments.steps:
            wanted = [step for step in recipe.all_steps if step.name in arguments.steps.split(",")]
        for step in wanted:
            # Without a step, others can't do their work; then it is the checks' to say so.
            if not run(step, room) and not arguments.without:
                return 1
        return 0 if arguments.steps else check(recipe, room, arguments.junit)


def each(recipe: Recipe, whole: rooms.Room, folder: Path) -> int:
    """All steps but one, for every one; what comes before is done once."""
    silent = []
    for index, left_out in enumerate(recipe.steps):
        print(f"\n==== without {left_out.name}", flush=True)
        trial = whole.copy(folder / left_out.name)
        failed = [step.name for step in recipe.steps[index + 1 :] if not run(step, trial)]
        found = check(recipe, trial, None, quiet=True)
        trial.discard()
        print(f"==== without {left_out.name}: {'a check failed' if found else 'NO CHECK FAILED'}; steps: {failed}")
        if not found:
            silent.append(left_out.name)
        if not run(left_out, whole):
            return 1
    if check(recipe, whole, None):
        return 1
    print(f"no check misses: {', '.join(silent)}" if silent else "each step is missed by a check")
    return 1 if silent else 0


def upload(recipe: Recipe, room: rooms.Room) -> None:
    for file in recipe.files(build_payload().data):
        room.put(f"{AMI_ROOT}/{file.path}", file.data, executable=file.executable)


def run(step: Step, room: rooms.Room) -> bool:
    started = time.monotonic()
    print(f"-- {step.name}", flush=True)
    status = room.run(rooms.as_user(step.command(AMI_ROOT)), live=True).returncode
    meaning = f" ({FAILURES[status].what})" if status in FAILURES else ""
    print(f"-- {step.name}: {time.monotonic() - started:.1f} s, status {status}{meaning}", flush=True)
    return status == 0


def check(recipe: Recipe, room: rooms.Room, junit: Path | None, *, quiet: bool = False) -> int:
    """The checks, as `gputx build-ami` runs them on a builder; pytest's exit status."""
    command = [sys.executable, "-P", "-m", "pytest", str(recipe.checks), "-p", "room_plugin", "--hosts", "room://"]
    command += ["-c", os.devnull, "--rootdir", str(recipe.checks), "-p", "no:cacheprovider", "--tb=short"]
    command += ["-q", "--no-header", "--tb=line", "--maxfail=3"] if quiet else ["-v", "--durations=8", "-rs"]
    command += [f"--junitxml={junit}"] if junit else []
    environment = {
        **os.environ,
        **recipe.environment(),
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]),
        "ROOM_BASE": str(room.base),
        "ROOM_PLACE": str(room.place),
    }
    return subprocess.run(command, check=False, env=environment, cwd=recipe.checks).returncode


if __name__ == "__main__":
    sys.exit(main())
