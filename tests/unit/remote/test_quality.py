"""When a text is believed, and what becomes of one that is not."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from paper_decoder import PaperDecoder, written

from gputx_remote.decoders.decoder import Decoded, Request
from gputx_remote.engine import fallback
from gputx_remote.engine.quality import Doubt, compression_ratio, judge, loops
from gputx_remote.engine.transcriber import Thresholds, TranscribeOptions
from gputx_remote.vocabulary import Vocabulary

THRESHOLDS = Thresholds()


def test_the_measures_are_whispers() -> None:
    assert compression_ratio("") == 0.0
    assert compression_ratio("hej hej hej hej hej hej hej hej hej hej hej hej") > 2.4
    assert compression_ratio("Patienten har haft feber sedan i tisdags och äter inte.") < 1.5


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("ja ja ja ja", [(0, 1, 4)]),
        ("ja ja ja", []),
        ("Ja, ja. JA! ja?", [(0, 1, 4)]),
        ("och så är det och så är det och så är det och så är det då", [(0, 4, 4)]),
        ("nu ja ja ja ja nej nej nej nej", [(1, 1, 4), (5, 1, 4)]),
        ("tack för att du tittade", []),
        ("mitt nummer är 0 0 0 0 7", []),
        ("", []),
    ],
)
def test_loops_are_found(words: str, found: list[tuple[int, int, int]]) -> None:
    assert loops(words.split(), 4) == found


@given(st.lists(st.sampled_from("abc"), max_size=30))
@settings(max_examples=200, derandomize=True, deadline=None)
def test_what_is_cut_out_of_loops_leaves_none(words: list[str]) -> None:
    left = list(words)
    for start, length, times in reversed(loops(words, 4)):
        assert words[start : start + length] * times == words[start : start + length * times]
        left[start + length : start + length * times] = []
    assert len(left) <= len(words)
    if not loops(words, 4):
        assert not any(words[i : i + 4] == [words[i]] * 4 for i in range(len(words) - 3))


def test_guesswork_where_nobody_spoke_is_silence(vocabulary: Vocabulary) -> None:
    sure = judge("Hon äter.", written(vocabulary, " Hon äter.", silent=0.9), THRESHOLDS)
    assert sure.good
    assert not sure.silent
    guess = judge("Hon äter.", written(vocabulary, " Hon äter.", logprob=-1.5, silent=0.9), THRESHOLDS)
    assert guess.good
    assert guess.silent
    doubtful = judge("Hon äter.", written(vocabulary, " Hon äter.", logprob=-1.5, silent=0.1), THRESHOLDS)
    assert (doubtful.good, doubtful.doubts) == (False, {Doubt.LOGPROB})


def test_only_windows_in_doubt_are_decoded_again(vocabulary: Vocabulary) -> None:
    def answer(window: int, request: Request) -> Decoded:
        if window == 1 and request.temperature < 0.4:
            return written(vocabulary, 0.0, " Ja" * 9, 2.0)
        return written(vocabulary, 0.0, f" Rum {window}.", 2.0)

    decoder = PaperDecoder(vocabulary, answer)
    attempts = fallback.decode(decoder, decoder.encode([None] * 3), [Request((1,))] * 3, TranscribeOptions())  # type: ignore[list-item]
    assert [(a.temperature, a.tries, a.verdict.good) for a in attempts] == [
        (0.0, 1, True),
        (0.4, 3, True),
        (0.0, 1, True),
    ]
    assert [len(batch) for batch in decoder.requests] == [3, 1, 1]
    assert [batch[0].temperature for batch in decoder.requests] == [0.0, 0.2, 0.4]
    assert len({batch[0].seed for batch in decoder.requests}) == 3


def test_of_hopeless_attempts_the_least_bad_is_kept(vocabulary: Vocabulary) -> None:
    def answer(_: int, request: Request) -> Decoded:
        if request.temperature == 1.0:
            return written(vocabulary, 0.0, " Katten vill boken.", 2.0, logprob=-3.0)
        if request.temperature == 0.6:
            return written(vocabulary, 0.0, " Hon äter och han sover i bilen klockan nio." * 3, 2.0, logprob=-0.2)
        return written(vocabulary, 0.0, " Ja" * 9, 2.0, logprob=-0.1)

    decoder = PaperDecoder(vocabulary, answer)
    (attempt,) = fallback.decode(decoder, decoder.encode([None]), [Request((1,))], TranscribeOptions())  # type: ignore[list-item]
    assert (attempt.temperature, attempt.tries, attempt.verdict.good) == (0.6, 6, False)
