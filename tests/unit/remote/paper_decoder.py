"""A decoder that hears what it is told, for tests of what the engine makes of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from gputx_remote.decoders.decoder import Decoded, OutOfMemoryError, Request
from gputx_remote.vocabulary import Vocabulary

Answer = Callable[[int, Request], Decoded]


@dataclass
class PaperDecoder:
    """``answer`` is asked for every window: its number in order of encoding, and the request."""

    vocabulary: Vocabulary
    answer: Answer
    fits: int = 8
    """Windows at once; more is out of memory."""
    device: str = "cpu"
    compute_type: str = "float32"
    name: str = "paper"
    encodings: list[int] = field(default_factory=list)
    """Windows in each encoding that fitted."""
    requests: list[list[Request]] = field(default_factory=list)
    heard: int = 0

    def encode(self, windows: Sequence[np.ndarray]) -> list[int]:
        if len(windows) > self.fits:
            raise OutOfMemoryError
        self.encodings.append(len(windows))
        self.heard += len(windows)
        return list(range(self.heard - len(windows), self.heard))

    def select(self, encoded: list[int], rows: Sequence[int]) -> list[int]:
        return [encoded[row] for row in rows]

    def decode(self, encoded: list[int], requests: Sequence[Request]) -> list[Decoded]:
        self.requests.append(list(requests))
        return [self.answer(window, request) for window, request in zip(encoded, requests, strict=True)]

    def languages(self, encoded: list[int]) -> list[dict[str, float]]:
        return [{"sv": 0.9 if window else 0.2, "da": 0.1 if window else 0.8} for window in encoded]

    def align(
        self, encoded: list[int], prompt: Sequence[int], texts: Sequence[Sequence[int]], lengths: Sequence[int]
    ) -> list[Sequence[float]]:
        return [
            [length / 16_000 * n / (len(text) + 1) for n in range(len(text) + 1)]
            for text, length in zip(texts, lengths, strict=True)
        ]

    def batch_size(self) -> int:
        return 8


def written(vocabulary: Vocabulary, *parts: float | str, logprob: float = -0.1, silent: float = 0.0) -> Decoded:
    """Tokens of times (numbers) and texts, each token equally likely."""
    tokens: list[int] = []
    for part in parts:
        tokens += vocabulary.encode(part) if isinstance(part, str) else [vocabulary.timestamp_begin + round(part * 50)]
    return Decoded(tuple(tokens), (logprob,) * (len(tokens) + 1), silent)
