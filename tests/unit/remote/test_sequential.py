"""Whisper's long-form by transformers: what each window is told beforehand, and what a silent recording is in."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from material import HELD_OUT

from gputx_remote import audio
from gputx_remote.audio.recording import Recording
from gputx_remote.engine.reference import ReferenceTranscriber
from gputx_remote.engine.sequential import SequentialTranscriber
from gputx_remote.engine.transcriber import TranscribeOptions
from gputx_remote.vocabulary import Vocabulary

NAMES = "Anna Berg och Erik Lund"
WORDS = "Almqvist, Dahlgren"


class Told:
    """Takes down what stands before <|startoftranscript|> in each window, and lets it be decoded without: the tiny
    model was not trained with text before."""

    def __init__(self, model: Any, vocabulary: Vocabulary) -> None:
        self._decode, self._vocabulary = model.generate_with_fallback, vocabulary
        self.windows: list[list[int]] = []

    def __call__(self, *, decoder_input_ids: Any, kwargs: dict[str, Any], **named: Any) -> Any:
        mask = kwargs.pop("decoder_attention_mask", None)
        assert mask is None or (mask.shape == decoder_input_ids.shape and mask.all())
        tokens = decoder_input_ids[0].tolist()
        begin = tokens.index(self._vocabulary.start_of_transcript)
        self.windows.append(tokens[:begin])
        for processor in named["logits_processor"]:
            if hasattr(processor, "set_begin_index"):
                processor.set_begin_index(len(tokens) - begin)
        return self._decode(decoder_input_ids=decoder_input_ids[:, begin:], kwargs=kwargs, **named)


@pytest.fixture(scope="module")
def sequential(engine: ReferenceTranscriber) -> SequentialTranscriber:
    from transformers import WhisperProcessor  # noqa: PLC0415 - seconds of imports for these tests alone

    from gputx_remote.decoders.transformers_model import Checkpoint  # noqa: PLC0415

    pipeline = engine._pipeline
    return SequentialTranscriber(
        Checkpoint(pipeline.model, WhisperProcessor(pipeline.feature_extractor, pipeline.tokenizer)), lambda _: None
    )


@pytest.fixture
def told(engine: ReferenceTranscriber, vocabulary: Vocabulary) -> Iterator[Told]:
    model = engine._pipeline.model
    model.generate_with_fallback = noted = Told(model, vocabulary)
    yield noted
    del model.generate_with_fallback


def transcribe(engine: SequentialTranscriber, samples: np.ndarray, **options: Any) -> tuple[str, str]:
    segments, info = engine.transcribe(Recording.of(samples), TranscribeOptions(temperatures=(0.0,), **options))
    return " ".join(segment.text for segment in segments), info.language


@pytest.fixture(scope="module")
def speech() -> np.ndarray:
    return audio.read(HELD_OUT / "long3min.flac")[: 62 * audio.SAMPLE_RATE]


def test_every_window_gets_hotwords_and_prompt(
    sequential: SequentialTranscriber, told: Told, speech: np.ndarray, vocabulary: Vocabulary
) -> None:
    # Nobody's text can end or steer a transcript, and the end of a prompt too long is what is kept.
    for prompt, kept in ((f" {NAMES} <|endoftext|><|da|>", 200), (", ".join([NAMES] * 40), 223)):
        told.windows.clear()
        transcribe(sequential, speech[: 40 * audio.SAMPLE_RATE], initial_prompt=prompt, hotwords=WORDS)
        hotwords, names = vocabulary.encode(WORDS), vocabulary.encode(prompt)
        always = [vocabulary.start_of_previous, *hotwords, *names[-(kept - len(hotwords)) :]]
        assert len(told.windows) == 2
        assert told.windows == [always] * 2
        assert len(always) <= 224


def test_the_text_before_gives_way_to_hotwords_and_prompt(
    sequential: SequentialTranscriber, told: Told, speech: np.ndarray, vocabulary: Vocabulary
) -> None:
    many = ", ".join([NAMES] * 14)
    text, _ = transcribe(sequential, speech, initial_prompt=many, hotwords=WORDS, condition_on_previous_text=True)
    always = [vocabulary.start_of_previous, *vocabulary.encode(WORDS), *vocabulary.encode(many)]
    assert told.windows[0] == always
    assert [window[: len(always)] for window in told.windows] == [always] * len(told.windows)
    # Half of the context, <|startofprev|> included, as Whisper has it.
    assert len(told.windows[-1]) == max(map(len, told.windows)) == 224
    before = vocabulary.text(told.windows[-1][len(always) :]).strip()
    assert len(before) > 50
    assert before.split(maxsplit=1)[1] in text
    assert not text.startswith(before)


def test_without_sound_there_is_a_language_all_the_same(
    sequential: SequentialTranscriber, engine: ReferenceTranscriber
) -> None:
    for seconds in (0, 2):
        silence = np.zeros(seconds * audio.SAMPLE_RATE, np.float32)
        for one in (sequential, engine):
            segments, info = one.transcribe(Recording.of(silence), TranscribeOptions(language=None))
            assert (list(segments), info.language) == ([], "sv")
    assert transcribe(sequential, np.zeros(0, np.float32), language="da") == ("", "da")
