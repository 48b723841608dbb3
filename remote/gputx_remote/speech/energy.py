"""Speech by loudness alone, for where the network can't be loaded: what stands out from the noise round it.

It can't tell a voice from a hammer, so it errs towards speech: a window too many costs time, one too few costs words.
"""

from __future__ import annotations

import numpy as np

from gputx_remote.speech.detector import FloatArray
from gputx_remote.speech.levels import levels

HISTORY = 940
"""Frames (30 s) whose quietest part is taken for the noise: nobody speaks for so long without drawing breath."""
NOISE_QUANTILE = 0.1
MARGIN_DB = 4.0
"""Above the noise by this much, speech is as likely as not. White noise varies by 0.3 dB from frame to frame."""
SLOPE_DB = 1.5
SILENT_DB = -90.0
"""Below this no noise is looked for: it is the dither of a digital silence."""


class EnergyDetector:
    """See :class:`gputx_remote.speech.detector.Detector`. The noise floor follows the last 30 s."""

    name = "energy"

    def __init__(self) -> None:
        self._history: FloatArray = np.empty(0, np.float32)

    def probabilities(self, samples: FloatArray) -> FloatArray:
        """See :meth:`gputx_remote.speech.detector.Detector.probabilities`."""
        now = levels(samples)
        self._history = np.concatenate([self._history, now])[-HISTORY:]
        noise = max(SILENT_DB, float(np.quantile(self._history, NOISE_QUANTILE)))
        found: FloatArray = (1 / (1 + np.exp(-(now - noise - MARGIN_DB) / SLOPE_DB))).astype(np.float32)
        return found
