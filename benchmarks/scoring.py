"""A transcript held against what was said: word errors, and how far its times are from the true ones.

Words are paired by aligning the texts (jiwer), never by looking for the nearest time: a time that is wrong by
seconds would find itself a neighbour it was not meant for.
"""

from __future__ import annotations

import re
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import jiwer

from gputx_remote.transcript import Segment

if TYPE_CHECKING:
    from material.recording import Recording

PUNCTUATION = re.compile(r"[.,!?]")
LONGEST_PHRASE = 8
"""Words that count as one phrase in a repetition, at most."""


@dataclass(frozen=True)
class Pair:
    """A word of the reference, or of the hypothesis, or one of each that were aligned. Indices count words."""

    said: int | None
    heard: int | None
    equal: bool = False


@dataclass(frozen=True)
class Score:
    """One transcript of one recording. Errors of times in seconds, later than the truth positive."""

    words: int
    """In the reference."""
    substitutions: int
    deletions: int
    insertions: int
    segment_starts: tuple[float, ...]
    """Of each segment that begins with the first word of a sentence: its start less the sentence's."""
    segments_amid: int
    """Segments that begin amid a sentence, or with a word that was not said: they have no true start."""
    word_starts: tuple[float, ...]
    """Of each word heard right, where the transcript has word times."""

    @property
    def errors(self) -> int:
        return self.substitutions + self.deletions + self.insertions

    @property
    def wer(self) -> float:
        """Word error rate in percent."""
        return 100 * self.errors / self.words if self.words else 0.0

    @property
    def median_start(self) -> float | None:
        return _median(self.segment_starts)

    @property
    def worst_start(self) -> float | None:
        return max((abs(error) for error in self.segment_starts), default=None)

    @property
    def median_word(self) -> float | None:
        return _median(self.word_starts)


def normalised(text: str) -> list[str]:
    """Words in lower case without punctuation."""
    return PUNCTUATION.sub("", text.lower()).split()


def aligned(said: Sequence[str], heard: Sequence[str]) -> list[Pair]:
    """Every word of both texts once, in order, paired at the least number of word errors."""
    if not said or not heard:
        return [*(Pair(index, None) for index in range(len(said))), *(Pair(None, index) for index in range(len(heard)))]
    pairs: list[Pair] = []
    for chunk in jiwer.process_words(" ".join(said), " ".join(heard)).alignments[0]:
        ours = range(chunk.ref_start_idx, chunk.ref_end_idx)
        theirs = range(chunk.hyp_start_idx, chunk.hyp_end_idx)
        if chunk.type == "delete":
            pairs += [Pair(index, None) for index in ours]
        elif chunk.type == "insert":
            pairs += [Pair(None, index) for index in theirs]
        else:
            pairs += [Pair(a, b, chunk.type == "equal") for a, b in zip(ours, theirs, strict=True)]
    return pairs


def longest_repetition(words: Sequence[str]) -> tuple[int, tuple[str, ...]]:
    """(times, phrase): the phrase of 1 to LONGEST_PHRASE words that most often follows itself; (0, ()) for no words.

    >>> longest_repetition("ja ja nej nu nej nu nej nu".split())
    (3, ('nej', 'nu'))
    """
    best: tuple[int, tuple[str, ...]] = (0, ())
    for length in range(1, LONGEST_PHRASE + 1):
        for start in range(len(words) - length + 1):
            phrase = tuple(words[start : start + length])
            times = 1
            while tuple(words[start + times * length : start + (times + 1) * length]) == phrase:
                times += 1
            if times > best[0]:
                best = (times, phrase)
    return best


def score(recording: Recording, segments: Sequence[Segment]) -> Score:
    """Hold a transcript against the recording it was made from."""
    said = normalised(recording.text)
    heard = [word for segment in segments for word in normalised(segment.text)]
    pairs = aligned(said, heard)
    starts, amid = _segment_starts(recording, segments, pairs)
    return Score(
        len(said),
        sum(pair.said is not None and pair.heard is not None and not pair.equal for pair in pairs),
        sum(pair.heard is None for pair in pairs),
        sum(pair.said is None for pair in pairs),
        starts,
        amid,
        _word_starts(recording, segments, pairs),
    )


def _segment_starts(
    recording: Recording, segments: Sequence[Segment], pairs: Sequence[Pair]
) -> tuple[tuple[float, ...], int]:
    true_starts: dict[int, int] = {}
    position = 0
    for sentence in recording.sentences:
        true_starts[position] = sentence.start_ms
        position += len(normalised(sentence.text))
    said_by = {pair.heard: pair.said for pair in pairs if pair.equal}
    errors: list[float] = []
    amid = position = 0
    for segment in segments:
        length = len(normalised(segment.text))
        begins_with = said_by.get(position)
        position += length
        if begins_with in true_starts:
            errors.append((segment.start_ms - true_starts[begins_with]) / 1000)
        elif length:
            amid += 1
    return tuple(errors), amid


def _word_starts(recording: Recording, segments: Sequence[Segment], pairs: Sequence[Pair]) -> tuple[float, ...]:
    heard = [word.start_ms for segment in segments for word in segment.words for _ in normalised(word.text)]
    if len(heard) != sum(pair.heard is not None for pair in pairs):
        return ()  # no word times, or not for every word
    said = [word.start_ms for word in recording.words for _ in normalised(word.text)]
    return tuple(
        (heard[pair.heard] - said[pair.said]) / 1000
        for pair in pairs
        if pair.equal and pair.heard is not None and pair.said is not None
    )


def _median(errors: Sequence[float]) -> float | None:
    return statistics.median(abs(error) for error in errors) if errors else None
