"""A recording as the engine takes it: how long it is, and its samples in order, as often as they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gputx_remote.audio.opening import probe
from gputx_remote.audio.source import BLOCK_SECONDS, FloatArray
from gputx_remote.audio.stream import SAMPLE_RATE, blocks

_BLOCK = BLOCK_SECONDS * SAMPLE_RATE


@dataclass(frozen=True)
class Recording:
    """16 kHz mono float32, full scale ±1. It is read as it is needed: 12 hours never live in memory."""

    duration_ms: int
    """What its header says; the truth is known once it has been read to the end."""
    blocks: Callable[[], Iterator[FloatArray]]
    """A fresh pass over its samples, in blocks of shape (samples,). Raises AudioUnreadableError while drawing."""

    @classmethod
    def of(cls, samples: FloatArray) -> Recording:
        """Samples that are in memory already."""

        def pieces() -> Iterator[FloatArray]:
            for start in range(0, len(samples), _BLOCK):
                yield samples[start : start + _BLOCK]

        return cls(round(len(samples) * 1000 / SAMPLE_RATE), pieces)

    @classmethod
    def open(cls, path: Path) -> Recording:
        """A file. Where its header says no length, it is read once to find out.

        Raises:
            AudioUnreadableError: it is no audio, or holds not one sample.
        """
        duration_ms = probe(path).duration_ms
        if duration_ms is None:
            duration_ms = round(sum(len(block) for block in blocks(path)) * 1000 / SAMPLE_RATE)
        return cls(duration_ms, lambda: blocks(path))

    def read(self) -> FloatArray:
        """All of it at once, shape (samples,)."""
        held = list(self.blocks())
        return np.concatenate(held) if held else np.empty(0, np.float32)
