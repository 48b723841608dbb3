"""Speech that a text leaves out is heard again in halves; what stays left out is marked."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from paper_decoder import PaperDecoder, written

from gputx_remote.decoders.decoder import Decoded, Request
from gputx_remote.engine.hearing import Heard, hear
from gputx_remote.engine.transcriber import TranscribeOptions, TranscriptionInfo
from gputx_remote.speech.plan import Span, SpeechOptions, Window
from gputx_remote.vocabulary import Vocabulary

RATE = 16_000
WHOLE = Window(0, 0, 20 * RATE, (Span(1 * RATE, 4 * RATE), Span(12 * RATE, 15 * RATE)))
SENTENCE = " Klockan är snart halv elva på natten."

Answer = Callable[[int, Request], Decoded]


def heard_by(
    vocabulary: Vocabulary, answers: list[Decoded], window: Window = WHOLE, **options: object
) -> tuple[list[Heard], PaperDecoder]:
    """What is heard in one window when encodings are answered in this order."""
    decoder = PaperDecoder(vocabulary, lambda number, _: answers[number])
    info = TranscriptionInfo("sv", 20_000)
    samples = np.zeros(window.stop - window.start, np.float32)
    asked = TranscribeOptions(**options)  # type: ignore[arg-type]
    (parts,) = hear(decoder, [(window, samples)], options=asked, info=info, said=())
    return parts, decoder


def says(vocabulary: Vocabulary, start: float = 1.0) -> Decoded:
    return written(vocabulary, start, SENTENCE, start + 3)


def test_a_sentence_that_was_left_out_is_found_in_halves(vocabulary: Vocabulary) -> None:
    parts, decoder = heard_by(vocabulary, [says(vocabulary), says(vocabulary), says(vocabulary, 0.2)])
    assert decoder.encodings == [1, 1, 1]  # halves never take more room than the window did
    assert [part.window.speech for part in parts] == [WHOLE.speech[:1], WHOLE.speech[1:]]
    assert all(part.attempt.verdict.good for part in parts)


def test_a_complete_text_is_decoded_once(vocabulary: Vocabulary) -> None:
    whole = written(vocabulary, 1.0, SENTENCE, 4.0, 12.0, SENTENCE, 15.0)
    parts, decoder = heard_by(vocabulary, [whole])
    assert (decoder.encodings, len(parts), parts[0].window) == ([1], 1, WHOLE)


def test_halves_that_say_no_more_are_not_taken_and_what_stands_is_suspect(vocabulary: Vocabulary) -> None:
    nothing = written(vocabulary, 0.0, 0.0)
    parts, decoder = heard_by(vocabulary, [says(vocabulary), says(vocabulary), nothing, nothing, nothing])
    assert len(decoder.encodings) == 5  # the empty half is halved once more, and then it is enough
    assert [part.window for part in parts] == [WHOLE]
    assert not parts[0].attempt.verdict.good


def test_silent_halves_do_not_count_as_complete(vocabulary: Vocabulary) -> None:
    silence = written(vocabulary, logprob=-3.0, silent=0.99)
    parts, _ = heard_by(vocabulary, [says(vocabulary), silence, silence])
    assert [part.window for part in parts] == [WHOLE]


def test_a_window_taken_for_silent_is_left_alone(vocabulary: Vocabulary) -> None:
    parts, decoder = heard_by(vocabulary, [written(vocabulary, logprob=-3.0, silent=0.99)])
    assert (decoder.encodings, parts[0].attempt.verdict.silent) == ([1], True)


@pytest.mark.parametrize(("halves", "taken"), [(-0.3, 2), (-0.46, 1), (-0.9, 1)])
def test_an_unsure_text_is_taken_in_halves_where_these_are_surer(
    vocabulary: Vocabulary, halves: float, taken: int
) -> None:
    answers = [written(vocabulary, 1.0, SENTENCE, 4.0, 12.0, SENTENCE, 15.0, logprob=-0.5)]
    answers += [written(vocabulary, start, SENTENCE, start + 3, logprob=halves) for start in (1.0, 0.2)]
    answers += [written(vocabulary, logprob=-0.9)] * 4  # a half that is unsure is halved once more
    parts, _ = heard_by(vocabulary, answers)
    assert len(parts) == taken
    assert all(part.attempt.verdict.good for part in parts)


def test_halves_that_make_a_loop_together_are_not_taken(vocabulary: Vocabulary) -> None:
    thanks = [written(vocabulary, start, " Tack tack", start + 3) for start in (1.0, 0.2)]
    parts, decoder = heard_by(vocabulary, [says(vocabulary), *thanks])
    assert len(decoder.encodings) == 3
    assert [part.window for part in parts] == [WHOLE]
    assert not parts[0].attempt.verdict.good


@pytest.mark.parametrize("detector", ["silero", "none"])
def test_a_text_whose_tokens_ran_out_is_heard_in_halves(vocabulary: Vocabulary, detector: str) -> None:
    speech = (Span(0, 20 * RATE),) if detector == "none" else WHOLE.speech
    window = Window(0, 0, 20 * RATE, speech)
    counted = " ".join(f"Rum {number} är ledigt." for number in range(30, 40))
    whole = written(vocabulary, 1.0, counted)
    short = Decoded(whole.tokens, whole.logprobs[:-1], 0.0)
    full = written(vocabulary, 0.0, counted, 10.0)
    parts, _ = heard_by(
        vocabulary, [short, full, full], window, speech=SpeechOptions(detector=detector), temperatures=(0.0,)
    )
    assert [len(part.attempt.decoded.tokens) for part in parts] == [len(full.tokens)] * 2


def test_where_nobody_looked_for_speech_pauses_are_no_holes(vocabulary: Vocabulary) -> None:
    window = Window(0, 0, 20 * RATE, (Span(0, 20 * RATE),))
    _, decoder = heard_by(vocabulary, [says(vocabulary)], window, speech=SpeechOptions(detector="none"))
    assert decoder.encodings == [1]


def test_words_of_halves_are_timed_in_their_half(vocabulary: Vocabulary) -> None:
    answers = [says(vocabulary), says(vocabulary), says(vocabulary, 0.2)]
    parts, _ = heard_by(vocabulary, answers, word_timestamps=True)
    for part in parts:
        text = [token for token in part.attempt.decoded.tokens if token < vocabulary.end_of_text]
        assert len(part.starts) == len(text) + 1
        assert part.starts[-1] <= (part.window.stop - part.window.start) / RATE
