"""Segment times are never null, never go backwards and never pass the end, whatever a model says."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gputx_remote.transcript import Segment, Transcript, orderly

SECONDS = st.none() | st.floats(min_value=-5, max_value=4000, allow_nan=False)
PIECES = st.lists(st.tuples(SECONDS, SECONDS, st.sampled_from(["", "  ", "ja", " Hej. ", "på torsdag"])))


@given(PIECES, st.integers(min_value=0, max_value=3_600_000))
def test_times_are_ordered_and_inside_the_audio(pieces: list, duration_ms: int) -> None:
    segments = orderly(pieces, duration_ms)
    floor = 0
    for segment in segments:
        assert floor <= segment.start_ms <= segment.end_ms <= duration_ms
        floor = segment.end_ms


@given(PIECES, st.integers(min_value=0, max_value=3_600_000))
def test_no_word_is_lost_or_moved(pieces: list, duration_ms: int) -> None:
    spoken = [text.strip() for _, _, text in pieces if text.strip()]
    assert [segment.text for segment in orderly(pieces, duration_ms)] == spoken


@given(st.lists(st.tuples(st.integers(0, 500), st.integers(0, 500)), max_size=20))
def test_good_times_come_through_unchanged(gaps_and_lengths: list[tuple[int, int]]) -> None:
    pieces, expected, now = [], [], 0
    for gap, length in gaps_and_lengths:
        start, now = now + gap, now + gap + length
        pieces.append((start / 1000, now / 1000, "ord"))
        expected.append(Segment(start, now, "ord"))
    assert orderly(pieces, now) == tuple(expected)


@given(PIECES, st.integers(min_value=0, max_value=3_600_000))
def test_ordering_twice_changes_nothing(pieces: list, duration_ms: int) -> None:
    once = orderly(pieces, duration_ms)
    again = orderly([(s.start_ms / 1000, s.end_ms / 1000, s.text) for s in once], duration_ms)
    assert again == once


def test_a_missing_end_is_the_next_start() -> None:
    assert orderly([(1.0, None, "a"), (2.5, 3.0, "b")], 9000)[0] == Segment(1000, 2500, "a")


def test_a_missing_end_at_the_end_is_the_end_of_the_audio() -> None:
    assert orderly([(1.0, None, "a")], 9000) == (Segment(1000, 9000, "a"),)


def test_a_missing_start_is_the_end_before() -> None:
    assert orderly([(1.0, 2.0, "a"), (None, 3.0, "b")], 9000)[1] == Segment(2000, 3000, "b")


def test_the_text_of_a_transcript_joins_segments_by_single_spaces() -> None:
    transcript = Transcript((Segment(0, 1, " Hej. "), Segment(1, 2, ""), Segment(2, 3, "Ja.")), "sv", 3)
    assert transcript.text == "Hej. Ja."
