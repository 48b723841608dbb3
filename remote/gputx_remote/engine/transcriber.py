"""The port every engine fills: audio in, segments and what is known about them out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:  # `attach` imports this module and should not wait for numpy
    from gputx_remote.audio.recording import Recording
    from gputx_remote.speech.plan import SpeechOptions
    from gputx_remote.transcript import Segment

Progress = Callable[[float, float], None]

TEMPERATURES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
"""Those of OpenAI's whisper (``whisper/transcribe.py``)."""


@dataclass(frozen=True)
class Thresholds:
    """When a window's text is not believed. The defaults are those of OpenAI's whisper, but for the last."""

    compression_ratio: float = 2.4
    """Text that zlib packs better than this repeats itself."""
    logprob: float = -1.0
    """A mean log probability below this was guesswork."""
    no_speech: float = 0.6
    """With guesswork and this probability of no speech, a window is taken for silent."""
    repeats: int = 4
    """A word or phrase this many times running is a loop."""

    def __post_init__(self) -> None:
        """Raises TypeError for a threshold that is no number, ValueError for fewer than 2 repeats."""
        for name, value in asdict(self).items():
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise TypeError(f"{name} is a number, not {value!r}")
        if not isinstance(self.repeats, int) or self.repeats < 2:
            raise ValueError(f"repeats is a whole number, 2 or more, not {self.repeats}")


@dataclass(frozen=True)
class TranscribeOptions:
    """What the person asked for. ``language`` is a Whisper code such as "sv", or None to detect it."""

    language: str | None = "sv"
    task: str = "transcribe"  # or "translate", into English
    word_timestamps: bool = False
    initial_prompt: str | None = None
    """Text that stands before the recording, for names and spelling. Every window gets it."""
    hotwords: str | None = None
    """Words to expect, anywhere in the recording."""
    condition_on_previous_text: bool = False
    """Give each window the text before it. One window after the other then, so it costs the batch."""
    temperatures: tuple[float, ...] = TEMPERATURES
    thresholds: Thresholds = field(default_factory=Thresholds)
    speech: SpeechOptions | None = None
    """How speech is found and cut; None for the defaults."""

    def __post_init__(self) -> None:
        """Raises ValueError for temperatures that can't be."""
        if not self.temperatures or not all(0 <= value <= 2 for value in self.temperatures):
            raise ValueError("temperatures go from 0 to 2, and there is one at least")


@dataclass
class TranscriptionInfo:
    """What is known about a transcription. Complete once its segments are drawn to the end."""

    language: str
    duration_ms: int
    windows: int = 0
    decoded_again: int = 0
    """Windows that failed the quality checks and were decoded at another temperature."""
    suspect: int = 0
    """Windows that failed them at every temperature."""
    silence_ms: int = 0
    """Audio that was taken for silence and not decoded."""


class Transcriber(Protocol):
    """A loaded model. Not thread-safe: one transcription at a time."""

    @property
    def device(self) -> str:
        """cpu or cuda; it may change from one to the other when memory is short."""
        ...

    @property
    def compute_type(self) -> str:
        """float32, float16, int8, …"""
        ...

    def transcribe(
        self, recording: Recording, options: TranscribeOptions, *, progress: Progress | None = None
    ) -> tuple[Iterator[Segment], TranscriptionInfo]:
        """Transcribe a recording.

        Args:
            recording: the audio.
            options: language, task, and how.
            progress: called with (seconds of audio done, seconds in all) as windows finish.

        Returns:
            (segments, info). Segments come lazily and in order, as :func:`gputx_remote.transcript.orderly`
            promises; silence gives none. Work is done as they are drawn.

        Raises:
            EngineError: while drawing, when the model can't decode this audio.
            AudioUnreadableError: while drawing, when the audio can't be read on.
        """
        ...
