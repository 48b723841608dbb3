"""Boot a real Linux with systemd and cloud-init under gputx's user-data, and see it end by itself.

    python tools/boot/check.py                     every case; makes the image first, once
    python tools/boot/check.py silence reboot      these

Needs root, mmdebstrap, qemu-system-x86, qemu-utils, genisoimage and openssh-client, and a Debian mirror for the
image. Everything lies in build/boot. docs/testing.md says what each case shows. The exit status is 1 if one failed.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from cases import CASES
from machine import BootError
from room import Room

from gputx.errors import GputxError

HERE = Path(__file__).resolve().parent
BASE = HERE.parents[1] / "build" / "boot"
TOOLS = ("mmdebstrap", "mke2fs", "qemu-system-x86_64", "qemu-img", "genisoimage", "ssh-keyscan")


def main() -> int:
    """Run the cases; return the exit status."""
    parser = argparse.ArgumentParser(description="Boot a real Linux under gputx's user-data and see it end by itself.")
    parser.add_argument(
        "cases", nargs="*", choices=[*CASES, []], metavar="CASE", help="default: all: " + ", ".join(CASES)
    )
    names = parser.parse_args().cases or list(CASES)
    if missing := [tool for tool in TOOLS if not shutil.which(tool)]:
        print(f"not installed: {', '.join(missing)}; docs/testing.md says which packages", file=sys.stderr)
        return 1
    # So that a machine does not outlive us: its `with` ends it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    base = image()
    work = BASE / "last"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    room = Room(base, work)
    failed = 0
    for name in names:
        begun = time.monotonic()
        try:
            seen = CASES[name](room)
        except (BootError, GputxError) as error:
            failed += 1
            seen = [f"FAILED: {error}"]
        print(f"{name} ({time.monotonic() - begun:.0f} s)", *(f"  {line}" for line in seen), sep="\n", flush=True)
    print(f"{len(names) - failed} of {len(names)} cases held; consoles in {work}")
    return 1 if failed else 0


def image() -> Path:
    """The directory with disk and kernel, made if it is not there or was made by another recipe."""
    recipe = [HERE / "image.sh", *sorted((HERE / "guest").iterdir())]
    digest = hashlib.sha256(b"\0".join(file.read_bytes() for file in recipe)).hexdigest()[:12]
    base = BASE / f"image-{digest}"
    if not (base / "made").exists():
        for old in BASE.glob("image-*"):
            shutil.rmtree(old)
        print(f"making {base} (once; about two minutes)", file=sys.stderr)
        subprocess.run([HERE / "image.sh", base], check=True)
        (base / "made").touch()
    return base


if __name__ == "__main__":
    sys.exit(main())
