"""Where lines and cues end: as few as the limits allow, and among those where a reader would pause.

whisper fills each line before it begins the next. Guidelines for subtitles (Netflix's timed text style guide,
"Line treatment"; the BBC's subtitle guidelines, "Line breaks") ask for breaks after punctuation and before
conjunctions, never between an article or a preposition and its noun, and for lines of like length.
"""

from __future__ import annotations

from collections.abc import Sequence

from gputx_remote.writers.options import WriterOptions
from gputx_remote.writers.pieces import Piece

Cost = tuple[int, int, int]
"""Cues, lines, and how badly they end; compared in this order."""

_SENTENCE, _CLAUSE, _CONJUNCTION, _PLAIN, _BOUND = 0, 30, 60, 100, 200
_RAGGED = 200
"""The cost of an empty line: two even lines broken mid-phrase beat a full one after a lone "Ja,"."""

# Swedish first; the English ones serve --task translate.
_CONJUNCTIONS = """
och men eller för så att som när om där medan eftersom &
and but or because that which when if
"""
_TIED_TO_THE_NEXT = """
en ett den det de i på av till från med för om under över vid mot hos utan mellan genom att och som inte
är var har hade kan ska skulle vill min din sin vår er &
a an the of in on at to from with for by is are was and or
"""
_JOIN, _BIND = frozenset(_CONJUNCTIONS.split()), frozenset(_TIED_TO_THE_NEXT.split())


def broken(pieces: Sequence[Piece], options: WriterOptions) -> list[list[list[Piece]]]:
    """Cut pieces into cues of lines within the limits.

    Args:
        pieces: the words of one segment, one at least.
        options: the limits; a word wider than a line has one of its own.

    Returns:
        Cues, each a list of lines, each a list of pieces: fewest cues, then fewest lines, then the best breaks.
        The same input gives the same lines always.
    """
    if not options.wraps:
        return [[list(pieces)]]
    return _walk(pieces, *_solve(pieces, options))


def _solve(pieces: Sequence[Piece], options: WriterOptions) -> tuple[list[list[tuple[int, bool]]], int]:
    """By dynamic programming from the end: for each piece and lines already in its cue, where its line best ends.

    Returns:
        (choices, most): ``choices[i][lines]`` is (the index after the line's last piece, whether it begins a cue),
        with ``lines`` counted no further than ``most``.
    """
    count, limit = len(pieces), options.lines_per_cue
    # Without a limit it matters only whether the cue has a line yet.
    most = 1 if limit is None else min(limit, count)
    costs: list[list[Cost]] = [[(0, 0, 0)] * (most + 1) for _ in range(count + 1)]
    choices: list[list[tuple[int, bool]]] = [[(0, False)] * (most + 1) for _ in range(count)]
    for first in range(count - 1, -1, -1):
        ends = _line_ends(pieces, first, options)
        pause = _pause(pieces, first)
        for lines in range(most + 1):
            best: tuple[Cost, tuple[int, bool]] | None = None
            for after, ragged in ends:
                for fresh in _next_line_may(lines, limit):
                    # Between cues a reader waits, so a break there counts twice.
                    badness = ragged + (pause * (2 if fresh else 1) if first else 0)
                    cues, rows, rest = costs[after][1 if fresh else min(lines + 1, most)]
                    cost = (cues + fresh, rows + 1, rest + badness)
                    if best is None or cost < best[0]:
                        best = cost, (after, fresh)
            assert best is not None  # noqa: S101 - a line of one piece always fits
            costs[first][lines], choices[first][lines] = best
    return choices, most


def _next_line_may(lines: int, limit: int | None) -> tuple[bool, ...]:
    """Whether a line after so many in its cue may go on with it (False), begin the next (True), or either."""
    if not lines or lines == limit:
        return (True,)
    return (False,) if limit is None else (False, True)


def _walk(pieces: Sequence[Piece], choices: list[list[tuple[int, bool]]], most: int) -> list[list[list[Piece]]]:
    cues: list[list[list[Piece]]] = []
    first, lines = 0, 0
    while first < len(pieces):
        after, fresh = choices[first][lines]
        if fresh:
            cues.append([])
        cues[-1].append(list(pieces[first:after]))
        first, lines = after, 1 if fresh else min(lines + 1, most)
    return cues


def _line_ends(pieces: Sequence[Piece], first: int, options: WriterOptions) -> list[tuple[int, int]]:
    """Where a line that begins at ``first`` may end, and how ragged each would be."""
    ends: list[tuple[int, int]] = []
    width = 0
    for after in range(first + 1, len(pieces) + 1):
        piece = pieces[after - 1]
        width += len(piece.text) + (len(piece.space) if after > first + 1 else 0)
        limits = [(width, options.max_line_width), (after - first, options.max_words_per_line)]
        if after > first + 1 and any(limit and used > limit for used, limit in limits):
            return ends
        full = max(min(used * 1000 // limit, 1000) for used, limit in limits if limit)
        ends.append((after, _RAGGED * (1000 - full) ** 2 // 1_000_000))
    # The rest fits, and no cut of it has so few lines.
    return ends[-1:]


def _pause(pieces: Sequence[Piece], first: int) -> int:
    """How badly a reader takes a break before ``first``."""
    if not first:
        return 0
    before, after = pieces[first - 1].text.lower().rstrip("\"'”’»)"), pieces[first].text.lower()
    if before.endswith((".", "?", "!", "…", "。", "？", "！")):
        return _SENTENCE
    if before.endswith((",", ";", ":", "–", "—", "、", "，")):
        return _CLAUSE
    if before in _BIND:
        return _BOUND
    if after in {"–", "—", "-"}:
        return _CLAUSE
    return _CONJUNCTION if after in _JOIN else _PLAIN
