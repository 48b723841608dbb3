"""What a text says nothing of: holes in the speech of a window, and tokens that ran out."""

from __future__ import annotations

from dataclasses import replace

import pytest
from paper_decoder import written

from gputx_remote.engine.coverage import Lack, lack
from gputx_remote.speech.plan import Span, Window
from gputx_remote.vocabulary import Vocabulary

RATE = 16_000
START = 100 * RATE
SENTENCE = " Klockan är snart halv elva på natten."


def window(*spans: tuple[float, float]) -> Window:
    """30 s long, with speech at these seconds of it."""
    speech = tuple(Span(START + round(a * RATE), START + round(b * RATE)) for a, b in spans)
    return Window(0, START, START + 30 * RATE, speech)


@pytest.mark.parametrize(
    ("parts", "spans", "left_out"),
    [
        ((1.0, SENTENCE, 4.0), [(1.0, 4.0)], 0.0),
        ((1.0, SENTENCE, 4.0), [(0.9, 4.1)], 0.0),  # edges are never quite the same
        ((1.0, SENTENCE, 4.0), [(1.0, 4.0), (6.0, 6.4)], 0.0),  # a cough
        ((1.0, SENTENCE, 4.0), [(1.0, 4.0), (6.0, 8.0)], 2.0),  # behind the last text
        ((6.0, SENTENCE, 9.0), [(1.0, 4.0), (6.0, 9.0)], 3.0),  # before the first
        ((1.0, SENTENCE, 4.0, 10.0, SENTENCE, 13.0), [(1.0, 4.0), (6.0, 6.4), (7.0, 7.4), (10.0, 13.0)], 0.8),
        ((1.0, SENTENCE, 4.0, 10.0, SENTENCE, 13.0), [(1.0, 4.3), (9.8, 13.2), (20.0, 20.3)], 0.0),  # none is a hole
        ((1.0, SENTENCE), [(1.0, 4.0), (6.0, 8.0)], 0.0),  # no end: it may reach so far
        ((1.0, " Hej.", 20.0), [(1.0, 1.5), (3.0, 12.0)], 9.0 - 4 / 3),  # but no greeting takes so long
        ((), [(1.0, 4.0)], 3.0),
        ((1.0, SENTENCE, 4.0), [], 0.0),
    ],
)
def test_speech_without_text(
    vocabulary: Vocabulary, parts: tuple[float | str, ...], spans: list[tuple[float, float]], left_out: float
) -> None:
    missing = lack(window(*spans), written(vocabulary, *parts), vocabulary)
    assert missing.cut_short == 0
    assert missing.left_out / RATE == pytest.approx(left_out, abs=0.05)


def test_tokens_that_ran_out(vocabulary: Vocabulary) -> None:
    whole = written(vocabulary, 1.0, SENTENCE)
    short = replace(whole, logprobs=whole.logprobs[:-1])
    assert not lack(window((1.0, 4.0)), whole, vocabulary)
    assert lack(window((1.0, 4.0)), short, vocabulary) == Lack(cut_short=1)


def test_less_is_less() -> None:
    assert not Lack()
    assert Lack(0, 100) < Lack(0, 200) < Lack(1, 0)
    assert Lack(1, 5) + Lack(0, 7) == Lack(1, 12)
