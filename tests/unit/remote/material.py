"""What the tests of the payload are made of: held-out speech, tones, and how words are counted."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import jiwer
import numpy as np

ROOT = Path(__file__).resolve().parents[3]
HELD_OUT = ROOT / "examples" / "held-out"


@dataclass(frozen=True)
class Clip:
    """A held-out recording and what is said in it."""

    path: Path
    text: str

    def wer(self, hypothesis: str) -> float:
        """Word error rate from 0 to 1; lower case, no punctuation."""
        return float(jiwer.wer(normalised(self.text), normalised(hypothesis)))


def normalised(text: str) -> str:
    return re.sub(r"[.,!?]", "", text.lower())


def tone(seconds: float, rate: int, *, hertz: float = 440.0, channels: int = 1) -> np.ndarray:
    """A sine at half scale, float32 of shape (samples, channels)."""
    mono = 0.5 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)
    return np.repeat(mono[:, None], channels, axis=1).astype(np.float32)


MakeFile = Callable[..., Path]
