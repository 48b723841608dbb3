"""When each token was spoken: a monotonic path through the model's cross-attention.

The method is that of OpenAI's whisper (``whisper/timing.py``): dynamic time warping over minus the attention, where
a step goes to the next token, to the next frame, or to both.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

FRAME_SECONDS = 0.02
"""One position of the encoder's output."""


MEDIAN_FRAMES = 7
"""Width of the median filter over frames (``medfilt_width`` of whisper/timing.py)."""

Weights = npt.NDArray[np.float32]


def token_starts(attention: Weights) -> list[float]:
    """When each token was spoken, from the attention of several heads.

    Args:
        attention: cross-attention after its softmax, shape (heads, rows, frames): a row for each token's position of
            prediction, the last one predicting the end of text; the frames of the audio only, no padding.

    Returns:
        Seconds for each row, never backwards: where each token begins, and last where the text ends.
    """
    if attention.shape[1] < 2 or attention.shape[2] < 1:
        return [0.0] * attention.shape[1]
    # As if the softmax had been taken over these frames alone: what a head gave to the padding is nobody's.
    attention = attention / np.maximum(attention.sum(axis=2, keepdims=True), 1e-9)
    deviation = attention.std(axis=1, keepdims=True)
    standard = (attention - attention.mean(axis=1, keepdims=True)) / np.maximum(deviation, 1e-9)
    return starts(_median(standard).mean(axis=0))


def _median(values: Weights) -> Weights:
    """A running median over the last axis, mirrored at its ends; unchanged where it is too short for that."""
    reach = MEDIAN_FRAMES // 2
    if values.shape[-1] <= reach:
        return values
    padded = np.pad(values, [(0, 0)] * (values.ndim - 1) + [(reach, reach)], mode="reflect")
    shifted = np.lib.stride_tricks.sliding_window_view(padded, MEDIAN_FRAMES, axis=-1)
    middle: Weights = np.partition(shifted, reach, axis=-1)[..., reach]
    return middle


def starts(attention: npt.NDArray[np.float32]) -> list[float]:
    """When each row begins.

    Args:
        attention: shape (rows, frames), higher where a row was heard; the frames of the audio only, no padding.

    Returns:
        Seconds for each row, never backwards, the first 0 or more.
    """
    path = _path(-attention.astype(np.float64))
    first = np.searchsorted(path[:, 0], np.arange(len(attention)), side="left")
    return [float(frame) * FRAME_SECONDS for frame in path[first, 1]]


def _path(cost: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """The cheapest monotonic path from the first corner to the last, shape (steps, 2): (row, frame).

    Of equal ways the diagonal one is taken, then the one to the next row. Cells are filled along anti-diagonals,
    which do not depend on each other: numpy does a whole one at once.
    """
    rows, frames = cost.shape
    total = np.full((rows + 1, frames + 1), np.inf)
    total[0, 0] = 0.0
    step = np.zeros((rows + 1, frames + 1), dtype=np.int8)
    for diagonal in range(2, rows + frames + 1):
        row = np.arange(max(1, diagonal - frames), min(rows, diagonal - 1) + 1)
        frame = diagonal - row
        ways = np.stack([total[row - 1, frame - 1], total[row - 1, frame], total[row, frame - 1]])
        taken = ways.argmin(axis=0)
        step[row, frame] = taken
        total[row, frame] = cost[row - 1, frame - 1] + ways[taken, np.arange(len(row))]
    row, frame = rows, frames
    path = []
    while row > 0 and frame > 0:
        path.append((row - 1, frame - 1))
        taken = step[row, frame]
        row -= taken != 2
        frame -= taken != 1
    return np.array(path[::-1], dtype=np.int64)
