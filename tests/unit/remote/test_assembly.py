"""From decoded windows to segments: times, seams, loops and what was made up."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from paper_decoder import written

from gputx_remote.decoders.decoder import Decoded
from gputx_remote.engine.assembly import Assembly, Draft, timed
from gputx_remote.engine.fallback import Attempt
from gputx_remote.engine.quality import judge, loops
from gputx_remote.engine.transcriber import Thresholds
from gputx_remote.speech.plan import Span, Window
from gputx_remote.vocabulary import Vocabulary

SECOND = 16_000


def window(
    start: float, stop: float, *, index: int = 0, speech: tuple[tuple[float, float], ...] | None = None
) -> Window:
    """A window by its seconds, all of it speech unless said."""
    spans = ((start, stop),) if speech is None else speech
    return Window(
        index,
        round(start * SECOND),
        round(stop * SECOND),
        tuple(Span(round(a * SECOND), round(b * SECOND)) for a, b in spans),
    )


def attempt(vocabulary: Vocabulary, decoded: Decoded) -> Attempt:
    return Attempt(decoded, 0.0, judge(vocabulary.text(decoded.tokens), decoded, Thresholds()), 1)


@pytest.fixture
def assembly(vocabulary: Vocabulary) -> Assembly:
    return Assembly(vocabulary, repeats=4)


def said(drafts: list[Draft]) -> list[tuple[int, int, str]]:
    return [(draft.start_ms, draft.end_ms, draft.text) for draft in drafts]


def test_times_are_those_of_the_recording(assembly: Assembly, vocabulary: Vocabulary) -> None:
    decoded = written(vocabulary, 0.5, " Hon äter.", 2.0, 2.0, " Han sover.", 4.0)
    assert said(assembly.add(window(100, 105), attempt(vocabulary, decoded))) == [
        (100_500, 102_000, "Hon äter."),
        (102_000, 104_000, "Han sover."),
    ]


def test_a_text_without_an_end_ends_with_the_speech(assembly: Assembly, vocabulary: Vocabulary) -> None:
    place = window(10, 20, speech=((10.5, 14.0),))
    decoded = written(vocabulary, 0.5, " Hon äter.")
    assert said(assembly.add(place, attempt(vocabulary, decoded))) == [(10_500, 14_000, "Hon äter.")]


def test_what_begins_in_the_padding_was_never_said(assembly: Assembly, vocabulary: Vocabulary) -> None:
    decoded = written(vocabulary, 0.0, " Hon äter.", 2.0, 5.0, " Tack.", 6.0)
    assert said(assembly.add(window(0, 5), attempt(vocabulary, decoded))) == [(0, 2000, "Hon äter.")]


@pytest.mark.parametrize(("logprob", "kept"), [(-0.1, True), (-0.9, False)])
def test_where_nobody_was_heard_only_a_sure_text_stays(
    assembly: Assembly, vocabulary: Vocabulary, logprob: float, kept: bool
) -> None:
    place = window(0, 20, speech=((0.0, 5.0),))
    decoded = written(vocabulary, 10.0, " Hon äter.", 12.0, logprob=logprob)
    assert bool(assembly.add(place, attempt(vocabulary, decoded))) is kept


@pytest.mark.parametrize(
    ("begun", "ended", "start_ms"),
    [
        (0.0, 3.0, 900),  # the edge of the window, a second before anyone speaks
        (0.8, 3.0, 800),  # the detector is that late
        (1.5, 3.0, 1500),
        (4.5, 8.0, 5900),  # the pause behind what was said before
        (4.5, 5.5, 4500),  # nobody was heard there at all: a quiet voice
    ],
)
def test_text_does_not_begin_in_a_pause(
    assembly: Assembly, vocabulary: Vocabulary, begun: float, ended: float, start_ms: int
) -> None:
    place = window(0, 10, speech=((1.0, 4.0), (6.0, 9.0)))
    (draft,) = assembly.add(place, attempt(vocabulary, written(vocabulary, begun, " Hon äter.", ended)))
    assert (draft.start_ms, draft.end_ms) == (start_ms, round(ended * 1000))


def test_a_loop_is_cut_down_across_pieces(assembly: Assembly, vocabulary: Vocabulary) -> None:
    loop = [part for n in range(6) for part in (1.0 + n, " Hon äter.", 2.0 + n)]
    decoded = written(vocabulary, 0.0, " Ja, tack.", 1.0, *loop)
    drafts = assembly.add(window(0, 10), attempt(vocabulary, decoded))
    assert [draft.text for draft in drafts] == ["Ja, tack.", "Hon äter.", "Hon äter."]
    assert all(draft.suspect for draft in drafts)


def test_a_loop_of_what_is_left_of_loops_is_cut_as_well(assembly: Assembly, vocabulary: Vocabulary) -> None:
    decoded = written(vocabulary, 0.0, (" ja" * 4 + " nej") * 4, 9.0)
    (draft,) = assembly.add(window(0, 10), attempt(vocabulary, decoded))
    assert not loops(draft.text.split(), 4)
    assert draft.suspect


@pytest.mark.parametrize("text", [" Det kostar 2000000 kronor.", " Linje 1-1-1-1-1.", " Numret är 0 0 0 0 7."])
def test_what_only_looks_like_a_loop_stays_whole(assembly: Assembly, vocabulary: Vocabulary, text: str) -> None:
    (draft,) = assembly.add(window(0, 10), attempt(vocabulary, written(vocabulary, 0.0, text, 5.0)))
    assert (draft.text, draft.suspect) == (text.strip(), False)


def test_the_only_word_of_a_short_window_is_kept_however_it_is_dated(
    assembly: Assembly, vocabulary: Vocabulary
) -> None:
    drafts = assembly.add(window(5.0, 5.6), attempt(vocabulary, written(vocabulary, 0.7, " Ja", 1.0)))
    assert said(drafts) == [(5000, 5600, "Ja")]


def test_the_same_word_on_both_sides_of_a_pause_was_said_twice(assembly: Assembly, vocabulary: Vocabulary) -> None:
    before, after = window(0, 28, speech=((0.5, 27.8),)), window(28, 40, index=1, speech=((28.2, 39.0),))
    assembly.add(before, attempt(vocabulary, written(vocabulary, 27.0, " Ja.", 27.8)))
    drafts = assembly.add(after, attempt(vocabulary, written(vocabulary, 0.2, " Ja, tack.", 1.2)))
    assert [draft.text for draft in drafts] == ["Ja, tack."]


def test_a_word_heard_on_both_sides_of_a_cut_stands_once(assembly: Assembly, vocabulary: Vocabulary) -> None:
    assembly.add(window(0, 30), attempt(vocabulary, written(vocabulary, 28.0, " Hon ser medicinen", 30.0)))
    drafts = assembly.add(
        window(30, 40, index=1), attempt(vocabulary, written(vocabulary, 0.0, " medicinen på lördag.", 2.0))
    )
    assert said(drafts) == [(30_000, 32_000, "på lördag.")]
    assert len(drafts[0].tokens) == len(drafts[0].logprobs) == len(drafts[0].places)


@pytest.mark.parametrize(("start", "begins"), [(31.0, 0.0), (30.0, 1.5)])
def test_a_word_said_twice_stands_twice(
    assembly: Assembly, vocabulary: Vocabulary, start: float, begins: float
) -> None:
    assembly.add(window(0, 30), attempt(vocabulary, written(vocabulary, 28.0, " Ja", 30.0)))
    again = written(vocabulary, begins, " Ja, tack.", begins + 1)
    assert [d.text for d in assembly.add(window(start, 40, index=1), attempt(vocabulary, again))] == ["Ja, tack."]


def test_words_lie_in_their_segment_and_in_order(assembly: Assembly, vocabulary: Vocabulary) -> None:
    place = window(10, 20)
    decoded = written(vocabulary, 1.0, " Hon äter.", 3.0, 4.0, " Han sover.", 6.0, logprob=-0.5)
    drafts = assembly.add(place, attempt(vocabulary, decoded))
    count = sum(len(draft.tokens) for draft in drafts)
    starts = [0.2 + 6.5 * n / count for n in range(count + 1)]
    segments = [timed(draft, place, starts, vocabulary, "sv") for draft in drafts]
    assert [word.text for segment in segments for word in segment.words] == ["Hon", "äter.", "Han", "sover."]
    for segment in segments:
        floor = segment.start_ms
        for word in segment.words:
            assert floor <= word.start_ms <= word.end_ms <= segment.end_ms
            assert word.probability == pytest.approx(math.exp(-0.5))
            floor = word.end_ms
        assert segment.confidence == pytest.approx(math.exp(-0.5))


times = st.one_of(st.floats(0, 30).map(lambda value: round(value, 2)), st.sampled_from([" Hon äter.", " Ja", " tack."]))


@given(st.lists(st.lists(times, max_size=12), min_size=1, max_size=4))
@settings(max_examples=150, derandomize=True, deadline=None)
def test_whatever_a_model_writes_times_go_forward(vocabulary: Vocabulary, found: list[list[float | str]]) -> None:
    assembly = Assembly(vocabulary, repeats=4)
    floor = 0
    for index, parts in enumerate(found):
        place = window(index * 25.0, index * 25.0 + 20.0, index=index)
        for draft in assembly.add(place, attempt(vocabulary, written(vocabulary, *parts))):
            assert floor <= draft.start_ms <= draft.end_ms <= (index * 25 + 20) * 1000
            assert draft.text
            assert len(draft.tokens) == len(draft.logprobs) == len(draft.places)
            floor = draft.end_ms
