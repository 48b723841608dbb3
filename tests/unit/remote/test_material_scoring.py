"""How transcripts are held against what was said, and the sounds that hold no speech."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import scoring
from benchmarks.material import sounds
from benchmarks.material.recording import Recording, Sentence, TimedWord
from gputx_remote.transcript import Segment, Word


def sentence(start_ms: int, *words: str) -> Sentence:
    timed = tuple(TimedWord(start_ms + 500 * i, start_ms + 500 * i + 400, word) for i, word in enumerate(words))
    return Sentence(start_ms, timed[-1].end_ms, " ".join(words), timed)


SAID = Recording(
    np.zeros(16_000 * 20, np.float32),
    (sentence(1000, "Hej", "du."), sentence(4000, "Vi", "ses,", "Anna."), sentence(9000, "Hej", "då.")),
)


def test_errors_are_counted_by_kind() -> None:
    score = scoring.score(
        SAID, [Segment(1000, 2000, "Hej du nu."), Segment(4000, 6000, "Vi ser"), Segment(9000, 9900, "hej då")]
    )
    assert (score.words, score.substitutions, score.deletions, score.insertions) == (7, 1, 1, 1)
    assert score.wer == pytest.approx(300 / 7)


def test_a_start_is_compared_with_its_own_sentence_however_late_it_is() -> None:
    # The second segment's time lies right at the start of the third sentence; by its text it belongs to the second.
    score = scoring.score(SAID, [Segment(1100, 2000, "Hej du."), Segment(9000, 9100, "Vi ses, Anna.")])
    assert score.segment_starts == (0.1, 5.0)
    assert (score.median_start, score.worst_start) == (2.55, 5.0)


def test_a_segment_that_begins_amid_a_sentence_has_no_true_start() -> None:
    score = scoring.score(
        SAID, [Segment(1000, 1400, "Hej"), Segment(1500, 2000, "du."), Segment(3800, 6000, "Vi ses, Anna.")]
    )
    assert score.segment_starts == (0.0, -0.2)
    assert score.segments_amid == 1


def test_words_are_compared_where_there_are_word_times() -> None:
    words = tuple(Word(at, at + 300, text, 1.0) for at, text in ((1100, "Hej"), (1400, "då."), (4400, "Vi")))
    score = scoring.score(SAID, [Segment(1000, 2000, "Hej då.", words[:2]), Segment(4000, 4700, "Vi", words[2:])])
    assert score.word_starts == (0.1, 0.4)  # "då" was "du"
    assert scoring.score(SAID, [Segment(1000, 2000, "Hej du.")]).median_word is None


def test_nothing_heard_is_all_left_out() -> None:
    score = scoring.score(SAID, [])
    assert (score.deletions, score.wer) == (7, 100.0)
    assert score.median_start is score.worst_start is None


@pytest.mark.parametrize(
    ("text", "times", "phrase"),
    [
        ("ja ja nej nu nej nu nej nu", 3, "nej nu"),
        ("a b c", 1, "a"),
        ("x a a a a a y", 5, "a"),
        ("ett två tre fyra fem sex sju åtta " * 4, 4, "ett två tre fyra fem sex sju åtta"),
    ],
)
def test_the_longest_repetition(text: str, times: int, phrase: str) -> None:
    assert scoring.longest_repetition(text.split()) == (times, tuple(phrase.split()))


def test_no_words_repeat_nothing() -> None:
    assert scoring.longest_repetition([]) == (0, ())


@pytest.mark.parametrize("name", sounds.NON_SPEECH)
def test_a_sound_has_the_length_and_the_level_asked_for(name: str) -> None:
    made = sounds.NON_SPEECH[name](50_000, 3)
    assert (made.dtype, made.shape) == (np.float32, (50_000,))
    assert sounds.rms(made) == pytest.approx(0.0 if name == "silence" else sounds.LOUD, rel=0.02)
    assert np.abs(made).max() <= 1
    assert np.array_equal(made, sounds.NON_SPEECH[name](50_000, 3))


def test_pink_noise_falls_by_three_db_an_octave() -> None:
    spectrum = np.abs(np.fft.rfft(sounds.pink(30 * sounds.RATE))) ** 2
    octaves = [spectrum[30 * low : 30 * 2 * low].mean() for low in (125, 250, 500, 1000, 2000)]
    falls = 10 * np.log10(np.array(octaves[:-1]) / octaves[1:])
    assert falls == pytest.approx(3.0, abs=0.3)
