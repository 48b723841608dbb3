"""How loud each frame is."""

from __future__ import annotations

import numpy as np

from gputx_remote.speech.detector import FRAME, FloatArray

EPSILON = 1e-10
"""-100 dB: the level of digital silence."""


def levels(samples: FloatArray) -> FloatArray:
    """Mean power of each frame in dB of full scale, float32 of shape (len(samples) / FRAME,)."""
    power = np.mean(np.square(samples.reshape(-1, FRAME)), axis=1)
    decibels: FloatArray = (10 * np.log10(power + EPSILON)).astype(np.float32)
    return decibels
