"""An engine that says a word for each second of audio, when a test lets it: for tests of the queue."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

from gputx_remote.audio.recording import Recording
from gputx_remote.engine.transcriber import Progress, TranscribeOptions, TranscriptionInfo
from gputx_remote.errors import EngineError
from gputx_remote.server.shared import CancelledError
from gputx_remote.transcript import Segment


class PaperEngine:
    """Each second of a job is a segment, and costs one of ``allow``."""

    resumes = True
    broken = False

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._allowed = 0
        self._held = False
        self.begun: list[float] = []
        """Seconds of the jobs that were begun, in order."""

    def allow(self, seconds: int) -> None:
        with self._changed:
            self._allowed += seconds
            self._changed.notify_all()

    def hold(self, held: bool) -> None:
        """Have nobody go on, not even those that are cancelled; or let them."""
        with self._changed:
            self._held = held
            self._changed.notify_all()

    def wake(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def transcribe(
        self,
        recording: Recording,
        options: TranscribeOptions,
        *,
        progress: Progress | None = None,
        cancelled: Callable[[], bool] = lambda: False,
        after: float = 0.0,
    ) -> tuple[Iterator[Segment], TranscriptionInfo]:
        info = TranscriptionInfo(options.language or "da", recording.duration_ms)
        self.begun.append(recording.duration_ms / 1000)
        return self._segments(recording, options, progress, cancelled, int(after), info), info

    def _segments(
        self,
        recording: Recording,
        options: TranscribeOptions,
        progress: Progress | None,
        cancelled: Callable[[], bool],
        after: int,
        info: TranscriptionInfo,
    ) -> Iterator[Segment]:
        for second in range(after, recording.duration_ms // 1000):
            with self._changed:
                self._changed.wait_for(lambda: not self._held and (self._allowed > 0 or cancelled()))
                if cancelled():
                    raise CancelledError
                self._allowed -= 1
            if options.hotwords == "engine":
                raise EngineError("it can't be heard")
            if options.hotwords == "lines":
                raise EngineError("CUDA error: device-side assert triggered\nCompile with TORCH_USE_CUDA_DSA\n/a/path")
            if options.hotwords == "bug":
                raise KeyError("a secret word")
            yield Segment(second * 1000, second * 1000 + 900, f"ord {second}")
            info.windows += 1
            if progress is not None:
                progress(second + 1.0, recording.duration_ms / 1000)
