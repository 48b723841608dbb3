"""Speech cut into windows while it is being said: the same detector and packer as for a file, in small steps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from gputx_remote.speech.cut import detector
from gputx_remote.speech.detector import FRAME, FRAMES_PER_SECOND, FloatArray
from gputx_remote.speech.levels import levels
from gputx_remote.speech.limits import Limits
from gputx_remote.speech.packing import Packer
from gputx_remote.speech.plan import Span, SpeechOptions, Window
from gputx_remote.speech.spans import spans

if TYPE_CHECKING:
    from gputx_remote.engine.hearing import Cut

PAUSE_SECONDS = 0.7
"""Whoever is silent for so long has finished a phrase: its text is final."""
LONGEST_SECONDS = 20.0
"""Whoever makes no pause gets final text after so long at the latest."""


class LiveCutting:
    """One speaker. At most some seconds more than the longest window are held."""

    def __init__(self, options: SpeechOptions, note: Callable[[str], None]) -> None:
        """
        Args:
            options: how speech is found; ``max_silence_seconds`` and ``max_window_seconds`` are this module's own.
            note: told in one line when the energy detector has to stand in.
        """
        self._limits = replace(
            Limits.of(options),
            max_silence=round(PAUSE_SECONDS * FRAMES_PER_SECOND),
            max_window=int(LONGEST_SECONDS * FRAMES_PER_SECOND),
        )
        self._detector = detector(options.detector, note)
        self._packer = Packer(self._limits)
        self._first = 0
        """The frame that what is held begins with."""
        self._samples: FloatArray = np.empty(0, np.float32)
        self._probabilities: FloatArray = np.empty(0, np.float32)
        self._made = 0

    def push(self, samples: FloatArray, *, last: bool = False) -> list[Cut]:
        """Hear more; the windows that are settled by it.

        Args:
            samples: float32 of shape (n * FRAME,), 16 kHz mono; the last ones may be fewer.
            last: nothing follows.
        """
        whole = np.pad(samples, (0, -len(samples) % FRAME))
        found = self._detector.probabilities(whole) if len(whole) else np.empty(0, np.float32)
        self._samples = np.concatenate([self._samples, whole])
        self._probabilities = np.concatenate([self._probabilities, found])
        settled = []
        for packed in self._packer.push(found, levels(whole), last=last):
            settled.append(self._cut(packed.start, packed.stop, packed.speech))
            self._made += 1
        self._forget()
        return settled

    def open(self) -> Cut | None:
        """What has been said since the last settled window; None where nobody is speaking."""
        speech = spans(self._probabilities, self._limits, speaking=False)
        if not speech:
            return None
        start = max(0, speech[0][0] - self._limits.padding_before)
        by = self._first
        inside = tuple((a + by, b + by) for a, b in speech)
        return self._cut(start + by, by + len(self._probabilities), inside)

    def _cut(self, start: int, stop: int, speech: tuple[tuple[int, int], ...]) -> Cut:
        window = Window(self._made, start * FRAME, stop * FRAME, tuple(Span(a * FRAME, b * FRAME) for a, b in speech))
        return window, self._samples[(start - self._first) * FRAME : (stop - self._first) * FRAME].copy()

    def _forget(self) -> None:
        frames = self._packer.first - self._first
        self._samples = self._samples[frames * FRAME :]
        self._probabilities = self._probabilities[frames:]
        self._first = self._packer.first
