"""A segment as the pieces that lines are made of: its words, with the spaces between them and their times."""

from __future__ import annotations

from dataclasses import dataclass

from gputx_remote.transcript import Segment, Word

_NO_SPACES = frozenset({"ja", "km", "lo", "my", "th", "yue", "zh"})
"""Languages written without spaces between words, by Whisper's codes: a line may end anywhere in them."""


@dataclass(frozen=True)
class Piece:
    """What no line break may part: a word as it is written."""

    start_ms: int
    end_ms: int
    text: str
    space: str
    """What stands before it where it does not begin a line: a space, or nothing."""


def pieces_of(segment: Segment, language: str) -> tuple[list[Piece], bool]:
    """The words of a tidied segment, and whether their times were heard.

    Without words that make up the text exactly, the text is cut at its spaces, and the segment's time is shared out
    by number of characters.

    Returns:
        (pieces, heard). The pieces' texts and spaces joined are the segment's text.
    """
    if heard := spaced_words(segment):
        return [Piece(word.start_ms, word.end_ms, word.text, space) for space, word in heard], True
    whole, took, at = max(len(segment.text), 1), segment.end_ms - segment.start_ms, 0
    pieces = []
    for word in segment.text.split(" "):
        space = " " if at else ""
        at += len(space)
        for text in word if language in _NO_SPACES else (word,):
            start, end = at * took // whole, (at + len(text)) * took // whole
            pieces.append(Piece(segment.start_ms + start, segment.start_ms + end, text, space))
            at, space = at + len(text), ""
    return pieces, False


def spaced_words(segment: Segment) -> list[tuple[str, Word]]:
    """Each word of a tidied segment with the space before it (one, or none); empty where they are not its text."""
    found, at = [], 0
    for word in segment.words:
        space = " " if segment.text.startswith(" ", at) else ""
        at += len(space)
        if not segment.text.startswith(word.text, at):
            return []
        found.append((space, word))
        at += len(word.text)
    return found if at == len(segment.text) else []
