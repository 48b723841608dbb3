"""Whether a window's text can be believed: Whisper's own measures, and loops."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from gputx_remote.decoders.decoder import Decoded
from gputx_remote.engine.transcriber import Thresholds

LONGEST_PHRASE = 12
"""Words in the longest phrase that is looked for as a loop; longer ones show in the compression ratio."""


class Doubt(StrEnum):
    """Why a text is not believed."""

    COMPRESSION = "compression ratio"
    LOGPROB = "log probability"
    LOOP = "loop"
    INCOMPLETE = "incomplete"
    """Speech was left out, in halves as well, or the tokens ran out."""


@dataclass(frozen=True)
class Verdict:
    """What the checks say of one window's text."""

    compression_ratio: float
    doubts: frozenset[Doubt]
    silent: bool
    """Nobody spoke here: the text is dropped, and that is no failure."""

    @property
    def good(self) -> bool:
        return self.silent or not self.doubts


def compression_ratio(text: str) -> float:
    """Bytes of UTF-8 over bytes that zlib makes of them (``whisper/utils.py``); 0 for no text."""
    data = text.encode()
    return len(data) / len(zlib.compress(data)) if data else 0.0


def judge(text: str, decoded: Decoded, thresholds: Thresholds) -> Verdict:
    """Check one window's text.

    Args:
        text: what its tokens say.
        decoded: the tokens and their probabilities.
        thresholds: where belief ends.
    """
    ratio = compression_ratio(text)
    doubts = set()
    if ratio > thresholds.compression_ratio:
        doubts.add(Doubt.COMPRESSION)
    if decoded.avg_logprob < thresholds.logprob:
        doubts.add(Doubt.LOGPROB)
    if loops(text.split(), thresholds.repeats):
        doubts.add(Doubt.LOOP)
    silent = decoded.no_speech_prob > thresholds.no_speech and Doubt.LOGPROB in doubts
    return Verdict(ratio, frozenset(doubts), silent)


def loops(words: Sequence[str], repeats: int) -> list[tuple[int, int, int]]:
    """Phrases said over and over.

    Args:
        words: a text's words in order. Case and punctuation don't tell words apart. What has no letter is in no loop:
            a telephone number may hold four zeros.
        repeats: how many times running make a loop.

    Returns:
        (start, length of the phrase, times) in words, from left to right, without overlap; of phrases that fit,
        the shortest.
    """
    plain = [bare(word) for word in words]
    found = []
    start = 0
    while start < len(plain):
        loop = _loop_at(plain, start, repeats)
        if loop is None:
            start += 1
            continue
        length, times = loop
        found.append((start, length, times))
        start += length * times
    return found


def _loop_at(words: Sequence[str], start: int, repeats: int) -> tuple[int, int] | None:
    for length in range(1, LONGEST_PHRASE + 1):
        times = 1
        while words[start + times * length : start + (times + 1) * length] == words[start : start + length]:
            times += 1
        if times >= repeats and any(c.isalpha() for word in words[start : start + length] for c in word):
            return length, times
    return None


def bare(word: str) -> str:
    """A word without case and the punctuation round it; what is all punctuation stays."""
    return word.strip(" .,;:!?…–—-\"'”’»«()[]").casefold() or word
