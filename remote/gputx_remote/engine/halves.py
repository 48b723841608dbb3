"""A window in two, at a pause: what a model loses in thirty seconds it mostly finds in fifteen."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gputx_remote.speech.detector import FRAME
from gputx_remote.speech.levels import levels
from gputx_remote.speech.plan import Span, Window

if TYPE_CHECKING:
    from gputx_remote.decoders.decoder import Samples
    from gputx_remote.speech.plan import SpeechOptions

RATE = 16_000
SHORTEST = 2 * RATE
"""A window under two seconds is not worth parting."""
LONG_PAUSE = RATE
"""A pause is no better for being longer than a second."""


def halves(window: Window, samples: Samples, options: SpeechOptions) -> list[tuple[Window, Samples]]:
    """Two windows in place of one, parted at a long pause near its middle; where there is none, at the quietest
    moment of its middle half. Empty where it is too short.

    Args:
        window: the window.
        samples: float32 of shape (window.stop - window.start,).
        options: how much of a pause stays with the speech beside it.
    """
    length = window.stop - window.start
    if length < SHORTEST:
        return []
    pauses = [(a.stop, b.start) for a, b in zip(window.speech, window.speech[1:], strict=False)]
    if pauses:
        first, second = max(pauses, key=lambda pause: _worth(pause, window))
        stop = min(first + options.padding_after_ms * RATE // 1000, second)
        start = max(second - options.padding_before_ms * RATE // 1000, first)
    else:
        first = second = start = stop = window.start + _quietest(samples)
    before = tuple(Span(span.start, min(span.stop, first)) for span in window.speech if span.start < first)
    after = tuple(Span(max(span.start, second), span.stop) for span in window.speech if span.stop > second)
    return [
        (Window(window.index, window.start, stop, before), samples[: stop - window.start]),
        (Window(window.index, start, window.stop, after), samples[start - window.start :]),
    ]


def _worth(pause: tuple[int, int], window: Window) -> float:
    start, stop = pause
    off_middle = abs((start + stop) / 2 - (window.start + window.stop) / 2) / (window.stop - window.start)
    return min(stop - start, LONG_PAUSE) / LONG_PAUSE - 2 * off_middle


def _quietest(samples: Samples) -> int:
    """The middle of the quietest frame in the middle half."""
    frames = levels(samples[: len(samples) // FRAME * FRAME])
    first, last = len(frames) // 4, 3 * len(frames) // 4
    return (first + int(np.argmin(frames[first:last]))) * FRAME + FRAME // 2
