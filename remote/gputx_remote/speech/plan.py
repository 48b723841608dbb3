"""The plan of windows as a value: which stretches of a recording the model is given, and why the rest is not.

Checkpoints and fleets are built on it: two machines with the same plan do the same work, so it can be written down,
compared and named by its digest.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

SAMPLE_RATE = 16_000
LONGEST_WINDOW = 30 * SAMPLE_RATE
"""Samples Whisper's encoder hears at once."""

DETECTORS = ("silero", "energy", "none")


@dataclass(frozen=True)
class Span:
    """A stretch of a recording: samples at 16 kHz, ``stop`` not included."""

    start: int
    stop: int


@dataclass(frozen=True)
class Window:
    """One stretch given to the model. It is whole: what is silent inside it stays, so a time in the recording is
    a time in the window plus ``start``."""

    index: int
    start: int
    stop: int
    speech: tuple[Span, ...]
    """Where speech was detected inside it, in samples of the recording, without padding."""


@dataclass(frozen=True)
class SpeechOptions:
    """How speech is found and packed. docs/speech-detection.md has the measurements behind them.

    Raises:
        ValueError: a value that makes no sense, in one line.
    """

    detector: str = "silero"
    """silero, energy, or none: everything counts as speech and is cut only to length."""
    threshold: float = 0.5
    """Probability at which speech begins."""
    hysteresis: float = 0.15
    """Speech ends where the probability falls below ``threshold - hysteresis``."""
    min_speech_ms: int = 64
    """Anything shorter is no speech."""
    min_silence_ms: int = 160
    """A shorter pause is part of the speech round it."""
    padding_before_ms: int = 250
    """Sound kept before the first speech of a window: Silero hears it 0.1 s late, 0.15 s in one case of 20."""
    padding_after_ms: int = 300
    """Sound kept after the last speech of a window."""
    max_window_seconds: float = 30.0
    max_silence_seconds: float = 10.0
    """A longer silence ends a window; a shorter one stays inside where the window has room for what follows."""

    def __post_init__(self) -> None:
        if self.detector not in DETECTORS:
            raise ValueError(f"detector is one of {', '.join(DETECTORS)}, not {self.detector!r}")
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name != "detector" and not (isinstance(value, int | float) and math.isfinite(value)):
                raise ValueError(f"{field.name} is a number, not {value!r}")
        if not 0 < self.threshold < 1:
            raise ValueError(f"threshold is between 0 and 1, not {self.threshold}")
        if not 0 <= self.hysteresis < self.threshold:
            raise ValueError(f"hysteresis is at least 0 and below the threshold ({self.threshold}): {self.hysteresis}")
        if not 0 <= self.min_speech_ms <= 1000:
            raise ValueError(f"min_speech_ms is 0 to 1000, not {self.min_speech_ms}")
        if not 0 <= self.min_silence_ms <= 2000:
            raise ValueError(f"min_silence_ms is 0 to 2000, not {self.min_silence_ms}")
        for name in ("padding_before_ms", "padding_after_ms"):
            if not 0 <= getattr(self, name) <= 1000:
                raise ValueError(f"{name} is 0 to 1000, not {getattr(self, name)}: Whisper starts within a second")
        if not 5 <= self.max_window_seconds <= 30:
            raise ValueError(f"max_window_seconds is 5 to 30, not {self.max_window_seconds}")
        if not 2 <= self.max_silence_seconds <= 30:
            raise ValueError(f"max_silence_seconds is 2 to 30, not {self.max_silence_seconds}")


@dataclass(frozen=True)
class Plan:
    """The windows of one recording, in order.

    Raises:
        ValueError: the windows overlap, are out of order, too long, or lie outside the recording.
    """

    samples: int
    """Length of the recording at 16 kHz."""
    windows: tuple[Window, ...]
    options: SpeechOptions
    detector: str
    """Which detector was used in the end: energy where silero could not be loaded."""

    def __post_init__(self) -> None:
        if self.samples < 0:
            raise ValueError(f"a plan can't cover {self.samples} samples")
        if self.detector not in DETECTORS:
            raise ValueError(f"no such detector: {self.detector!r}")
        end = 0
        for number, window in enumerate(self.windows):
            if window.index != number:
                raise ValueError(f"window {number} of the plan has the index {window.index}")
            if not end <= window.start < window.stop <= self.samples:
                raise ValueError(f"window {number} of the plan overlaps, is empty, or lies outside the recording")
            if window.stop - window.start > LONGEST_WINDOW:
                raise ValueError(f"window {number} of the plan is longer than 30 s")
            end = _checked_speech(number, window)

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical JSON, in hexadecimal: the plan's name."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    def silences(self) -> tuple[Span, ...]:
        """What no window covers: with the windows, every sample of the recording exactly once."""
        edges = [0, *(edge for window in self.windows for edge in (window.start, window.stop)), self.samples]
        return tuple(Span(a, b) for a, b in zip(edges[::2], edges[1::2], strict=True) if a < b)

    def to_json(self) -> str:
        """Canonical JSON: sorted keys, no spaces. :meth:`from_json` reads it."""
        windows = [
            {"start": w.start, "stop": w.stop, "speech": [[s.start, s.stop] for s in w.speech]} for w in self.windows
        ]
        value = {
            "samples": self.samples,
            "detector": self.detector,
            "options": asdict(self.options),
            "windows": windows,
        }
        return json.dumps(value, sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The plan that :meth:`to_json` wrote.

        Raises:
            ValueError: it is no plan, or one that can't be right.
        """
        try:
            value: dict[str, Any] = json.loads(text)
            windows = tuple(
                Window(number, int(w["start"]), int(w["stop"]), tuple(Span(int(a), int(b)) for a, b in w["speech"]))
                for number, w in enumerate(value["windows"])
            )
            options = SpeechOptions(**value["options"])
            return cls(int(value["samples"]), windows, options, str(value["detector"]))
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not a plan of windows: {error}") from error


def _checked_speech(number: int, window: Window) -> int:
    edge = window.start
    for span in window.speech:
        if not edge <= span.start < span.stop <= window.stop:
            raise ValueError(f"the speech of window {number} of the plan is out of order or outside the window")
        edge = span.stop
    return window.stop
