"""The worker as a child process, as gputx starts one, with the clocks and the memory that each of its events found.

    with Worker(["--algorithm", "vad"], environment) as worker:
        worker.transcribe(path)
        for moment in worker.moments(): ...

Linux only: another process's CPU clock and its peak of memory are asked of the kernel.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

ROOT = Path(__file__).resolve().parents[1]
TINY = ROOT / "gputx" / "sandbox" / "tiny_sv"
KIB = 1024
_LOOK_SECONDS = 0.1


@dataclass(frozen=True)
class Moment:
    """An event of the worker. Seconds since its process was started, wall and CPU of all its threads."""

    event: dict[str, Any]
    wall: float
    cpu: float

    @property
    def kind(self) -> str:
        return str(self.event["event"])


@dataclass(frozen=True)
class Usage:
    """What a command took: wall and CPU seconds, the latter of all its processes; bytes of memory; what it printed."""

    wall: float
    cpu: float
    own_peak: int
    child_peak: int
    """Of the largest process that it started."""
    together: int
    """Of all of them at one time, looked at ten times a second; what they share is counted for each."""
    output: str


class Worker:
    """``python -P -m gputx_remote worker``, the command of gputx/workflows/hosts/local.py."""

    def __init__(self, arguments: Sequence[str], environment: Mapping[str, str], *, model: str = str(TINY)) -> None:
        """
        Args:
            arguments: which engine, as words of the worker's command line.
            environment: added to this process's own; see :func:`quiet`.
            model: a directory, or the id of one that :func:`as_downloaded` has put into the cache.
        """
        command = [sys.executable, "-P", "-m", "gputx_remote", "worker", "--model", model, *arguments]
        self._said = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115 - as long as it
        self._began = time.perf_counter()
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            encoding="utf-8",
            env={**os.environ, **environment, "PYTHONUNBUFFERED": "1"},
        )
        self.pid = self._process.pid
        self._clock = cpu_clock(self.pid)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        self._process.communicate()
        self._said.close()

    def transcribe(self, path: Path, **options: Any) -> None:
        """Ask for a Swedish recording; it may be asked for before the model is loaded, as gputx does."""
        assert self._process.stdin is not None
        asked = {"op": "transcribe", "id": path.name, "path": str(path), "options": {"language": "sv", **options}}
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()

    def cpu(self) -> float:
        """Seconds its threads have used so far."""
        return time.clock_gettime(self._clock)

    def moments(self) -> Iterator[Moment]:
        """Its events as they come.

        Raises:
            RuntimeError: the worker said that it, or a recording, failed; or it ended.
        """
        assert self._process.stdout is not None
        for line in self._process.stdout:
            moment = Moment(json.loads(line), time.perf_counter() - self._began, time.clock_gettime(self._clock))
            if moment.kind in ("failed", "fatal"):
                raise RuntimeError(moment.event["error"])
            yield moment
        self._said.seek(0)
        raise RuntimeError(f"the worker ended:\n{self._said.read()[-2000:]}")


def quiet(cache: Path) -> dict[str, str]:
    """An environment in which figures compare: one thread, no hub, all that is cached kept in ``cache``.

    OMP_NUM_THREADS may be set from outside to something else.
    """
    return {
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1"),
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_CACHE": str(cache / "hub"),
        "GPUTX_CACHE_DIR": str(cache),
    }


def as_downloaded(model: Path, cache: Path) -> str:
    """Lay a model out in ``cache`` as a download from the hub would have left it, by links; the id it then has."""
    name = f"benchmarks/{model.name}"
    repository = cache / "hub" / f"models--{name.replace('/', '--')}"
    commit = hashlib.sha1(name.encode()).hexdigest()
    snapshot = repository / "snapshots" / commit
    snapshot.mkdir(parents=True, exist_ok=True)
    for path in model.iterdir():
        (snapshot / path.name).unlink(missing_ok=True)
        (snapshot / path.name).symlink_to(path.resolve())
    (repository / "refs").mkdir(exist_ok=True)
    (repository / "refs" / "main").write_text(commit, encoding="ascii")
    return name


def cpu_clock(pid: int) -> int:
    """The clock of the CPU time of a process, for ``time.clock_gettime`` (clock_getcpuclockid(3)).

    Raises:
        OSError: there is no such process.
    """
    clock = ctypes.c_int()
    if problem := ctypes.CDLL(None).clock_getcpuclockid(pid, ctypes.byref(clock)):
        raise OSError(problem, os.strerror(problem))
    return clock.value


def memory(pid: int, field: str) -> int:
    """Bytes of a process, "VmHWM" at most so far or "VmRSS" now; 0 where it has ended (proc_pid_status(5))."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace").splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return next((int(line.split()[1]) * KIB for line in lines if line.startswith(f"{field}:")), 0)


def run(command: Sequence[str], environment: Mapping[str, str]) -> Usage:
    """What a command took that is waited for here, with all that it started and waited for itself.

    Raises:
        RuntimeError: it failed.
    """
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.perf_counter()
    peaks: dict[int, int] = {}
    together = 0
    with (
        tempfile.TemporaryFile("w+", encoding="utf-8") as output,
        tempfile.TemporaryFile("w+", encoding="utf-8") as said,
    ):
        process = subprocess.Popen(command, env={**os.environ, **environment}, stdout=output, stderr=said)
        while True:
            # A peak only ever rises, so the last look before the end misses little of it.
            tree = _tree(process.pid)
            peaks |= {pid: peak for pid in tree if (peak := memory(pid, "VmHWM"))}
            together = max(together, sum(memory(pid, "VmRSS") for pid in tree))
            try:
                process.wait(_LOOK_SECONDS)
                break
            except subprocess.TimeoutExpired:
                continue
        wall = time.perf_counter() - began
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        said.seek(0)
        if process.returncode:
            raise RuntimeError(f"{' '.join(command)} failed:\n{said.read()[-2000:]}")
        output.seek(0)
        return Usage(
            wall=wall,
            cpu=after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
            own_peak=peaks.pop(process.pid, 0),
            child_peak=max(peaks.values(), default=0),
            together=together,
            output=output.read(),
        )


def _tree(pid: int) -> list[int]:
    """A process and all that descend from it (proc_pid_task_tid_children(5))."""
    found = [pid]
    for parent in found:
        for children in Path(f"/proc/{parent}/task").glob("*/children"):
            try:
                found += [int(child) for child in children.read_text(encoding="ascii").split()]
            except (FileNotFoundError, ProcessLookupError):
                continue  # that thread has ended meanwhile
    return found
