"""Quiet voices made as loud as the model expects them.

Whisper's log-mel is not free of level: 20 dB less are half a unit less on a scale of two and a half, so a voice far
from the microphone is an input the model has seldom seen. Ordinary recordings stay as they are, sample for sample.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from gputx_remote.decoders.decoder import Samples
    from gputx_remote.speech.plan import Window

QUIET_DB = -45.0
"""Mean power of speech, in dB of full scale, below which it is raised. From there on words are lost, a few at -50 and
half of them at -75 (docs/accuracy.md)."""
RAISED_TO_DB = -26.0
"""The level that ITU-T P.56 and the speech codecs' tests call normal."""


def raised(samples: Samples, window: Window) -> Samples:
    """A window's samples, the same ones unless its speech is quiet. Nothing is raised over full scale.

    Args:
        samples: float32 of shape (window.stop - window.start,), full scale ±1.
        window: where in them somebody speaks; all of it counts where no speech is marked.
    """
    spoken = [samples[span.start - window.start : span.stop - window.start] for span in window.speech]
    power = float(np.mean(np.square(np.concatenate(spoken or [samples]), dtype=np.float64))) if len(samples) else 0.0
    if power <= 0 or 10 * np.log10(power) >= QUIET_DB:
        return samples
    gain = min(10 ** (RAISED_TO_DB / 20) / np.sqrt(power), 1 / float(np.max(np.abs(samples))))
    louder: Samples = samples * np.float32(gain)
    return louder
