"""Jobs on disk: what the next process needs to take them up where this one left them.

A job is a directory: ``order.json``, which never changes; ``audio.pcm`` until it ends; ``segments.jsonl``, a line for
each window that is done; ``begun`` while a process is at it; ``end.json`` once it has ended; ``stored`` once its text
is elsewhere, too. The files survive the process; a text that is done survives the machine's power.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import os
import shutil
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from gputx_remote.engine.transcriber import Thresholds, TranscribeOptions
from gputx_remote.server.job import Failure, Job, Order, Outcome, State
from gputx_remote.speech.plan import SpeechOptions
from gputx_remote.transcript import Measure, Segment, Word

log = logging.getLogger("gputx.server")


class Store:
    """The state directory. One process at a time."""

    def __init__(self, directory: Path) -> None:
        """``directory`` is made where it is missing, for this user alone. What lies in ``incoming`` is removed: the
        uploads of a process that has ended."""
        self._jobs = directory / "jobs"
        self.incoming = directory / "incoming"
        shutil.rmtree(self.incoming, ignore_errors=True)
        for path in (directory, self._jobs, self.incoming):
            path.mkdir(mode=0o700, parents=True, exist_ok=True)

    def audio(self, job: Job) -> Path:
        """Where its samples are."""
        return self._jobs / job.id / "audio.pcm"

    def add(self, job: Job, audio: Path) -> None:
        """Take a job and its audio over. Once this returns, it survives the process.

        Raises:
            OSError: it can't be written. Nothing is left of it then but the audio where it was.
        """
        directory = self._jobs / job.id
        directory.mkdir(mode=0o700)
        try:
            _write(directory / "order.json", asdict(job.order))
            audio.rename(directory / "audio.pcm")
        except OSError:
            shutil.rmtree(directory, ignore_errors=True)
            raise

    def window(self, job: Job, done_seconds: float, outcome: Outcome) -> None:
        """Note what one more window has given, and what could not be noted before.

        Raises:
            OSError: it can't be written, and no part of it was; the next call takes it along.
        """
        until = len(job.segments)
        line = {
            "segments": [asdict(segment) for segment in job.segments[job.noted : until]],
            "done": done_seconds,
            "language": job.language,
            "outcome": asdict(outcome),
        }
        _append(self._jobs / job.id / "segments.jsonl", (json.dumps(line, ensure_ascii=False) + "\n").encode())
        job.noted = until

    def begun(self, job: Job) -> None:
        """Note that a process is at it, for the case that this process does not come to :meth:`put_down`.

        Raises:
            OSError: it can't be written.
        """
        _write(self._jobs / job.id / "begun", {"deaths": job.deaths, "done": job.done_seconds})

    def put_down(self, job: Job) -> None:
        """The process is no more at it, and was not ended by it."""
        job.deaths = 0
        (self._jobs / job.id / "begun").unlink(missing_ok=True)

    def anew(self, job: Job) -> None:
        """Forget its windows."""
        (self._jobs / job.id / "segments.jsonl").unlink(missing_ok=True)
        job.segments.clear()
        job.noted, job.done_seconds = 0, 0.0

    def end(self, job: Job, state: State) -> None:
        """Note its end, and then remove the audio: a process that is killed between the two has lost nothing.

        Raises:
            OSError: it can't be written; the audio is still there, so that the next process does the job again.
        """
        directory = self._jobs / job.id
        # What only a connection waits for is of no use to the next process.
        lasting = state is State.DONE and not job.order.attached
        if lasting:
            if job.noted < len(job.segments):
                self.window(job, job.done_seconds, job.outcome)
            _sync(directory / "segments.jsonl")
        end = {
            "state": state,
            "place": job.place,
            "segments": len(job.segments) if lasting else None,
            "started": job.started,
            "ended": job.ended,
            "language": job.language,
            "failure": None if job.failure is None else asdict(job.failure),
            "outcome": asdict(job.outcome),
        }
        _write(directory / "end.json", end, lasting=lasting)
        for name in ("audio.pcm", "begun"):
            (directory / name).unlink(missing_ok=True)

    def stored(self, job: Job) -> None:
        """Note where its text is, too.

        Raises:
            OSError: it can't be written.
        """
        _write(self._jobs / job.id / "stored", {"folder": job.stored})

    def remove(self, job: Job) -> None:
        """Nothing of it stays."""
        shutil.rmtree(self._jobs / job.id, ignore_errors=True)

    def load(self) -> Iterator[Job]:
        """All jobs there are, those that have not ended as queued ones. What can't be read is said and removed."""
        for directory in sorted(self._jobs.iterdir()):
            try:
                yield _read(directory)
            except (OSError, ValueError, KeyError, TypeError) as error:
                log.warning("a job of an earlier process can't be read and is dropped: %s", type(error).__name__)
                shutil.rmtree(directory, ignore_errors=True)


def _write(path: Path, value: dict[str, Any], *, lasting: bool = False) -> None:
    """All of it or nothing; ``lasting`` also where the machine's power goes."""
    new = path.with_suffix(".new")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump(value, file, ensure_ascii=False)
        if lasting:
            file.flush()
            os.fsync(file.fileno())
    new.rename(path)
    if lasting:
        _sync(path.parent)


def _sync(path: Path) -> None:
    """Have it on the disk itself; nothing where there is no such file."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _append(path: Path, line: bytes) -> None:
    """A whole line or nothing: behind half a line the next one could not be read."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        before = os.fstat(descriptor).st_size
        try:
            while line:
                line = line[os.write(descriptor, line) :]
        except OSError:
            os.ftruncate(descriptor, before)
            raise
    finally:
        os.close(descriptor)


def _read(directory: Path) -> Job:
    order = json.loads((directory / "order.json").read_text(encoding="utf-8"))
    job = Job(Order(**{**_known(Order, order), "options": _options(order["options"])}))
    if job.id != directory.name:
        raise ValueError("a job under another's name")
    _windows(directory / "segments.jsonl", job)
    try:
        end = json.loads((directory / "end.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        if not (directory / "audio.pcm").is_file():
            raise
        job.deaths = _deaths(directory / "begun", job.done_seconds)
        return job
    if end.get("segments") not in {None, len(job.segments)}:
        raise ValueError("a text that is not whole")
    job.state, job.started, job.ended = State(end["state"]), end["started"], end["ended"]
    job.language, job.outcome = end["language"], Outcome(**_known(Outcome, end["outcome"]))
    job.failure = None if end["failure"] is None else Failure(**end["failure"])
    job.place = end.get("place", 0)
    (directory / "audio.pcm").unlink(missing_ok=True)  # its process was killed before it came to that
    with contextlib.suppress(FileNotFoundError):
        job.stored = json.loads((directory / "stored").read_text(encoding="utf-8"))["folder"]
    return job


def _deaths(path: Path, done_seconds: float) -> int:
    """Processes that have ended amid the window that comes next, the last one included."""
    try:
        begun = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return 0
    return int(begun["deaths"]) + 1 if begun["done"] == done_seconds else 1


def _known(kind: type[Any], fields: dict[str, Any]) -> dict[str, Any]:
    """Without what another version of this program wrote and this one does not know."""
    names = {field.name for field in dataclasses.fields(kind)}
    return {name: value for name, value in fields.items() if name in names}


def _windows(path: Path, job: Job) -> None:
    """The windows up to the first line that can't be read; it and what is behind it are cut off, so that the windows
    that are decoded again stand behind what was read. The last line may have been cut off with its process."""
    if not path.is_file():
        return
    lines = path.read_bytes().splitlines(keepends=True)
    good = 0
    for line in lines:
        try:
            if not line.endswith(b"\n"):
                break
            fields = json.loads(line)
            segments = [_segment(one) for one in fields["segments"]]
            done, language = float(fields["done"]), str(fields["language"])
            outcome = Outcome(**_known(Outcome, fields["outcome"]))
        except (ValueError, KeyError, TypeError, AttributeError):
            log.warning("a window of an earlier process can't be read; it and those behind it are decoded again")
            break
        job.segments += segments
        job.done_seconds, job.language, job.outcome = done, language, outcome
        good += len(line)
    job.noted = len(job.segments)
    if good < sum(map(len, lines)):
        os.truncate(path, good)


def _options(fields: dict[str, Any]) -> TranscribeOptions:
    speech = fields["speech"]
    given = {
        **_known(TranscribeOptions, fields),
        "temperatures": tuple(fields["temperatures"]),
        "thresholds": Thresholds(**_known(Thresholds, fields["thresholds"])),
        "speech": None if speech is None else SpeechOptions(**_known(SpeechOptions, speech)),
    }
    return TranscribeOptions(**given)


def _segment(fields: dict[str, Any]) -> Segment:
    measure = fields["measure"]
    given = {
        **_known(Segment, fields),
        "words": tuple(Word(**word) for word in fields["words"]),
        "tokens": tuple(fields["tokens"]),
        "measure": None if measure is None else Measure(**measure),
    }
    return Segment(**given)
