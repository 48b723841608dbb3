"""This machine as a bench: the same worker, as a child process, with nothing to launch."""

from __future__ import annotations

import collections
import copy
import importlib.util
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Self

from gputx.clock import Stop
from gputx.errors import ConfigurationError
from gputx.workflows.model import Engine, ModelChoice
from gputx.workflows.worker import WorkerEndedError

_POLL_SECONDS = 0.2
_GRACE_SECONDS = 5.0


class LocalBench:
    """Runs workers with the Python that runs gputx."""

    def __init__(self, model: ModelChoice, stop: Stop) -> None:
        """Raises ConfigurationError where the engine is not installed."""
        if importlib.util.find_spec("tokenizers") is None:  # every engine reads its vocabulary with it
            raise ConfigurationError(
                "the engine is not installed here",
                hint="pip install 'gputx[local]', or let a cloud do it: --on aws",
            )
        self._model = model
        self._stop = stop

    def start_worker(self) -> ChildStream:
        return ChildStream(["worker", *self._model.arguments], self._stop)

    def running(self, engine: Engine) -> Self:
        other = copy.copy(self)
        other._model = replace(self._model, engine=engine)
        return other

    def engines(self) -> ChildStream:
        return ChildStream(["engines", "--model", self._model.location], self._stop)

    def deliver(self, audio: Path, progress: Callable[[int, int], None]) -> str:
        del progress  # nothing travels
        return str(audio)

    def check(self) -> None:
        """This machine is where it was."""


class ChildStream:
    """A worker as a child process. It leads a process group of its own, so that a Ctrl-C meant for gputx does not
    kill it in the middle of a word; gputx ends it.
    """

    def __init__(self, arguments: list[str], stop: Stop) -> None:
        # -P: a file called torch.py in the person's directory must not be taken for torch.
        command = [sys.executable, "-P", "-m", "gputx_remote", *arguments]
        self._stop = stop
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            errors="replace",
            process_group=0,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._stderr: collections.deque[str] = collections.deque(maxlen=20)
        self._pumps = [
            threading.Thread(target=self._pump_stdout, name="worker-stdout", daemon=True),
            threading.Thread(target=self._pump_stderr, name="worker-stderr", daemon=True),
        ]
        for pump in self._pumps:
            pump.start()

    def write_line(self, line: str) -> None:
        assert self._process.stdin is not None  # noqa: S101 - Popen was given a pipe
        try:
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()
        except (BrokenPipeError, ValueError):
            raise WorkerEndedError(f"the worker has ended ({self.epitaph()})") from None

    def lines(self) -> Iterator[str]:
        while True:
            self._stop.check()
            try:
                line = self._lines.get(timeout=_POLL_SECONDS)
            except queue.Empty:
                continue
            if line is None:
                return
            yield line

    def close(self) -> None:
        process = self._process
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(_GRACE_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for pump in self._pumps:
            pump.join(_GRACE_SECONDS)
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe and not pipe.closed:
                try:
                    pipe.close()
                except BrokenPipeError:
                    continue  # what was still buffered had no reader any more

    def epitaph(self) -> str:
        try:
            status = self._process.wait(1.0)
        except subprocess.TimeoutExpired:
            return "its output ended while it still ran"
        last = next((line for line in reversed(self._stderr) if line.strip()), "")
        how = signal.Signals(-status).name if status < 0 else f"exit status {status}"
        return f"{how}: {last.strip()}" if last else how

    def _pump_stdout(self) -> None:
        assert self._process.stdout is not None  # noqa: S101 - Popen was given a pipe
        for line in self._process.stdout:
            self._lines.put(line.rstrip("\n"))
        self._lines.put(None)

    def _pump_stderr(self) -> None:
        assert self._process.stderr is not None  # noqa: S101 - Popen was given a pipe
        self._stderr.extend(self._process.stderr)
