"""The port of what tells speech from other sound, frame by frame."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]

FRAME = 512
"""Samples at 16 kHz (32 ms) that get one probability: what Silero VAD was trained on."""
FRAMES_PER_SECOND = 16_000 / FRAME


class SpeechModelError(Exception):
    """The speech detection network can't be used here. The message says why, in one line."""


class Detector(Protocol):
    """A detector in the middle of one recording: what it says of a frame may depend on all frames before it."""

    name: str

    def probabilities(self, samples: FloatArray) -> FloatArray:
        """How likely each frame is speech.

        Args:
            samples: float32 of shape (n * FRAME,), the audio that follows what was given before.

        Returns:
            float32 of shape (n,), 0 to 1.
        """
        ...


class Everything:
    """No detection: all of it counts as speech, and is cut only to length."""

    name = "none"

    def probabilities(self, samples: FloatArray) -> FloatArray:
        """1 for every frame."""
        return np.ones(len(samples) // FRAME, np.float32)
