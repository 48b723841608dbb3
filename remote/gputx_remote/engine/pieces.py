"""From the tokens of one window to timed pieces of text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from gputx_remote.decoders.decoder import Decoded

if TYPE_CHECKING:
    from gputx_remote.vocabulary import Vocabulary


@dataclass(frozen=True)
class Piece:
    """What stands between two time tokens. Seconds from the start of the window; None where the model gave none."""

    start: float | None
    end: float | None
    tokens: tuple[int, ...]
    logprobs: tuple[float, ...]
    places: tuple[int, ...]
    """Which of the window's text tokens each of them is."""

    def only(self, kept: Sequence[int]) -> Piece:
        """With only these of its tokens, by their index in it."""
        return replace(
            self,
            tokens=tuple(self.tokens[i] for i in kept),
            logprobs=tuple(self.logprobs[i] for i in kept),
            places=tuple(self.places[i] for i in kept),
        )


def pieces(decoded: Decoded, vocabulary: Vocabulary) -> list[Piece]:
    """Split a window's tokens at its time tokens.

    Text between a start and an end token is a piece. Text behind an end token begins there; text behind the last
    one has no end. Tokens that are neither text nor time are dropped.
    """
    found: list[Piece] = []
    start: float | None = None
    held: list[tuple[int, float, int]] = []
    place = 0
    for token, logprob in zip(decoded.tokens, decoded.logprobs, strict=False):
        if token >= vocabulary.timestamp_begin:
            time = vocabulary.seconds(token)
            if held:
                found.append(_piece(start, time, held))
                held = []
            start = time
        elif token < vocabulary.end_of_text:
            held.append((token, logprob, place))
            place += 1
    if held:
        found.append(_piece(start, None, held))
    return found


def _piece(start: float | None, end: float | None, held: Sequence[tuple[int, float, int]]) -> Piece:
    tokens, logprobs, places = zip(*held, strict=True)
    return Piece(start, end, tokens, logprobs, places)
