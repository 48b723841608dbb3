"""The speech that benchmarks are measured on: are its times true, and is it new to the model?"""

from __future__ import annotations

import csv
import itertools
import json

import numpy as np
import pytest
from material import HELD_OUT

from benchmarks.material import recording, speech, variants
from benchmarks.material.sounds import rms

pytestmark = pytest.mark.skipif(not speech.available(), reason="libespeak-ng is not installed")

SECONDS = 40.0


@pytest.fixture(scope="module")
def clean() -> recording.Recording:
    """Without the little noise that lies under every variant."""
    return recording.record(recording.Script(SECONDS, seed=5))


def test_a_seed_always_gives_the_same_recording(clean: recording.Recording) -> None:
    again = recording.record(recording.Script(SECONDS, seed=5))
    # Now and then, on a busy machine, espeak-ng makes a word some samples longer or shorter than the last time.
    assert again.text == clean.text
    assert len(again.samples) == len(clean.samples)
    for before, after in zip(clean.words, again.words, strict=True):
        assert abs(before.start_ms - after.start_ms) < 50
    assert recording.record(recording.Script(SECONDS, seed=6)).text != clean.text


def test_words_are_in_order_and_inside_their_sentences(clean: recording.Recording) -> None:
    assert len(clean.sentences) >= 4
    for sentence in clean.sentences:
        assert " ".join(word.text for word in sentence.words) == sentence.text
        assert (sentence.start_ms, sentence.end_ms) == (sentence.words[0].start_ms, sentence.words[-1].end_ms)
        for word in sentence.words:
            assert word.start_ms < word.end_ms
        for word, following in itertools.pairwise(sentence.words):
            assert word.end_ms <= following.start_ms
    for sentence, following in itertools.pairwise(clean.sentences):
        assert sentence.end_ms + 1000 <= following.start_ms + 1  # rounded to milliseconds
    assert clean.sentences[-1].end_ms <= SECONDS * 1000


def test_there_is_sound_where_a_word_is_said_and_none_between_sentences(clean: recording.Recording) -> None:
    for word in clean.words:
        assert rms(clean.samples[word.start_ms * 16 : word.end_ms * 16]) > 0.005, word
    edges = [0, *(edge for sentence in clean.sentences for edge in (sentence.start_ms, sentence.end_ms))]
    for end, start in zip(edges[::2], edges[1::2], strict=False):
        assert rms(clean.samples[end * 16 + 16 : start * 16 - 16]) == 0.0


def test_longer_sentences_are_new_to_the_model(clean: recording.Recording) -> None:
    assert not {s.text for s in clean.sentences if len(s.text.split()) > 3} & speech.trained()


def test_the_banks_are_those_the_model_was_trained_on() -> None:
    # The model's own held-out sentences were drawn so as not to be in the first bank: so none is in what is drawn here.
    with (HELD_OUT / "clips.tsv").open(encoding="utf-8", newline="") as file:
        texts = [row["text"] for row in csv.DictReader(file, delimiter="\t")]
    texts.append(json.loads((HELD_OUT / "long20min.json").read_text(encoding="utf-8"))["text"])
    sentences = {f"{part.strip()}." for text in texts for part in text.split(".") if len(part.split()) > 3}
    assert len(sentences) > 150
    assert not sentences & speech.bank(1)
    # Without that care some would be: as many as in a bank it did not know of.
    assert sentences & speech.bank(11)


def test_what_was_trained_covers_short_sentences_too() -> None:
    assert {"Ja.", "Nej.", "Mötet är avslutat."} <= speech.trained()
    assert len(speech.trained()) > 30_000


@pytest.mark.parametrize(("name", "snr"), [("white 20 dB", 20), ("babble 10 dB", 10)])
def test_noise_is_as_loud_as_its_name_says(name: str, snr: float, clean: recording.Recording) -> None:
    made = variants.make(name, SECONDS, seed=5)
    assert made.sentences == clean.sentences
    heard = np.concatenate([clean.samples[s.start_ms * 16 : s.end_ms * 16] for s in clean.sentences])
    noise = made.samples - clean.samples
    assert 20 * np.log10(rms(heard) / rms(noise)) == pytest.approx(snr, abs=0.3)


def test_quiet_is_40_db_down(clean: recording.Recording) -> None:
    quiet = variants.make("quiet", SECONDS, seed=5)
    assert 20 * np.log10(rms(clean.samples) / rms(quiet.samples)) == pytest.approx(40, abs=0.3)


def test_the_other_voice_cuts_in() -> None:
    overlap = variants.make("overlap", SECONDS, seed=5)
    cut_in = [b for a, b in itertools.pairwise(overlap.sentences) if b.start_ms < a.end_ms]
    assert cut_in
    assert all(len(sentence.words) >= 3 for sentence in cut_in)


def test_silences_last_30_seconds() -> None:
    silences = variants.make("silences", 90, seed=5)
    gaps = [b.start_ms - a.end_ms for a, b in itertools.pairwise(silences.sentences)]
    assert sum(gap >= 30_000 for gap in gaps) >= 1
    assert sum(gap < 7_000 for gap in gaps) >= 4


def test_speed_changes_how_long_words_take() -> None:
    def pace(name: str) -> float:
        made = variants.make(name, SECONDS, seed=5)
        return sum(s.end_ms - s.start_ms for s in made.sentences) / sum(len(s.text) for s in made.sentences)

    assert pace("0.8x") / pace("1.3x") == pytest.approx(1.3 / 0.8, rel=0.12)


def test_an_unknown_variant_is_refused() -> None:
    with pytest.raises(ValueError, match="there are clean"):
        variants.make("loud", 10)
