"""A decoder whose turns a test holds open, and whose answers say which window was meant."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np

from gputx_remote.decoders.decoder import Decoded, OutOfMemoryError, Request
from gputx_remote.errors import EngineError

POISON = 666


def window(number: int) -> np.ndarray:
    """A window that is known again by its first sample."""
    return np.full(4, number, np.float32)


@dataclass
class GatedDecoder:
    """``gate`` is waited for at each decoding. Not thread-safe, and it says so."""

    fits: int = 16
    device: str = "cpu"
    compute_type: str = "float32"
    name: str = "gated"
    vocabulary: Any = field(default_factory=lambda: SimpleNamespace(languages={"sv": 1}))
    gate: threading.Event = field(default_factory=threading.Event)
    begun: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    turns: list[list[int]] = field(default_factory=list)
    kinds: list[str] = field(default_factory=list)
    encoded: list[list[int]] = field(default_factory=list)
    busy: threading.Lock = field(default_factory=threading.Lock)

    def encode(self, windows: Sequence[np.ndarray]) -> list[int]:
        self._check(len(windows))
        self.encoded.append([int(samples[0]) for samples in windows])
        return list(self.encoded[-1])

    def select(self, encoded: list[int], rows: Sequence[int]) -> list[int]:
        return [encoded[row] for row in rows]

    def join(self, encodings: Sequence[list[int]]) -> list[int]:
        return [number for encoded in encodings for number in encoded]

    def decode(self, encoded: list[int], requests: Sequence[Request]) -> list[Decoded]:
        assert self.busy.acquire(blocking=False), "two threads at once"
        try:
            self.begun.release()
            assert self.gate.wait(10)
            self._check(len(encoded))
            if POISON in encoded:
                raise EngineError("poison")
            self.turns.append(list(encoded))
            self.kinds.append("decode")
            return [
                Decoded((number, *request.prompt), (), request.temperature)
                for number, request in zip(encoded, requests, strict=True)
            ]
        finally:
            self.busy.release()

    def languages(self, encoded: list[int]) -> list[dict[str, float]]:
        self.kinds.append("languages")
        return [{"sv": float(number)} for number in encoded]

    def align(
        self, encoded: list[int], prompt: Sequence[int], texts: Sequence[Sequence[int]], lengths: Sequence[int]
    ) -> list[Sequence[float]]:
        self.kinds.append(f"align {list(prompt)}")
        return [(float(number), float(length)) for number, length in zip(encoded, lengths, strict=True)]

    def batch_size(self) -> int:
        return self.fits

    def _check(self, windows: int) -> None:
        if windows > self.fits:
            raise OutOfMemoryError
