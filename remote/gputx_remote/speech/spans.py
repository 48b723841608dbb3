"""From the probability of each frame to stretches of speech: hysteresis, short pauses bridged, clicks left out."""

from __future__ import annotations

import numpy as np

from gputx_remote.speech.detector import FloatArray
from gputx_remote.speech.limits import Limits

FrameSpan = tuple[int, int]


def spans(probabilities: FloatArray, limits: Limits, *, speaking: bool) -> list[FrameSpan]:
    """Speech as (first frame, frame after the last), in order.

    Speech begins where the probability reaches the threshold and lasts until it has been below the lower one for
    the shortest silence. The last span may be still going on.

    Args:
        probabilities: float32 of shape (frames,).
        limits: the thresholds and durations.
        speaking: whether the first frame was cut off from speech before it.
    """
    found = joined(probabilities, limits, speaking=speaking)
    # What was cut off from its beginning is speech however short the rest is.
    return [(a, b) for a, b in found if b - a >= limits.min_speech or (speaking and a == 0)]


def joined(probabilities: FloatArray, limits: Limits, *, speaking: bool) -> list[FrameSpan]:
    """As :func:`spans`, with what is too short to be speech."""
    # A cut may lie in a pause too short to be one: then what follows it still belongs to the speech before.
    found: list[FrameSpan] = [(0, 0)] if speaking else []
    for start, stop in _runs(probabilities, limits, speaking=speaking):
        if found and start - found[-1][1] < limits.min_silence:
            found[-1] = (found[-1][0], stop)
        else:
            found.append((start, stop))
    return [(a, b) for a, b in found if a < b]


def _runs(probabilities: FloatArray, limits: Limits, *, speaking: bool) -> list[FrameSpan]:
    """Maximal runs between an onset and the first frame below the lower threshold."""
    high = probabilities >= limits.threshold
    low = probabilities < limits.lower_threshold
    # +1 where speech is certain, -1 where silence is; between them the last certain frame decides.
    certain = np.concatenate([[1 if speaking else -1], high.astype(np.int8) - low.astype(np.int8), [-1]])
    last = np.maximum.accumulate(np.where(certain != 0, np.arange(len(certain)), 0))
    state = certain[last] > 0
    changes = np.flatnonzero(state[1:] != state[:-1])
    edges = [0, *changes.tolist()] if speaking else changes.tolist()
    return [(a, b) for a, b in zip(edges[::2], edges[1::2], strict=True) if a < b]
