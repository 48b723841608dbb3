"""The options of speech detection in frames, which is what detection and packing count in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from gputx_remote.speech.detector import FRAMES_PER_SECOND
from gputx_remote.speech.plan import SpeechOptions

COMFORTABLE_SECONDS = 1.0
"""A pause this long is as good to cut in as any longer one."""


@dataclass(frozen=True)
class Limits:
    """:class:`SpeechOptions` in frames of 32 ms."""

    threshold: float
    lower_threshold: float
    min_speech: int
    min_silence: int
    padding_before: int
    padding_after: int
    max_window: int
    max_silence: int
    comfortable: int
    lookahead: int
    """How far beyond a window's longest extent its end may depend on what is heard."""

    @classmethod
    def of(cls, options: SpeechOptions) -> Self:
        """Round durations to whole frames: the longest window down, everything else to the nearest."""
        min_silence = max(1, _frames(options.min_silence_ms / 1000))
        before, after = _frames(options.padding_before_ms / 1000), _frames(options.padding_after_ms / 1000)
        comfortable = _frames(COMFORTABLE_SECONDS)
        return cls(
            threshold=options.threshold,
            lower_threshold=options.threshold - options.hysteresis,
            min_speech=max(1, _frames(options.min_speech_ms / 1000)),
            min_silence=min_silence,
            padding_before=before,
            padding_after=after,
            max_window=int(options.max_window_seconds * FRAMES_PER_SECOND),
            max_silence=_frames(options.max_silence_seconds),
            comfortable=comfortable,
            lookahead=max(comfortable, min_silence, before + after) + 1,
        )


def _frames(seconds: float) -> int:
    return round(seconds * FRAMES_PER_SECOND)
