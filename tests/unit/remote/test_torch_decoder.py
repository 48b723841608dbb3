"""Our batched decoder against transformers' own model and generate, on real speech with the tiny model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from material import Clip

from gputx_remote import weights
from gputx_remote.decoders import torch_decoder, transformers_decoder
from gputx_remote.decoders.decoder import Decoded, OutOfMemoryError, Request
from gputx_remote.decoders.torch_decoder import TorchDecoder
from gputx_remote.decoders.torch_linear import int8_works
from gputx_remote.errors import EngineError, ModelUnavailableError

WINDOW = 30 * 16_000


@pytest.fixture(scope="module")
def location(model_path: Path) -> weights.ModelLocation:
    return weights.resolve(str(model_path), "tiny", print)


@pytest.fixture(scope="module")
def load(location: weights.ModelLocation) -> Callable[..., TorchDecoder]:
    return lambda kind="float32": torch_decoder.load(location, device="cpu", compute_type=kind, note=print)


@pytest.fixture(scope="module")
def decoder(load: Callable[..., TorchDecoder]) -> TorchDecoder:
    return load()


@pytest.fixture(scope="module")
def yardstick(location: weights.ModelLocation) -> transformers_decoder.TransformersDecoder:
    return transformers_decoder.load(location, device="cpu", compute_type="float32", note=print)


@pytest.fixture(scope="module")
def speech(clips: dict[str, Clip]) -> list[np.ndarray]:
    """Five held-out clips, of which the last is cut off in the middle of a word."""
    names = sorted(clips)[:5]
    windows = [soundfile.read(clips[name].path, dtype="float32")[0] for name in names]
    return [*windows[:3], windows[3][:150_000], windows[4][:70_000]]


@pytest.fixture(scope="module")
def encoded(decoder: TorchDecoder, speech: list[np.ndarray]) -> torch_decoder.Encoded:
    return decoder.encode(speech)


def _prompt(decoder: TorchDecoder, **how: bool) -> tuple[int, ...]:
    return decoder.vocabulary.prompt("sv", "transcribe", **how)


def _greedy(decoder: TorchDecoder, encoded: torch_decoder.Encoded) -> list[Decoded]:
    return decoder.decode(encoded, [Request(_prompt(decoder))] * len(encoded))


def test_the_encoder_is_transformers_own(
    encoded: torch_decoder.Encoded, yardstick: transformers_decoder.TransformersDecoder, speech: list[np.ndarray]
) -> None:
    torch.testing.assert_close(encoded.states, yardstick.encode(speech).states, atol=1e-4, rtol=0)


def test_the_logits_are_transformers_own(
    decoder: TorchDecoder,
    encoded: torch_decoder.Encoded,
    yardstick: transformers_decoder.TransformersDecoder,
) -> None:
    model = yardstick._checkpoint.model
    generator = torch.Generator().manual_seed(4)
    tokens = torch.randint(0, decoder.vocabulary.size, (len(encoded), 20), generator=generator)
    with torch.inference_mode():
        hidden = model.model.decoder(input_ids=tokens, encoder_hidden_states=encoded.states).last_hidden_state
        expected = model.proj_out(hidden)
        _, batch = decoder._prepared(len(encoded))
        decoder._decoder.listen(encoded.states, batch.cache)
        found = decoder._decoder.logits(decoder._read(tokens, batch.cache).flatten(0, 1)).view_as(expected)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("timestamps", [True, False])
def test_tokens_and_chances_are_those_of_generate(
    decoder: TorchDecoder,
    encoded: torch_decoder.Encoded,
    yardstick: transformers_decoder.TransformersDecoder,
    timestamps: bool,
) -> None:
    requests = [Request(_prompt(decoder, timestamps=timestamps))] * len(encoded)
    expected = yardstick.decode(transformers_decoder.Encoding(encoded.states), requests)
    found = decoder.decode(encoded, requests)
    assert [one.tokens for one in found] == [one.tokens for one in expected]
    assert all(len(one.tokens) > 5 for one in found)
    for one, other in zip(found, expected, strict=True):
        assert one.logprobs == pytest.approx(other.logprobs, abs=1e-3)
        assert one.no_speech_prob == pytest.approx(other.no_speech_prob, abs=1e-5)


def test_a_window_reads_the_same_in_any_company(decoder: TorchDecoder, encoded: torch_decoder.Encoded) -> None:
    together = _greedy(decoder, encoded)
    alone = [_greedy(decoder, decoder.select(encoded, [row]))[0] for row in range(len(encoded))]
    pairs = [one for rows in ([4, 3], [1, 2]) for one in _greedy(decoder, decoder.select(encoded, rows))]
    tokens = [one.tokens for one in together]
    assert len({len(row) for row in tokens}) > 1, "windows that end at different times are what this is about"
    assert [one.tokens for one in alone] == tokens
    assert [one.tokens for one in pairs] == [tokens[row] for row in (4, 3, 1, 2)]


def test_prompts_of_different_lengths_share_a_batch(decoder: TorchDecoder, encoded: torch_decoder.Encoded) -> None:
    vocabulary = decoder.vocabulary
    previous = [
        (),
        vocabulary.encode("Mötet börjar nu."),
        vocabulary.encode("Journalen kostar kronor. " * 40),
        (),
        (5,),
    ]
    requests = [Request(vocabulary.prompt("sv", "transcribe", previous=tokens), max_tokens=60) for tokens in previous]
    requests[3] = Request(_prompt(decoder, timestamps=False), max_tokens=60)
    assert len(requests[2].prompt) > 100
    together = decoder.decode(encoded, requests)
    for row, request in enumerate(requests):
        alone = decoder.decode(decoder.select(encoded, [row]), [request])[0]
        assert together[row].tokens == alone.tokens
        assert together[row].logprobs == pytest.approx(alone.logprobs, abs=1e-3)
        assert together[row].no_speech_prob == pytest.approx(alone.no_speech_prob, abs=1e-5)


def test_each_window_stops_at_its_own_limit(decoder: TorchDecoder, encoded: torch_decoder.Encoded) -> None:
    whole = _greedy(decoder, encoded)
    limits = [1, 7, 224, 3, 12]
    cut = decoder.decode(encoded, [Request(_prompt(decoder), max_tokens=limit) for limit in limits])
    for one, other, limit in zip(cut, whole, limits, strict=True):
        assert one.tokens == other.tokens[:limit]
        assert one.logprobs == pytest.approx(other.logprobs[:limit], abs=1e-4)


def test_drawn_text_depends_on_the_seed_and_on_nothing_else(
    decoder: TorchDecoder, encoded: torch_decoder.Encoded
) -> None:
    def drawn(rows: list[int], seed: int) -> list[tuple[int, ...]]:
        requests = [Request(_prompt(decoder), temperature=1.0, seed=seed + row, max_tokens=20) for row in rows]
        return [one.tokens for one in decoder.decode(decoder.select(encoded, rows), requests)]

    together = drawn([0, 1, 2], 7)
    assert together == drawn([0, 1, 2], 7)
    assert together[2] == drawn([2], 7)[0]
    assert together != drawn([0, 1, 2], 100)


def test_greedy_rows_beside_drawn_ones_stay_greedy(decoder: TorchDecoder, encoded: torch_decoder.Encoded) -> None:
    prompt = _prompt(decoder)
    requests = [Request(prompt, temperature=0.8 if row % 2 else 0.0, seed=row) for row in range(5)]
    greedy, mixed = _greedy(decoder, encoded), decoder.decode(encoded, requests)
    assert [mixed[row].tokens for row in (0, 2, 4)] == [greedy[row].tokens for row in (0, 2, 4)]


def test_the_language_is_heard_as_transformers_hears_it(
    decoder: TorchDecoder, encoded: torch_decoder.Encoded, yardstick: transformers_decoder.TransformersDecoder
) -> None:
    expected = yardstick.languages(transformers_decoder.Encoding(encoded.states))
    for found, wanted in zip(decoder.languages(encoded), expected, strict=True):
        assert max(found, key=found.__getitem__) == "sv"
        assert found == pytest.approx(wanted, abs=1e-4)


def test_words_begin_where_transformers_attention_says(
    decoder: TorchDecoder,
    encoded: torch_decoder.Encoded,
    yardstick: transformers_decoder.TransformersDecoder,
    speech: list[np.ndarray],
) -> None:
    end = decoder.vocabulary.end_of_text
    texts = [[token for token in one.tokens if token < end] for one in _greedy(decoder, encoded)]
    texts[1] = []
    lengths, prompt = [len(window) for window in speech], _prompt(decoder)
    expected = yardstick.align(transformers_decoder.Encoding(encoded.states), prompt, texts, lengths)
    found = decoder.align(encoded, prompt, texts, lengths)
    assert [len(times) for times in found] == [len(text) + 1 for text in texts]
    for times, wanted in zip(found, expected, strict=True):
        assert list(times) == sorted(times)
        # A frame of 20 ms more or less, where two ways cost the same but for rounding.
        assert times == pytest.approx(wanted, abs=0.021)


@pytest.mark.parametrize("kind", ["bfloat16", "int8"])
def test_less_precise_arithmetic_hears_the_same_words(
    load: Callable[..., TorchDecoder], clips: dict[str, Clip], kind: str
) -> None:
    if kind == "int8" and not int8_works():
        pytest.skip("this CPU has no AVX-512 VNNI")
    decoder = load(kind)
    chosen = [clips[f"clip0{number}"] for number in (1, 2, 3)]
    windows = [soundfile.read(clip.path, dtype="float32")[0] for clip in chosen]
    done = _greedy(decoder, decoder.encode(windows))
    # In float32 none of these is misheard; one word of 44 may be here.
    wrong = sum(
        clip.wer(decoder.vocabulary.text(one.tokens)) * len(clip.text.split())
        for clip, one in zip(chosen, done, strict=True)
    )
    assert wrong < 2


def test_no_windows_make_no_work(decoder: TorchDecoder, encoded: torch_decoder.Encoded) -> None:
    none = decoder.select(encoded, [])
    assert decoder.decode(none, []) == []
    assert decoder.languages(none) == []


def test_a_prompt_without_room_behind_it_is_refused(decoder: TorchDecoder, encoded: torch_decoder.Encoded) -> None:
    with pytest.raises(EngineError, match="leaves no room"):
        decoder.decode(decoder.select(encoded, [0]), [Request((_prompt(decoder)[0],) * decoder.vocabulary.context)])


def test_too_little_memory_is_said_and_survived(
    decoder: TorchDecoder, encoded: torch_decoder.Encoded, monkeypatch: pytest.MonkeyPatch
) -> None:
    def greedy_allocation(*_: object) -> None:
        torch.empty(1 << 60, dtype=torch.uint8)

    with monkeypatch.context() as patched:
        patched.setattr(decoder._decoder, "listen", greedy_allocation)
        with pytest.raises(OutOfMemoryError):
            _greedy(decoder, encoded)
    assert _greedy(decoder, decoder.select(encoded, [0]))[0].tokens


@pytest.mark.parametrize("kind", ["int4", "float16"])
def test_arithmetic_no_cpu_does_is_refused(load: Callable[..., TorchDecoder], kind: str) -> None:
    with pytest.raises(ModelUnavailableError, match=kind):
        load(kind)
