"""Packing speech into windows: as few as possible, each cut where it hurts least.

Everything here counts frames of 32 ms. Whether a window is settled depends only on what is heard up to its longest
extent and a little beyond, so a recording of any length is packed as it is heard.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gputx_remote.speech.detector import FloatArray
from gputx_remote.speech.limits import Limits
from gputx_remote.speech.spans import FrameSpan, joined, spans

SMOOTHING = 5
"""Frames (160 ms) over which quietness is judged: about a syllable's nucleus, longer than a plosive's closure."""
DECIBELS = 20.0
"""Amid speech, being quieter by this much is worth as much as being no speech for certain."""
TAIL = 3
"""Frames (96 ms) that a window must have left behind its last speech: Silero ends up to 0.16 s early."""


@dataclass(frozen=True)
class Packed:
    """One settled window, in frames of the recording."""

    start: int
    stop: int
    speech: tuple[FrameSpan, ...]


class Packer:
    """Packs one recording. Frames go in as they are known; windows come out as soon as they are settled."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._probabilities: FloatArray = np.empty(0, np.float32)
        self._levels: FloatArray = np.empty(0, np.float32)
        self._speaking = False
        self.first = 0
        """The first frame that a window to come may hold; what lies before it is settled."""

    def push(self, probabilities: FloatArray, levels: FloatArray, *, last: bool = False) -> list[Packed]:
        """Windows settled by the frames that follow those given before.

        Args:
            probabilities: of speech, float32 of shape (frames,).
            levels: of sound in dB, the same shape: where to cut where there is no pause.
            last: nothing follows.
        """
        self._probabilities = np.concatenate([self._probabilities, probabilities])
        self._levels = np.concatenate([self._levels, levels])
        settled = []
        while (window := self._next(last)) is not None:
            settled.append(window)
        return settled

    def _next(self, last: bool) -> Packed | None:
        limits = self._limits
        known = len(self._probabilities)
        heard = spans(self._probabilities, limits, speaking=self._speaking)
        if not heard:
            self._forget_silence(last)
            return None
        start = max(0, heard[0][0] - limits.padding_before)
        limit = start + limits.max_window
        horizon = limit + limits.lookahead
        if known > horizon:
            # The same frames decide, however many more happen to be known.
            known = horizon
            heard = spans(self._probabilities[:known], limits, speaking=self._speaking)
        elif not last and known - heard[-1][1] <= limits.max_silence:
            return None
        ended = last and known == len(self._probabilities)
        cut, amid_speech = self._cut(heard, limit, known, ended)
        inside = tuple((a, min(b, cut)) for a, b in heard if a < cut)
        window = Packed(start + self.first, cut + self.first, _shifted(inside, self.first))
        self._advance(cut, speaking=amid_speech)
        return window

    def _cut(self, heard: list[FrameSpan], limit: int, known: int, ended: bool) -> tuple[int, bool]:
        """Where the window that begins before the first span ends, and whether that is amid speech."""
        limits = self._limits
        pauses: list[FrameSpan] = []
        for (_, stop), (following, _) in zip(heard, [*heard[1:], (known, known)], strict=True):
            if stop > limit - TAIL and not (ended and following == known and stop <= limit):
                break
            pause = (stop, following)
            if ended and following == known:
                return min(stop + limits.padding_after, known, limit), False
            if following - stop > limits.max_silence:
                return self._within(pause, limit), False
            pauses.append(pause)
        if pauses:
            return self._within(self._best(pauses, limit), limit), False
        return self._least_speech(limit), True

    def _best(self, pauses: list[FrameSpan], limit: int) -> FrameSpan:
        """The longest pause in the last third of the window, the latest of those long enough; else any before."""
        late = [pause for pause in pauses if pause[0] >= limit - self._limits.max_window // 3]
        return max(late or pauses, key=lambda pause: (min(pause[1] - pause[0], self._limits.comfortable), pause[0]))

    def _within(self, pause: FrameSpan, limit: int) -> int:
        """The frame of a pause at which the window ends: padded, or where a short pause is quietest."""
        start, stop = pause
        limits = self._limits
        if stop - start >= limits.padding_before + limits.padding_after:
            return min(start + limits.padding_after, limit)
        quiet = _smoothed(self._levels[start:stop])
        return min(start + int(np.argmin(quiet)) + (1 if stop - start > 1 else 0), limit)

    def _least_speech(self, limit: int) -> int:
        """Amid speech without a pause: where it is least speech and least loud in the window's last third."""
        start = limit - self._limits.max_window // 3
        cost = _smoothed(self._probabilities[start:limit]) + _smoothed(self._levels[start:limit]) / DECIBELS
        return start + int(np.argmin(cost))

    def _forget_silence(self, last: bool) -> None:
        """Let go of what can belong to no window to come."""
        if last:
            self._advance(len(self._probabilities), speaking=False)
            return
        known = len(self._probabilities)
        sounds = joined(self._probabilities, self._limits, speaking=self._speaking)
        # The last sound may yet grow into speech; what was too short before it stays so.
        growing = bool(sounds) and known - sounds[-1][1] < self._limits.min_silence
        self._advance(max(0, (sounds[-1][0] if growing else known) - self._limits.padding_before), speaking=False)

    def _advance(self, frames: int, *, speaking: bool) -> None:
        self._probabilities = self._probabilities[frames:]
        self._levels = self._levels[frames:]
        self._speaking = speaking
        self.first += frames


def _smoothed(values: FloatArray) -> FloatArray:
    """Mean over SMOOTHING frames centred on each, the edges repeated."""
    padded = np.pad(values, SMOOTHING // 2, mode="edge")
    smooth: FloatArray = np.convolve(padded, np.full(SMOOTHING, 1 / SMOOTHING, np.float32), mode="valid")
    return smooth


def _shifted(inside: tuple[FrameSpan, ...], by: int) -> tuple[FrameSpan, ...]:
    return tuple((a + by, b + by) for a, b in inside)
