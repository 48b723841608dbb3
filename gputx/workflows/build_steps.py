"""The steps of a recipe on a builder: sent, run one after the other with what they say as it comes, and remembered."""

from __future__ import annotations

import hashlib
import io
import tarfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from gputx.ami.recipe import FAILURES, File, Recipe, Step
from gputx.clock import Stop
from gputx.errors import GputxError
from gputx.ssh.payload import build_payload
from gputx.workflows.build_report import Fate, StepReport
from gputx.workflows.hosts.machine import Machine
from gputx.workflows.story import Story

FOLDER = "gputx-ami"
"""Below the login user's home. It is taken away before the image is made."""

_ARCHIVE = f"{FOLDER}.tar.gz"
_DONE = f"{FOLDER}.done"
_ANSWER_SECONDS = 120.0
_PAUSES = (10.0, 30.0)
"""Before a step that may just have met a bad moment is run again."""
_LAST_WORDS = 8


class StepFailedError(GputxError):
    """A step of the recipe ended with an error."""


class Steps:
    """One builder's way through a recipe.

    Args:
        logs: a directory for what each step says.
    """

    def __init__(self, recipe: Recipe, machine: Machine, story: Story, stop: Stop, logs: Path) -> None:
        self._recipe = recipe
        self._machine = machine
        self._story = story
        self._stop = stop
        self._logs = logs

    def send(self) -> str:
        """Put the recipe's files on the builder; the directory they are in. What was done there before is not undone.

        Raises:
            GputxError: it can't be stored there; the message says why.
            InstanceLostError: the builder is gone.
        """
        with self._story.phase("recipe") as phase:
            data = archive(self._recipe.files(build_payload().data))
            home = self._ask("pwd").strip()
            self._machine.connection.upload_bytes(data, _ARCHIVE)
            # The last run's directory goes first: a file that the recipe no longer has must not be found there.
            self._ask(f"sudo -n rm -rf {FOLDER} && mkdir {FOLDER} && tar -xzf {_ARCHIVE} -C {FOLDER} && rm {_ARCHIVE}")
            phase.detail = f"{len(data)} bytes, {len(self._recipe.steps)} steps"
        return f"{home}/{FOLDER}"

    def run(self, root: str, told: Callable[[StepReport], None]) -> None:
        """Run every step that this builder has not done yet, in order; all, where the recipe is not what it was.

        Args:
            root: what :meth:`send` returned.
            told: hears of each step once it is known what became of it.

        Raises:
            StepFailedError: one failed, again where that could help.
            InstanceLostError: the builder is gone.
            InterruptedBySignal: a stop was requested.
        """
        done = self._ask(f"cat {_DONE} 2>/dev/null || true").split()
        for name, why in ((step.name, step.replaced) for step in self._recipe.replaced):
            told(StepReport(name, Fate.REPLACED, why=why))
        for number, (step, mark) in enumerate(zip(self._recipe.steps, marks(self._recipe), strict=True)):
            if done[number : number + 1] == [mark]:
                told(StepReport(step.name, Fate.SKIPPED))
                continue
            # It and those behind it count as not done from here on, whatever it comes to.
            done = done[:number]
            self._remember(done)
            told(self._step(step, root))
            done.append(mark)
            self._remember(done)

    def tidy(self) -> None:
        """Take away what was sent: it is no part of the image. Raises as :meth:`send`."""
        self._ask(f"sudo -n rm -rf {FOLDER} {_ARCHIVE} {_DONE} && sync")

    def _step(self, step: Step, root: str) -> StepReport:
        began = time.monotonic()
        with self._story.phase(f"step {step.name}") as phase:
            for pause in (*_PAUSES, None):
                status, last = self._attempt(step, root)
                if status == 0:
                    phase.detail = last
                    return StepReport(step.name, Fate.DONE, time.monotonic() - began)
                self._machine.look()  # an interruption looks like a step that failed
                failure = FAILURES.get(status)
                what = f"{failure.what}: {last}" if failure else last or f"exit status {status}"
                if pause is None or failure is None or not failure.again:
                    break
                self._story.note(f"{step.name}: {what}; again in {pause:.0f} s")
                self._story.clock.sleep(pause, self._stop)
            raise StepFailedError(
                f"step {step.name} failed: {what}",
                details=(*self._tail(step), f"all it said: {self._log(step)}"),
                hint=failure.hint if failure else "mend it and build again; --keep-on-failure 2h keeps the builder",
            )

    def _attempt(self, step: Step, root: str) -> tuple[int, str]:
        """Exit status, and the last line of what went wrong or, where nothing did, of what it said."""
        last = ""
        with self._log(step).open("a", encoding="utf-8") as log:
            with self._machine.connection.open_stream(step.command(root)) as stream:
                stream.close_stdin()
                for line in stream.lines():
                    last = line.strip() or last
                    log.write(line + "\n")
                    log.flush()
                    if line.strip():
                        self._story.line(step.name, line.rstrip())
                status = stream.wait()
                errors = stream.stderr
            log.write(errors)
            if status:
                log.write(f"exit status {status}\n")
        words = [line.strip() for line in errors.splitlines() if line.strip()]
        return status, (words[-1] if status and words else last)

    def _log(self, step: Step) -> Path:
        return self._logs / f"{step.name}.log"

    def _tail(self, step: Step) -> tuple[str, ...]:
        lines = self._log(step).read_text(encoding="utf-8").splitlines()
        return tuple(line for line in lines[-_LAST_WORDS - 1 : -1] if line.strip())

    def _remember(self, done: Sequence[str]) -> None:
        self._machine.connection.upload_bytes("".join(f"{mark}\n" for mark in done).encode(), _DONE)

    def _ask(self, command: str) -> str:
        answer = self._machine.connection.run(command, timeout=_ANSWER_SECONDS)
        if answer.exit_status != 0:
            said = answer.stderr.decode(errors="replace").strip().splitlines()
            self._machine.look()
            raise GputxError(f"the builder could not do it: {said[-1] if said else command}")
        return answer.stdout.decode(errors="replace")


def marks(recipe: Recipe) -> list[str]:
    """One for each step, by which a builder knows that it was done, of this very recipe: its hash is in the values."""
    values = recipe.environment_file()
    return [hashlib.sha256(f"{step.name}\0{values}".encode()).hexdigest()[:16] for step in recipe.steps]


def archive(files: Sequence[File]) -> bytes:
    """A tar of the files, the same bytes for the same files."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=6) as tar:
        for file in files:
            entry = tarfile.TarInfo(file.path)
            entry.size = len(file.data)
            entry.mode = 0o755 if file.executable else 0o644
            tar.addfile(entry, io.BytesIO(file.data))
    return buffer.getvalue()
