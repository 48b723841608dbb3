"""From what each window was taken for to the drafts of segments: in order, in time, without what is said twice.

Windows arrive in order. Times are turned into milliseconds of the recording once, here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from gputx_remote.engine.fallback import Attempt
from gputx_remote.engine.pieces import Piece, pieces
from gputx_remote.engine.quality import Doubt, bare, loops
from gputx_remote.transcript import Measure, Segment, Word

if TYPE_CHECKING:
    from gputx_remote.speech.plan import Window
    from gputx_remote.vocabulary import Vocabulary

SAMPLES_PER_MS = 16
KEPT_REPEATS = 2
"""How often a phrase stays that the model said over and over at every temperature."""
SEAM_MS = 400
"""A word at a cut inside speech was heard on both sides of it only if it is this near on both."""
ONSET_MS = 100
"""Speech begins about so much before the detector hears it (docs/speech-detection.md)."""
ADRIFT_MS = 300
"""A start so much before the speech it belongs to is none; less is the detector's own error."""
UNSURE = 0.5
"""Text where nobody was heard is kept if the model is surer of it than this: detectors miss quiet voices."""


@dataclass(frozen=True)
class Draft:
    """A segment whose words have no times yet.

    ``logprobs`` and ``places`` have one entry for each token; a place says which of the window's text tokens it is.
    """

    start_ms: int
    end_ms: int
    text: str
    tokens: tuple[int, ...]
    logprobs: tuple[float, ...]
    places: tuple[int, ...]
    suspect: bool
    measure: Measure

    def segment(self, words: tuple[Word, ...] = ()) -> Segment:
        """The finished segment."""
        confidence = math.exp(sum(self.logprobs) / len(self.logprobs))
        return Segment(
            self.start_ms, self.end_ms, self.text, words, self.tokens, confidence, self.suspect, self.measure
        )


class Assembly:
    """The windows of one recording, one after the other."""

    def __init__(self, vocabulary: Vocabulary, repeats: int, *, floor_ms: int = 0) -> None:
        """
        Args:
            vocabulary: of the model.
            repeats: how many times running make a phrase a loop.
            floor_ms: where the first segment begins at the earliest.
        """
        self.language = ""
        """Of the text, known once the first window has been heard."""
        self._vocabulary = vocabulary
        self._repeats = repeats
        self._floor = floor_ms
        self._last: Draft | None = None
        self._cut_at: int | None = None
        """The sample at which the window before ended in the middle of speech; None where it ended in a pause."""

    def add(self, window: Window, attempt: Attempt) -> list[Draft]:
        """The drafts of the next window."""
        drafts: list[Draft] = []
        if not attempt.verdict.silent:
            decoded = attempt.decoded
            measure = Measure(
                decoded.avg_logprob, attempt.verdict.compression_ratio, decoded.no_speech_prob, attempt.temperature
            )
            kept = _heard_pieces(pieces(decoded, self._vocabulary), window)
            if Doubt.LOOP in attempt.verdict.doubts:
                kept = self._without_loops(kept)
            starts = [piece.start for piece in kept]
            for number, piece in enumerate(kept):
                following = next((start for start in starts[number + 1 :] if start is not None), None)
                draft = self._draft(window, piece, following, measure, suspect=not attempt.verdict.good)
                if draft is not None and not _invented(window, draft):
                    drafts.append(draft)
                    self._floor = draft.end_ms
            drafts = self._without_echo(window, drafts)
        self._last = drafts[-1] if drafts else None
        self._cut_at = window.stop if window.speech and window.speech[-1].stop == window.stop else None
        return drafts

    def _draft(
        self, window: Window, piece: Piece, following: float | None, measure: Measure, *, suspect: bool
    ) -> Draft | None:
        text = self._vocabulary.text(piece.tokens).strip()
        first, last = _ms(window.start), _ms(window.stop)
        if not text:
            return None
        start = first if piece.start is None else first + round(piece.start * 1000)
        if piece.end is not None:
            end = first + round(piece.end * 1000)
        elif following is not None:
            end = first + round(following * 1000)
        else:
            end = _ms(window.speech[-1].stop) if window.speech else last
        start = min(max(_out_of_pause(start, end, window), self._floor), last)
        end = min(max(end, start), last)
        return Draft(start, end, text, piece.tokens, piece.logprobs, piece.places, suspect, measure)

    def _without_loops(self, found: list[Piece]) -> list[Piece]:
        """Cut what is said over and over down to less than a loop, across the pieces of a window."""
        while True:
            kept = self._with_loops_cut(found)
            if kept is found:
                return found
            # "ja ja ja ja nej" four times over is a loop of what is left of it.
            found = kept

    def _with_loops_cut(self, found: list[Piece]) -> list[Piece]:
        """One pass; the same list where there is no loop."""
        grouped = [self._words(piece.tokens) for piece in found]
        words = [word.strip() for group in grouped for word, _ in group]
        dropped: set[int] = set()
        for start, length, times in loops(words, self._repeats):
            dropped.update(range(start + length * KEPT_REPEATS, start + length * times))
        if not dropped:
            return found
        kept: list[Piece] = []
        number = 0
        for piece, group in zip(found, grouped, strict=True):
            places: list[int] = []
            at = 0
            for _, tokens in group:
                if number not in dropped:
                    places += range(at, at + len(tokens))
                at += len(tokens)
                number += 1
            if places:
                kept.append(piece.only(places))
        return kept

    def _without_echo(self, window: Window, drafts: list[Draft]) -> list[Draft]:
        """Drop a first word that is the last one before a cut inside speech: it was heard on both sides."""
        whole = window.speech and window.speech[0].start == window.start == self._cut_at
        if not drafts or self._last is None or not whole:
            return drafts
        first, seam = drafts[0], _ms(window.start)
        before, after = self._words(self._last.tokens), self._words(first.tokens)
        near = seam - self._last.end_ms <= SEAM_MS and first.start_ms - seam <= SEAM_MS
        if not near or bare(before[-1][0]) != bare(after[0][0]):
            return drafts
        length = len(after[0][1])
        if length == len(first.tokens):
            return drafts[1:]
        tokens = first.tokens[length:]
        text = self._vocabulary.text(tokens).strip()
        rest = replace(first, text=text, tokens=tokens, logprobs=first.logprobs[length:], places=first.places[length:])
        return [rest, *drafts[1:]]

    def _words(self, tokens: Sequence[int]) -> list[tuple[str, tuple[int, ...]]]:
        """What stands between spaces, as the checks count words; the vocabulary's own words part "1-1" as well."""
        joined: list[tuple[str, tuple[int, ...]]] = []
        for text, group in self._vocabulary.words(tokens, self.language):
            if joined and not text[:1].isspace():
                before, earlier = joined.pop()
                joined.append((before + text, earlier + group))
            else:
                joined.append((text, group))
        return joined


def _heard_pieces(found: list[Piece], window: Window) -> list[Piece]:
    """Without what begins in the silence that a short window is padded with: it was never said.

    The first one stays where somebody was heard: a model may date the only word of a short window too late.
    """
    length = (window.stop - window.start) / (1000 * SAMPLES_PER_MS)
    return [
        piece if piece.start is None or piece.start < length else replace(piece, start=None)
        for number, piece in enumerate(found)
        if piece.start is None or piece.start < length or (number == 0 and window.speech)
    ]


def _invented(window: Window, draft: Draft) -> bool:
    """Whether it was written, unsurely, where nobody was heard."""
    if any(_ms(s.start) < draft.end_ms and draft.start_ms < _ms(s.stop) for s in window.speech):
        return False
    return bool(window.speech) and math.exp(sum(draft.logprobs) / len(draft.logprobs)) < UNSURE


def _out_of_pause(start_ms: int, end_ms: int, window: Window) -> int:
    """A start in a pause moved to where the speech before its end begins: a model may date the first text of a window
    to the window's edge."""
    onset = next((_ms(span.start) for span in window.speech if _ms(span.stop) > start_ms), end_ms)
    return onset - ONSET_MS if onset - start_ms > ADRIFT_MS and onset < end_ms else start_ms


def timed(draft: Draft, window: Window, starts: Sequence[float], vocabulary: Vocabulary, language: str) -> Segment:
    """A segment with the times of its words.

    Args:
        draft: the segment.
        window: where it lies.
        starts: seconds from the window's start at which each of its text tokens begins, and last where they end.
        vocabulary: groups tokens into words.
        language: of the text.
    """
    words: list[Word] = []
    floor, offset, at = draft.start_ms, _ms(window.start), 0
    for text, tokens in vocabulary.words(draft.tokens, language):
        first, last = at, at + len(tokens) - 1
        at += len(tokens)
        start_ms = offset + round(starts[draft.places[first]] * 1000)
        end_ms = offset + round(starts[draft.places[last] + 1] * 1000)
        start_ms = min(max(start_ms, floor), draft.end_ms)
        end_ms = min(max(end_ms, start_ms), draft.end_ms)
        chances = [math.exp(value) for value in draft.logprobs[first : last + 1]]
        if text.strip():
            words.append(Word(start_ms, end_ms, text.strip(), sum(chances) / len(chances)))
            floor = end_ms
    return draft.segment(tuple(words))


def _ms(samples: int) -> int:
    return round(samples / SAMPLES_PER_MS)
