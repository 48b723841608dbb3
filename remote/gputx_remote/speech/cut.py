"""From a recording's blocks to windows with their samples, while it is being read; and the plan of them.

Neither depends on how the audio comes in blocks: it is cut anew into stretches of 8 s first, the network is run on
those, and a window is settled by the frames alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np

from gputx_remote.speech import silero
from gputx_remote.speech.detector import FRAME, Detector, Everything, FloatArray, SpeechModelError
from gputx_remote.speech.energy import EnergyDetector
from gputx_remote.speech.levels import levels
from gputx_remote.speech.limits import Limits
from gputx_remote.speech.packing import Packed, Packer
from gputx_remote.speech.plan import Plan, Span, SpeechOptions, Window

STRETCH = 256 * FRAME
"""Samples (8.2 s) detected at once: from there on the network's cost no longer falls (docs/speech-detection.md)."""

Note = Callable[[str], None]


def windows(
    blocks: Iterable[FloatArray], options: SpeechOptions, *, note: Note | None = None
) -> Iterator[tuple[Window, FloatArray]]:
    """Cut a recording into windows, each as soon as it is settled; at most about a minute of audio is held.

    Args:
        blocks: float32 samples at 16 kHz mono, in order, of any lengths.
        options: how speech is found and packed.
        note: told in one line when the energy detector has to stand in.

    Yields:
        (window, its samples: float32 of shape (window.stop - window.start,)). Nothing for silence.
    """
    held = _Held()
    for window, first in _Cutting(options, note).run(held.kept(_stretches(blocks))):
        if window is not None:
            yield window, held.samples(window.start, window.stop)
        held.forget(first)


def plan(blocks: Iterable[FloatArray], options: SpeechOptions, *, note: Note | None = None) -> Plan:
    """The same windows as :func:`windows`, as a value, in one pass over the audio that keeps none of it."""
    cutting = _Cutting(options, note)
    found = tuple(window for window, _ in cutting.run(_stretches(blocks)) if window is not None)
    return Plan(cutting.heard, found, options, cutting.detector.name)


class _Cutting:
    """One pass over one recording."""

    def __init__(self, options: SpeechOptions, note: Note | None) -> None:
        self.detector = detector(options.detector, note)
        self.heard = 0
        self._packer = Packer(Limits.of(options))
        self._made = 0

    def run(self, stretches: Iterable[tuple[FloatArray, bool]]) -> Iterator[tuple[Window | None, int]]:
        """Yield (window settled or None, first sample that a later window may need)."""
        for stretch, last in stretches:
            self.heard += len(stretch)
            whole = np.pad(stretch, (0, -len(stretch) % FRAME))
            probabilities = self.detector.probabilities(whole) if len(whole) else np.empty(0, np.float32)
            for packed in self._packer.push(probabilities, levels(whole), last=last):
                yield self._window(packed), packed.stop * FRAME
            yield None, self._packer.first * FRAME

    def _window(self, packed: Packed) -> Window:
        # The last frame may be filled up with silence that is not in the recording.
        speech = tuple(Span(a * FRAME, min(b * FRAME, self.heard)) for a, b in packed.speech)
        window = Window(self._made, packed.start * FRAME, min(packed.stop * FRAME, self.heard), speech)
        self._made += 1
        return window


class _Held:
    """The samples from the first that may still be needed to the last that was read."""

    def __init__(self) -> None:
        self._first = 0
        self._pieces: list[FloatArray] = []

    def kept(self, stretches: Iterable[tuple[FloatArray, bool]]) -> Iterator[tuple[FloatArray, bool]]:
        """Pass stretches on and keep them."""
        for stretch, last in stretches:
            self._pieces.append(stretch)
            yield stretch, last

    def samples(self, start: int, stop: int) -> FloatArray:
        """Samples start to stop of the recording, a copy."""
        return np.concatenate(self._pieces)[start - self._first : stop - self._first].copy()

    def forget(self, first: int) -> None:
        """Let go of what comes before sample ``first``."""
        while self._pieces and self._first + len(self._pieces[0]) <= first:
            self._first += len(self._pieces.pop(0))


def detector(name: str, note: Note | None = None) -> Detector:
    """A fresh detector by name; the energy detector, and a note of why, where the network can't be loaded."""
    if name == "none":
        return Everything()
    if name == "energy":
        return EnergyDetector()
    try:
        return silero.load()
    except SpeechModelError as error:
        if note is not None:
            note(f"speech is found by loudness alone: {error}")
        return EnergyDetector()


def _stretches(blocks: Iterable[FloatArray]) -> Iterator[tuple[FloatArray, bool]]:
    """The same audio in stretches of STRETCH samples, and whether it is the last one, which may be shorter or empty."""
    waiting: list[FloatArray] = []
    length = 0
    for block in blocks:
        # A copy, because a source may fill the same buffer again.
        waiting.append(np.array(block, dtype=np.float32))
        length += len(block)
        if length > STRETCH:
            joined = np.concatenate(waiting)
            # One sample is held back at least, so that the last stretch is known for the last.
            whole = (length - 1) // STRETCH * STRETCH
            for start in range(0, whole, STRETCH):
                yield joined[start : start + STRETCH], False
            waiting, length = [joined[whole:]], length - whole
    yield (np.concatenate(waiting) if waiting else np.empty(0, np.float32)), True
