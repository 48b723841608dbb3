"""A server besieged: acts from many threads, its health asked for all the while, its memory looked at."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from . import acts
from .acts import ACTS, Outcome
from .wire import Place

ROOT = Path(__file__).resolve().parents[2]
MODEL = ROOT / "gputx" / "sandbox" / "tiny_sv"
TOKEN = "a-token-for-the-siege"  # nobody else has it
WARM = 3
"""Honest requests of each enemy-to-be before memory is first looked at."""
SETTLE_SECONDS = 30.0
ALLOWED_5XX = frozenset({503})
"""Come back later: an answer, not a fault."""


@dataclass
class Watch:
    """What was seen from outside."""

    health: list[float] = field(default_factory=list)
    """Seconds of each answer of /health."""
    late: list[float] = field(default_factory=list)
    """Seconds by which the machine itself was late each time."""
    unhealthy: int = 0
    before: int = 0
    after: int = 0
    """Bytes of the server's own process when it rests, before and after."""
    honest: list[int] = field(default_factory=list)
    memory: list[int] = field(default_factory=list)
    """The same ten times a second while as many honest clients are at it, and during the siege."""
    tree_after: int = 0
    files_before: int = 0
    files_after: int = 0
    """Open descriptors."""
    left: list[str] = field(default_factory=list)
    """Files of uploads that nobody removed."""


def at(share: float, seconds: Sequence[float]) -> float:
    """Within how many seconds this share of them was."""
    ordered = sorted(seconds)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


@dataclass
class Siege:
    """What came of it."""

    outcomes: list[Outcome] = field(default_factory=list)
    watch: Watch = field(default_factory=Watch)
    status: int | None = None
    """The server's exit status in the end."""

    @property
    def faults(self) -> list[Outcome]:
        """Answers that should not have been."""
        return [
            one
            for one in self.outcomes
            if one.fault or (one.status >= httpx.codes.INTERNAL_SERVER_ERROR and one.status not in ALLOWED_5XX)
        ]

    @property
    def growth(self) -> int:
        """Bytes by which the siege made the server grow: beyond what as many honest clients took at most, or for good,
        whichever is more."""
        watch = self.watch
        return max(max(watch.memory) - max(watch.honest), watch.after - watch.before)

    def table(self) -> str:
        """Acts by what they were answered."""
        counts = Counter((one.act, one.status) for one in self.outcomes)
        rows = [f"{act:28} {status or 'closed':>8} {count:6}" for (act, status), count in sorted(counts.items())]
        return "\n".join(rows)


def besiege(directory: Path, *, seed: int, enemies: int, total: int) -> Siege:
    """Start a server, have ``enemies`` threads do ``total`` acts, and end it.

    Args:
        directory: for its state.
        seed: of all that is drawn; the order in which threads come is not.
        enemies: at once.
        total: acts.
    """
    siege = Siege()
    with _server(directory) as (process, place):
        draw = random.Random(seed)
        watch = siege.watch
        with _watched(process.pid, watch.honest):
            _warm(place, enemies)
        watch.before, watch.files_before = _resident(process.pid), _descriptors(process.pid)
        prober = subprocess.Popen(
            [sys.executable, "-m", "tests.hostile.probe", place.host, str(place.port)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            with _watched(process.pid, watch.memory):
                _act(place, seed, enemies, total, siege.outcomes)
        finally:
            told, _ = prober.communicate("end\n")
        answers = json.loads(told)
        watch.health, watch.unhealthy, watch.late = answers["seconds"], answers["failed"], answers["late"]
        watch.left = _left(directory)
        watch.after, watch.tree_after = _resident(process.pid), _tree(process.pid)
        watch.files_after = _descriptors(process.pid)
        siege.outcomes.append(acts.honest(place, draw))
        process.terminate()
        siege.status = process.wait(timeout=60)
    return siege


def _warm(place: Place, enemies: int) -> None:
    """What so many honest clients need: batches of speech, whole windows, and what can't be believed, which is decoded
    at every temperature."""
    with ThreadPoolExecutor(enemies) as pool:
        sent = [pool.submit(acts.honest, place, random.Random(0)) for _ in range(WARM * enemies)]
        sent += [pool.submit(acts.noisy, place, random.Random(number)) for number in range(enemies)]
        sent += [pool.submit(acts.long, place, random.Random(0)) for _ in range(2)]
        for one in sent:
            one.result()


def _act(place: Place, seed: int, enemies: int, total: int, outcomes: list[Outcome]) -> None:
    numbers: Iterator[int] = iter(range(total))
    lock = threading.Lock()
    kinds, weights = list(ACTS), list(ACTS.values())

    def enemy() -> None:
        while True:
            with lock:
                number = next(numbers, None)
            if number is None:
                return
            draw = random.Random(f"{seed}:{number}")
            act = draw.choices(kinds, weights)[0]
            try:
                outcome = act(place, draw)
            except (httpx.HTTPError, OSError) as error:
                outcome = Outcome(act.__name__, 0, f"no answer: {type(error).__name__}")
            with lock:
                outcomes.append(outcome)

    threads = [threading.Thread(target=enemy) for _ in range(enemies)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@contextmanager
def _server(directory: Path) -> Iterator[tuple[subprocess.Popen[str], Place]]:
    state = directory / "state"
    arguments = ("--port", "0", "--device", "cpu", "--model", str(MODEL), "--model-name", "tiny", "--state", str(state))
    limits = ("--max-upload", "32", "--max-audio", "1", "--queue", "2", "--drain", "10", "--keep", "1")
    with (directory / "log").open("w", encoding="utf-8") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "gputx_remote", "api", *arguments, *limits],
            stderr=log,
            text=True,
            env={**os.environ, "GPUTX_TOKEN": TOKEN},
        )
    try:
        yield process, _ready(process, directory / "log")
    finally:
        process.kill()
        process.wait()


def _ready(process: subprocess.Popen[str], log: Path) -> Place:
    while process.poll() is None:
        lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines() if line.endswith("}")]
        events = {line["event"]: line for line in lines}
        if "ready" in events:
            host, _, port = events["listening"]["url"].removeprefix("http://").partition(":")
            return Place(host, int(port), TOKEN)
        time.sleep(0.05)
    raise RuntimeError(log.read_text(encoding="utf-8"))


@contextmanager
def _watched(pid: int, seen: list[int]) -> Iterator[None]:
    """A block in which memory is looked at ten times a second."""
    over = threading.Event()

    def look() -> None:
        while not over.wait(0.1):
            seen.append(_resident(pid))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _left(directory: Path) -> list[str]:
    """What lies in the directory of uploads once the server had time to notice who has gone."""
    incoming = directory / "state" / "incoming"
    deadline = time.monotonic() + SETTLE_SECONDS
    while (left := [path.name for path in incoming.iterdir()]) and time.monotonic() < deadline:
        time.sleep(0.1)
    return left


def _resident(pid: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def _descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def _tree(pid: int) -> int:
    """Bytes of a process and all below it."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    return _resident(pid) + sum(_tree(int(child)) for child in children)
