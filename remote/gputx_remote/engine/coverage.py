"""What of a window's speech its text says nothing of: a model may leave out a sentence, or run out of tokens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gputx_remote.engine.pieces import pieces

if TYPE_CHECKING:
    from gputx_remote.decoders.decoder import Decoded
    from gputx_remote.speech.plan import Window
    from gputx_remote.vocabulary import Vocabulary

RATE = 16_000
SHORTEST_GAP = 0.15 * RATE
"""Detected speech begins and ends about this much before and behind the model's times; less is no gap."""
SHORTEST_HOLE = 0.5 * RATE
"""Gaps with no text between them that hold less speech than this are nothing that was left out: a breath, a cough."""

SLOWEST = 6
"""Bytes of UTF-8 a second: between pauses nobody is slower. Swedish is read at 12 to 18 letters a second, or at 8."""
LEISURE = 1.0
"""Seconds of speech more than that a text may be given."""


@dataclass(frozen=True, order=True)
class Lack:
    """How much is missing in a text; less compares as less."""

    cut_short: int = 0
    """Texts that ended because the tokens ran out."""
    left_out: int = 0
    """Samples of detected speech in holes: stretches of a window that no text covers."""

    def __bool__(self) -> bool:
        return self != Lack()

    def __add__(self, other: Lack) -> Lack:
        return Lack(self.cut_short + other.cut_short, self.left_out + other.left_out)


def lack(window: Window, decoded: Decoded, vocabulary: Vocabulary) -> Lack:
    """What is missing in the text of a window.

    Args:
        window: where speech was detected in it.
        decoded: its tokens, with time tokens.
        vocabulary: of the model.
    """
    holes = _holes(_gaps(window, _covered(window, decoded, vocabulary)))
    # A model that stops by itself has written <|endoftext|>, whose probability is one more than the tokens.
    cut_short = bool(decoded.tokens) and len(decoded.logprobs) <= len(decoded.tokens)
    return Lack(int(cut_short), sum(hole for hole in holes if hole >= SHORTEST_HOLE))


def _covered(window: Window, decoded: Decoded, vocabulary: Vocabulary) -> list[tuple[int, int]]:
    """Where text stands, in samples of the recording, in order."""
    found = pieces(decoded, vocabulary)
    stretches = []
    for number, piece in enumerate(found):
        later = (other.start for other in found[number + 1 :] if other.start is not None)
        end = piece.end if piece.end is not None else next(later, None)
        start = window.start + round((piece.start or 0.0) * RATE)
        stop = window.stop if end is None else window.start + round(end * RATE)
        room = (LEISURE + len(vocabulary.text(piece.tokens).encode()) / SLOWEST) * RATE
        stretches.append((start, min(stop, _spoken_until(window, start, room))))
    return sorted(stretches)


def _spoken_until(window: Window, start: int, room: float) -> int:
    """The sample at which so much has been spoken since ``start``."""
    for span in window.speech:
        begin = max(span.start, start)
        if begin + room < span.stop:
            return round(begin + room)
        room -= max(0, span.stop - begin)
    return window.stop


def _gaps(window: Window, covered: list[tuple[int, int]]) -> list[list[int]]:
    """Lengths of the speech that is not covered, those without text between them together."""
    groups: list[list[int]] = [[]]
    at = 0
    for span in window.speech:
        start = span.start
        while at < len(covered) and covered[at][1] <= start:
            at += 1
            groups.append([])
        for begin, end in covered[at:]:
            if begin >= span.stop:
                break
            if begin > start:
                groups[-1].append(begin - start)
            groups.append([])
            start = max(start, end)
        if start < span.stop:
            groups[-1].append(span.stop - start)
    return groups


def _holes(groups: list[list[int]]) -> list[int]:
    return [sum(gap for gap in gaps if gap > SHORTEST_GAP) for gaps in groups]
