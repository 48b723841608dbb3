"""The work of one job in its thread: from where it was left to its end, noted window by window."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from gputx_remote.errors import AudioUnreadableError, EngineError, one_line
from gputx_remote.server import pcm
from gputx_remote.server.job import Failure, Job, Outcome
from gputx_remote.server.shared import CancelledError

if TYPE_CHECKING:
    from gputx_remote.engine.transcriber import TranscriptionInfo
    from gputx_remote.server.engine import SharedEngine
    from gputx_remote.server.store import Store

Moved = Callable[[float], None]

INTERNAL = Failure("internal", "the server failed to transcribe it; its log says more")

log = logging.getLogger("gputx.server")


class Running:
    """One job being transcribed."""

    def __init__(self, engine: SharedEngine, store: Store, job: Job, moved: Moved) -> None:
        """``moved`` is told how many seconds of audio one more window was."""
        self._engine = engine
        self._store = store
        self._job = job
        self._moved = moved
        self._before = Outcome()
        self._began = time.monotonic()
        self._full = False

    def run(self, cancelled: Callable[[], bool]) -> Failure | None:
        """Transcribe to the end; why that could not be, or None.

        Raises:
            CancelledError: ``cancelled`` has become true; what is noted stays.
        """
        try:
            self._transcribe(cancelled)
        except CancelledError:
            raise
        except EngineError as error:
            log.warning("the model could not transcribe a job", extra={"job": self._job.id}, exc_info=error)
            return Failure("engine", one_line(error))
        except AudioUnreadableError as error:
            return Failure("audio", str(error))
        except Exception:
            log.exception("a job failed")
            return INTERNAL
        return None

    def _transcribe(self, cancelled: Callable[[], bool]) -> None:
        job = self._job
        if not self._engine.resumes:
            self._store.anew(job)
        self._begun()
        if job.done_seconds:
            self._before = job.outcome
        # Of a job that was taken up again the language is known.
        options = replace(job.order.options, language=job.language or None)
        recording = pcm.recording(self._store.audio(job))
        info: TranscriptionInfo | None = None

        def progress(done_seconds: float, _total: float) -> None:
            if info is not None:
                self._note(done_seconds, info)

        segments, info = self._engine.transcribe(
            recording, options, progress=progress, cancelled=cancelled, after=job.done_seconds
        )
        for segment in segments:
            job.segments.append(segment)
            job.changed()
        # An engine without windows tells no progress; and the silence is known only now.
        self._note(job.order.seconds, info)

    def _begun(self) -> None:
        if not self._job.order.attached:
            try:
                self._store.begun(self._job)
            except OSError as error:
                log.warning("a job's begin can't be noted", extra={"job": self._job.id, "errno": error.errno})

    def _note(self, done_seconds: float, info: TranscriptionInfo) -> None:
        """A window is done, and with it all segments so far."""
        job, before = self._job, self._before
        done_seconds = min(job.order.seconds, done_seconds)
        job.language = info.language
        job.outcome = Outcome(
            windows=before.windows + info.windows,
            decoded_again=before.decoded_again + info.decoded_again,
            suspect=before.suspect + info.suspect,
            silence_ms=info.silence_ms,
            processing_seconds=before.processing_seconds + time.monotonic() - self._began,
        )
        self._keep(done_seconds)
        moved, job.done_seconds = done_seconds - job.done_seconds, done_seconds
        self._moved(moved)
        job.changed()

    def _keep(self, done_seconds: float) -> None:
        """Put it on disk, where there is room: a disk that others have filled costs the next process a window to decode
        again, and this one nothing."""
        # What only a connection waits for is of no use to the next process.
        if self._job.order.attached:
            return
        try:
            self._store.window(self._job, done_seconds, self._job.outcome)
        except OSError as error:
            if not self._full:
                log.warning("a window can't be noted", extra={"job": self._job.id, "errno": error.errno})
            self._full = True
        else:
            self._full = False
