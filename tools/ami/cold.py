"""What a first transcript costs with the image's files out of memory, read ahead, and in memory.

    python tools/ami/cold.py --room DIRECTORY [--base bookworm]     what `tools/ami/check.py --keep DIRECTORY` left
    python tools/ami/cold.py --root /opt/transcribe --ami AMI       here: an image's own directory, the recipe's files
    python tools/ami/cold.py --far 10 …                             as if each piece of it were 10 ms away: far.py

Each round measures every state in turn, because a machine is not equally fast all the time; the figures are medians.
"disk" is what came from it. "beside": reading ahead began when the program did. What a volume made of a snapshot adds
can't be measured here. Only files below the image's directory are put out of memory. As root.
"""

from __future__ import annotations

import argparse
import atexit
import json
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

STATES = ("cold", "beside", "read ahead", "warm")
READERS = 32


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure a first transcript, cold and read ahead.")
    parser.add_argument("--room", type=Path)
    parser.add_argument("--base", default="bookworm")
    parser.add_argument("--root", type=Path, default=Path("/opt/transcribe"))
    parser.add_argument("--ami", type=Path, default=Path("/run/gputx-ami"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--far", type=float, help="milliseconds of latency of each piece's first reading")
    parser.add_argument("--decoder", default="ctranslate2", help="the one that the list was recorded with")
    arguments = parser.parse_args()
    if arguments.room:
        import room as rooms  # noqa: PLC0415  # not in the room itself

        room = rooms.Room(rooms.base(arguments.base), arguments.room)
        room.put("/run/cold.py", Path(__file__).read_bytes())
        command = [arguments.root / "venv/bin/python", "-B", "/run/cold.py", "--rounds", arguments.rounds]
        sys.exit(room.run(shlex.join(map(str, command)), live=True).returncode)
    disk = FarDisk(arguments.root, arguments.far) if arguments.far else Disk(arguments.root)
    measure(disk, commands(arguments.root, arguments.ami, arguments.decoder), arguments.ami, arguments.rounds)


class Disk:
    """This machine's, with an image's files on it."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def evict(self) -> None:
        """Put the image's files out of memory."""
        os.sync()
        for folder, _, names in os.walk(self.root):
            for name in names:
                path = Path(folder, name)
                if not path.is_symlink():
                    file = os.open(path, os.O_RDONLY)
                    os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
                    os.close(file)


class FarDisk(Disk):
    """One that is mounted anew over the image's own directory to be far away again."""

    def __init__(self, root: Path, milliseconds: float) -> None:
        super().__init__(root)
        self._source = Path(tempfile.mkdtemp())
        subprocess.run(["mount", "--bind", root, self._source], check=True)
        self._command = [sys.executable, Path(__file__).parent / "far.py", self._source, root, str(milliseconds)]
        self._program: subprocess.Popen[bytes] | None = None
        atexit.register(self._end)

    def evict(self) -> None:
        """Mount it anew."""
        self._unmount()
        self._program = subprocess.Popen(self._command)
        while not self.root.is_mount():
            if self._program.poll() is not None:
                raise SystemExit("far.py could not mount; its last line says why")
            time.sleep(0.01)

    def _unmount(self) -> None:
        if self._program:
            subprocess.run(["umount", self.root], check=True)
            self._program.wait()

    def _end(self) -> None:
        self._unmount()
        subprocess.run(["umount", self._source], check=True)
        self._source.rmdir()


def measure(disk: Disk, tasks: dict[str, list[str]], ami: Path, rounds: int) -> None:
    """Print a line for each task and state, then what reading ahead alone takes, with 1 reader and with many."""
    found: dict[tuple[str, str], list[tuple[float, float]]] = {}
    reading: dict[int, list[float]] = {}
    for _ in range(rounds):
        for task, command in tasks.items():
            for state in STATES:
                if state != "warm":
                    disk.evict()
                if state == "read ahead":
                    read_ahead(disk.root, READERS).wait()
                beside = read_ahead(disk.root, READERS) if state == "beside" else None
                found.setdefault((task, state), []).append(timed(command, ami))
                if beside:
                    beside.wait()
        for readers in (1, READERS):
            disk.evict()
            started = time.monotonic()
            read_ahead(disk.root, readers).wait()
            reading.setdefault(readers, []).append(time.monotonic() - started)
    for (task, state), values in found.items():
        seconds, read = (statistics.median(column) for column in zip(*values, strict=True))
        spread = f"{min(values)[0]:.2f} to {max(values)[0]:.2f}"
        print(f"{task:30} {state:10} {seconds:6.2f} s ({spread})  disk {read:7.1f} MiB")
    for readers, taken in reading.items():
        print(f"reading the list ahead, {readers:2} readers: {statistics.median(taken):.2f} s")


def commands(root: Path, ami: Path, decoder: str) -> dict[str, list[str]]:
    """Name → words."""
    python = str(root / "venv/bin/python")
    sample = [str(root / "models/default"), str(ami / "files/sample.flac"), "cpu"]
    return {
        "import torch": [python, "-c", "import torch"],
        f"transcript, {decoder}": [python, str(ami / "files/transcribe.py"), *sample, decoder],
    }


def read_ahead(root: Path, readers: int) -> subprocess.Popen[bytes]:
    # Not the image's own Python: it would be read with it.
    command = [sys.executable, "-I", "-S", str(root / "bin/preread"), str(root / "preread.list"), str(readers)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL)


def timed(command: list[str], ami: Path) -> tuple[float, float]:
    """(seconds until the first text, or until the end; MiB from the disk)."""
    environment = {**os.environ, "PYTHONPATH": str(ami / "payload.pyz"), "PYTHONDONTWRITEBYTECODE": "1"}
    before = sectors()
    started = time.monotonic()
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    seconds = time.monotonic() - started
    if done.stdout.startswith("{"):
        seconds = json.loads(done.stdout.splitlines()[-1])["first"]
    return seconds, (sectors() - before) * 512 / 2**20


def sectors() -> int:
    """Read so far, of 512 bytes, of the disk that was read most."""
    return max(int(line.split()[5]) for line in Path("/proc/diskstats").read_text(encoding="ascii").splitlines())


if __name__ == "__main__":
    main()
