"""The port every engine fills: audio in, segments and what is known about them out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:  # `attach` imports this module and should not wait for numpy
    import numpy as np
    import numpy.typing as npt

    from gputx_remote.transcript import Segment

    Audio = npt.NDArray[np.float32]

Progress = Callable[[float, float], None]


@dataclass(frozen=True)
class TranscribeOptions:
    """What the person asked for. ``language`` is a Whisper code such as "sv", or None to detect it."""

    language: str | None = "sv"
    task: str = "transcribe"  # or "translate", into English


@dataclass
class TranscriptionInfo:
    """What is known about a transcription. Complete once its segments are drawn to the end."""

    language: str
    duration_ms: int
    windows: int = 0


class Transcriber(Protocol):
    """A loaded model. Not thread-safe: one transcription at a time."""

    def transcribe(
        self, audio: Audio, options: TranscribeOptions, *, progress: Progress | None = None
    ) -> tuple[Iterator[Segment], TranscriptionInfo]:
        """Transcribe float32 samples of shape (samples,), 16 kHz mono, full scale ±1.

        Args:
            audio: the samples.
            options: language and task.
            progress: called with (seconds of audio done, seconds in all) as windows finish.

        Returns:
            (segments, info). Segments come lazily, as :func:`gputx_remote.transcript.orderly` promises;
            silence gives none. Work is done as they are drawn.

        Raises:
            EngineError: while drawing, when the model can't decode this audio.
        """
        ...
