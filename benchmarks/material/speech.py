"""Sentences the tiny model never saw, spoken by libespeak-ng with the time of every word.

The grammar and the voices are those the model was trained on (tools/tiny-sv). Its training sentences came out of the
same grammar at known seeds, so they can be drawn again and kept out.
"""

from __future__ import annotations

import ctypes.util
import functools
import random
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np
import numpy.typing as npt

Samples = npt.NDArray[np.float32]

RECIPE = Path(__file__).resolve().parents[2] / "tools" / "tiny-sv"
RATE = 16_000
# From tools/tiny-sv/recipe.sh: seeds of make_bank.py and the number of utterances drawn with each. 5 % are added for
# those that were drawn and dropped for a word without a time.
BANKS = {1: 12_000, 2: 400, 3: 9_000, 11: 30_000}
DROPPED = 1.05
# "Ja." can't be kept apart from the "Ja." of training; the model's own evaluation draws the line here as well.
TOO_SHORT_TO_BE_NEW = 3


@dataclass(frozen=True)
class Spoken:
    """One sentence as sound. Times in seconds from its first sample."""

    samples: Samples
    words: tuple[tuple[str, float, float], ...]
    """(word with its punctuation, start, end)."""


def available() -> bool:
    """Is libespeak-ng installed? (Debian and Ubuntu: apt install libespeak-ng1 espeak-ng-data)"""
    return ctypes.util.find_library("espeak-ng") is not None


def speak(text: str, voice: str, words_a_minute: int, pitch: int) -> Spoken | None:
    """Say a sentence; None where espeak-ng gives one of its words no time of its own.

    Args:
        text: a sentence with single spaces.
        voice: what to add to "sv": one of :func:`voices`.
        words_a_minute: espeak-ng's rate. The model was trained at 130 to 190.
        pitch: espeak-ng's, 0 to 99. The model was trained at 30 to 75.
    """
    samples, starts, phones = _recipe("espeak").synth(text, voice, words_a_minute, pitch, 50)
    timed = _recipe("make_bank").timed_words(text, dict(starts), phones, len(samples) / RATE)
    if timed is None:
        return None
    return Spoken(np.asarray(samples, np.float32), tuple((word, float(a), float(b)) for word, a, b in timed))


def voices() -> tuple[str, ...]:
    """The voices the model was trained on, as :func:`speak` takes them."""
    return tuple(_recipe("espeak").VARIANTS)


def new_sentence(rng: random.Random) -> str:
    """A sentence of the grammar that is in none of the training banks, unless it is of three words or fewer."""
    while True:
        text = _drawn(rng)
        if text not in trained() or len(text.split()) <= TOO_SHORT_TO_BE_NEW:
            return text


@functools.cache
def trained() -> frozenset[str]:
    """Every sentence the banks of the recipe hold, and some that were drawn for them and dropped."""
    return frozenset().union(*(bank(seed) for seed in BANKS))


def bank(seed: int) -> frozenset[str]:
    """What the grammar gave at one seed of :data:`BANKS`."""
    rng = random.Random(seed)
    return frozenset(_drawn(rng) for _ in range(int(BANKS[seed] * DROPPED)))


def _drawn(rng: random.Random) -> str:
    grammar = _recipe("grammar")
    vars(grammar)["r"] = rng  # it draws from the random module unless told otherwise
    return str(grammar.sentence())


def _recipe(name: str) -> ModuleType:
    """A module of tools/tiny-sv, whose folder is no package."""
    if str(RECIPE) not in sys.path:
        sys.path.append(str(RECIPE))
    return __import__(name)
