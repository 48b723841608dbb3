"""The CTranslate2 decoder on the tiny model: the same tokens as transformers, whatever the batch, and without torch."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import ctranslate2
import numpy as np
import pytest
import soundfile
from material import ROOT, Clip

from gputx_remote.decoders import ctranslate2_conversion as conversion
from gputx_remote.decoders import ctranslate2_decoder, ctranslate2_memory
from gputx_remote.decoders.ctranslate2_decoder import CTranslate2Decoder
from gputx_remote.decoders.decoder import Decoded, OutOfMemoryError, Request
from gputx_remote.engine.memory import Room
from gputx_remote.errors import EngineError, ModelUnavailableError
from gputx_remote.rules import TokenRules
from gputx_remote.spectrogram import log_mel
from gputx_remote.weights import ModelLocation

# Within one window, and understood without an error by every decoder.
CLIPS = ("clip01", "clip02", "clip03", "clip05")


@pytest.fixture(scope="module")
def location(model_path: Path) -> ModelLocation:
    return ModelLocation(model_path, "tiny", "r1")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("conversions")


@pytest.fixture(scope="module")
def decoder(location: ModelLocation, cache: Path) -> CTranslate2Decoder:
    return ctranslate2_decoder.load(
        location, device="cpu", compute_type="float32", note=lambda _: None, cache_directory=cache
    )


@pytest.fixture(scope="module")
def windows(clips: dict[str, Clip]) -> list[np.ndarray]:
    return [soundfile.read(clips[name].path, dtype="float32")[0][: 30 * 16_000] for name in CLIPS]


@pytest.fixture(scope="module")
def encoded(decoder: CTranslate2Decoder, windows: list[np.ndarray]) -> ctranslate2_decoder.Encoded:
    return decoder.encode(windows)


@pytest.fixture(scope="module")
def greedy(decoder: CTranslate2Decoder) -> Request:
    return Request(decoder.vocabulary.prompt("sv", "transcribe"))


@pytest.fixture(scope="module")
def decoded(decoder: CTranslate2Decoder, encoded: ctranslate2_decoder.Encoded, greedy: Request) -> list[Decoded]:
    return decoder.decode(encoded, [greedy] * len(encoded))


def tokens(results: Sequence[Decoded]) -> list[tuple[int, ...]]:
    return [result.tokens for result in results]


def test_it_hears_what_is_said(decoder: CTranslate2Decoder, decoded: list[Decoded], clips: dict[str, Clip]) -> None:
    for name, one in zip(CLIPS, decoded, strict=True):
        assert clips[name].wer(decoder.vocabulary.text(one.tokens)) == 0


def test_it_writes_and_weighs_the_tokens_that_transformers_does(
    decoder: CTranslate2Decoder, decoded: list[Decoded], windows: list[np.ndarray], model_path: Path
) -> None:
    import torch  # noqa: PLC0415 - seconds of imports for this test alone
    from transformers import WhisperForConditionalGeneration  # noqa: PLC0415

    vocabulary = decoder.vocabulary
    model = WhisperForConditionalGeneration.from_pretrained(model_path, dtype=torch.float32).eval()
    features = torch.from_numpy(log_mel(windows, 80))
    with torch.inference_mode():
        theirs = model.generate(features, language="sv", task="transcribe", return_timestamps=True, num_beams=1)
        for one, row in zip(decoded, theirs.tolist(), strict=True):
            written = [token for token in row if token < vocabulary.end_of_text or token >= vocabulary.timestamp_begin]
            assert list(one.tokens) == written

        rules = TokenRules.load(model_path, vocabulary)
        prompt = vocabulary.prompt("sv", "transcribe")
        for window, one in zip(features, decoded, strict=True):
            ids = torch.tensor([[*prompt, *one.tokens]])
            logits = model(window[None], decoder_input_ids=ids).logits[0].numpy()
            no_speech = np.exp(logits[0].astype(np.float64))
            no_speech = no_speech[vocabulary.no_speech] / no_speech.sum()
            assert one.no_speech_prob == pytest.approx(no_speech, rel=1e-2)
            ended = (*one.tokens, vocabulary.end_of_text)
            assert len(one.logprobs) == len(ended)
            for place, token in enumerate(ended):
                left = rules.allowed(logits[len(prompt) - 1 + place], one.tokens[:place]).astype(np.float64)
                expected = left[token] - np.log(np.exp(left).sum())
                assert one.logprobs[place] == pytest.approx(expected, abs=2e-3)


@pytest.mark.parametrize("size", [1, 3])
def test_tokens_do_not_depend_on_the_batch(
    decoder: CTranslate2Decoder, windows: list[np.ndarray], decoded: list[Decoded], greedy: Request, size: int
) -> None:
    for start in range(0, len(windows), size):
        batch = windows[start : start + size][::-1]
        alone = decoder.decode(decoder.encode(batch), [greedy] * len(batch))
        assert tokens(alone) == tokens(decoded)[start : start + size][::-1]


def test_what_is_encoded_once_serves_again(
    decoder: CTranslate2Decoder, encoded: ctranslate2_decoder.Encoded, decoded: list[Decoded], greedy: Request
) -> None:
    rows = [3, 0, 3]
    part = decoder.select(encoded, rows)
    assert len(part) == 3
    assert tokens(decoder.decode(part, [greedy] * 3)) == [decoded[row].tokens for row in rows]
    assert decoder.decode(decoder.select(encoded, []), []) == []


def test_requests_of_all_kinds_share_a_call(
    decoder: CTranslate2Decoder, encoded: ctranslate2_decoder.Encoded, decoded: list[Decoded], greedy: Request
) -> None:
    vocabulary = decoder.vocabulary
    plain = Request(vocabulary.prompt("sv", "transcribe", timestamps=False))
    short = Request(greedy.prompt, max_tokens=4)
    told = Request(vocabulary.prompt("sv", "transcribe", previous=vocabulary.encode("Hej.")), max_tokens=6)
    mixed = decoder.decode(encoded, [greedy, plain, short, told])
    assert mixed[0].tokens == decoded[0].tokens
    assert all(token < vocabulary.end_of_text for token in mixed[1].tokens)
    assert mixed[2].tokens == decoded[2].tokens[:4]
    assert len(mixed[2].logprobs) == 4  # cut short: no end was written
    assert decoder.decode(decoder.select(encoded, [3]), [told])[0].tokens == mixed[3].tokens
    with pytest.raises(ValueError, match="4 windows and 1 requests"):
        decoder.decode(encoded, [greedy])
    with pytest.raises(EngineError, match="no room"):
        decoder.decode(decoder.select(encoded, [0]), [Request((5,) * 447 + greedy.prompt)])


def test_the_first_time_is_limited_as_the_checkpoint_says(
    location: ModelLocation, cache: Path, tmp_path: Path, windows: list[np.ndarray], greedy: Request
) -> None:
    shutil.copytree(location.path, tmp_path, dirs_exist_ok=True)
    generation = json.loads((tmp_path / "generation_config.json").read_text())
    (tmp_path / "generation_config.json").write_text(json.dumps(generation | {"max_initial_timestamp_index": 3}))
    limited = ctranslate2_decoder.load(
        ModelLocation(tmp_path, "limited", "r1"), device="cpu", note=lambda _: None, cache_directory=cache
    )
    late = np.concatenate([np.zeros(16_000, np.float32), windows[0][: 29 * 16_000]])
    first = limited.decode(limited.encode([late]), [greedy])[0].tokens[0]
    assert limited.vocabulary.seconds(first) <= 0.06


def test_what_is_drawn_depends_on_its_seed_alone(
    decoder: CTranslate2Decoder, encoded: ctranslate2_decoder.Encoded, decoded: list[Decoded], greedy: Request
) -> None:
    drawn = Request(greedy.prompt, temperature=1.0, seed=5)
    other = Request(greedy.prompt, temperature=1.0, seed=6)
    mixed = decoder.decode(encoded, [greedy, drawn, other, drawn])
    alone = decoder.decode(decoder.select(encoded, [3, 1]), [drawn, drawn])
    assert tokens(alone) == [mixed[3].tokens, mixed[1].tokens]
    again = decoder.decode(decoder.select(encoded, [1]), [other])[0]
    assert again.tokens != mixed[1].tokens
    assert mixed[0].tokens == decoded[0].tokens
    # Measured without the temperature, so what was drawn is never likelier than what is likeliest.
    assert mixed[1].avg_logprob < decoded[1].avg_logprob
    # CTranslate2 takes this one for "any seed".
    last = Request(greedy.prompt, temperature=1.0, seed=2**32 - 1)
    assert decoder.decode(decoder.select(encoded, [1]), [last]) == decoder.decode(decoder.select(encoded, [1]), [last])


@pytest.mark.parametrize("compute_type", ["int8", "float32"])
def test_a_window_is_drawn_by_the_text_decoder_alone(
    location: ModelLocation, cache: Path, windows: list[np.ndarray], greedy: Request, compute_type: str
) -> None:
    small = ctranslate2_decoder.load(
        location, device="cpu", compute_type=compute_type, note=lambda _: None, cache_directory=cache
    )
    encoded = small.encode(windows)
    loaded: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        real = ctranslate2.models.Whisper
        patch.setattr(
            ctranslate2.models, "Whisper", lambda path, **how: loaded.append(Path(path).name) or real(path, **how)
        )
        # The likeliest tokens at next to no temperature: the same weights, and so the same arithmetic.
        cold = small.decode(encoded, [Request(greedy.prompt, temperature=1e-4)] * len(windows))
    assert cold == [small.decode(small.select(encoded, [row]), [greedy])[0] for row in range(len(windows))]
    part = "text-int8" if compute_type == "int8" else "text"
    assert len(loaded) == len(windows)
    assert all(name.endswith(f"-{part}") for name in loaded)
    whole = cache / loaded[0].removesuffix(f"-{part}") / "model.bin"
    share = (cache / loaded[0] / "model.bin").stat().st_size / whole.stat().st_size
    # The tiny model is mostly embeddings; of whisper-small in float32 it is 0.18 and 0.68.
    assert share < (0.6 if compute_type == "int8" else 0.9)


class Drawing:
    """A model that notes how many windows it is given at which temperature."""

    def __init__(self, model: object) -> None:
        self._model = model
        self.calls: list[tuple[int, float]] = []

    def __getattr__(self, name: str) -> object:
        return getattr(self._model, name)

    def generate(self, features: object, prompts: list[list[int]], **how: object) -> object:
        self.calls.append((len(prompts), float(how.get("sampling_temperature", 0.0))))
        return self._model.generate(features, prompts, **how)


def whole(location: ModelLocation, cache: Path) -> ctranslate2.models.Whisper:
    return ctranslate2.models.Whisper(str(conversion.ready(location, cache, lambda _: None).path), compute_type="int8")


def test_a_second_text_decoder_that_does_not_fit_takes_nothing_from_the_batch(
    location: ModelLocation, cache: Path, decoder: CTranslate2Decoder, windows: list[np.ndarray], greedy: Request
) -> None:
    tried: list[int] = []
    notes: list[str] = []

    def too_large() -> object:
        tried.append(len(tried))
        raise RuntimeError("std::bad_alloc")

    model = Drawing(whole(location, cache))
    rules = TokenRules.load(location.path, decoder.vocabulary)
    short = CTranslate2Decoder(model, location, decoder.vocabulary, rules, open_text=too_large, note=notes.append)
    room = Room(short, 3, lambda: short, notes.append)

    def attempt(one: CTranslate2Decoder, cut: Sequence[np.ndarray]) -> list[Decoded]:
        encoded = one.encode(cut)
        one.decode(encoded, [greedy] * len(cut))
        return one.decode(encoded, [Request(greedy.prompt, temperature=0.5, seed=row) for row in range(len(cut))])

    assert len(room.work(windows[:3], attempt)) == 3
    assert room.size == 3
    assert tried == [0]
    assert notes == ["not enough memory for a second text decoder: what is drawn depends on the batch from here on"]
    # Then all three together, by the model that had decoded them.
    assert model.calls == [(3, 0.0), (3, 0.5)]


def test_where_draws_need_no_seed_they_share_a_call(
    location: ModelLocation, cache: Path, decoder: CTranslate2Decoder, windows: list[np.ndarray], greedy: Request
) -> None:
    first = []
    for _ in range(2):
        model = Drawing(whole(location, cache))
        rules = TokenRules.load(location.path, decoder.vocabulary)
        together = CTranslate2Decoder(model, location, decoder.vocabulary, rules)
        warm = [Request(greedy.prompt, temperature=value, seed=7) for value in (0.8, 0.0, 0.8)]
        first.append(together.decode(together.encode(windows[:3]), warm))
        assert sorted(model.calls) == [(1, 0.0), (2, 0.8)]
    # The same batches from the start give the same text: a second run of the same kind changes nothing.
    assert first[0] == first[1]


def test_silence_and_nothing_at_all(decoder: CTranslate2Decoder, greedy: Request) -> None:
    quiet = [np.zeros(16_000 * 30, np.float32), np.zeros(0, np.float32)]
    for result in decoder.decode(decoder.encode(quiet), [greedy] * 2):
        assert decoder.vocabulary.text(result.tokens) == ""


def test_languages(decoder: CTranslate2Decoder, encoded: ctranslate2_decoder.Encoded) -> None:
    for window in decoder.languages(decoder.select(encoded, [0, 2])):
        assert len(window) == 99
        assert sum(window.values()) == pytest.approx(1, abs=1e-4)
        assert max(window, key=lambda code: window[code]) == "sv"


def test_tokens_begin_where_transformers_hears_them(
    decoder: CTranslate2Decoder,
    location: ModelLocation,
    encoded: ctranslate2_decoder.Encoded,
    decoded: list[Decoded],
    windows: list[np.ndarray],
) -> None:
    from gputx_remote.decoders import transformers_decoder  # noqa: PLC0415 - seconds of imports for this test alone

    vocabulary = decoder.vocabulary
    prompt = vocabulary.prompt("sv", "transcribe")
    texts = [tuple(token for token in one.tokens if token < vocabulary.end_of_text) for one in decoded]
    lengths = [len(window) for window in windows]
    ours = decoder.align(encoded, prompt, texts, lengths)
    for text, length, begins in zip(texts, lengths, ours, strict=True):
        assert len(begins) == len(text) + 1
        assert list(begins) == sorted(begins)
        assert begins[0] >= 0
        assert begins[-1] <= length / 16_000
    other = transformers_decoder.load(location, device="cpu", compute_type="float32", note=lambda _: None)
    theirs = other.align(other.encode(windows), prompt, texts, lengths)
    # They differ where attention leaks into the padding: CTranslate2 leaves it out before the softmax, as Whisper does.
    apart = np.concatenate([np.abs(np.subtract(a, b)) for a, b in zip(ours, theirs, strict=True)])
    assert np.median(apart) <= 0.04
    assert np.quantile(apart, 0.9) <= 0.3


def test_windows_without_text_are_aligned_too(
    decoder: CTranslate2Decoder, encoded: ctranslate2_decoder.Encoded, windows: list[np.ndarray]
) -> None:
    vocabulary = decoder.vocabulary
    with_text = vocabulary.encode("Ja, tack.")
    told = vocabulary.prompt("sv", "transcribe", timestamps=False, previous=vocabulary.encode("Hej."))
    lengths = [len(window) for window in windows]
    begins = decoder.align(encoded, told, [(), with_text, (), with_text], lengths)
    assert begins[0] == begins[2] == (0.0,)
    alone = decoder.align(decoder.select(encoded, [3]), told, [with_text], lengths[3:])
    assert alone == begins[3:]
    assert decoder.align(decoder.select(encoded, [0]), told, [()], lengths[:1]) == [(0.0,)]


def test_int8_is_the_default_and_hears_as_well(
    location: ModelLocation, cache: Path, windows: list[np.ndarray], clips: dict[str, Clip], greedy: Request
) -> None:
    notes: list[str] = []
    small = ctranslate2_decoder.load(location, device="cpu", note=notes.append, cache_directory=cache)
    assert (small.name, small.device, small.compute_type, notes) == ("ctranslate2", "cpu", "int8_float32", [])
    results = small.decode(small.encode(windows), [greedy] * len(windows))
    for name, one in zip(CLIPS, results, strict=True):
        assert clips[name].wer(small.vocabulary.text(one.tokens)) == 0
    asked = ctranslate2_decoder.load(
        location, device="cpu", compute_type="int8", note=notes.append, cache_directory=cache
    )
    assert asked.compute_type == "int8_float32"


def test_what_this_machine_cannot_compute_in_is_said(location: ModelLocation, cache: Path) -> None:
    with pytest.raises(ModelUnavailableError, match="can't compute in float16 on this cpu; it can in int8"):
        ctranslate2_decoder.load(
            location, device="cpu", compute_type="float16", note=lambda _: None, cache_directory=cache
        )


def test_without_a_gpu_the_cpu_serves_and_says_so(
    location: ModelLocation, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ctranslate2, "get_cuda_device_count", lambda: 0)
    notes: list[str] = []
    found = ctranslate2_decoder.load(location, device="cuda", note=notes.append, cache_directory=cache)
    assert found.device == "cpu"
    assert "no usable CUDA GPU here: using the CPU" in notes


def test_a_gpu_too_small_for_the_model_leaves_it_to_the_cpu(
    location: ModelLocation, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = ctranslate2.models.Whisper
    asked: list[tuple[str, str]] = []

    def small_gpu(path: str, *, device: str, compute_type: str, **rest: object) -> object:
        asked.append((device, compute_type))
        if device == "cuda":
            raise RuntimeError("CUDA failed with error out of memory")
        return real(path, device=device, compute_type=compute_type, **rest)

    monkeypatch.setattr(ctranslate2, "get_cuda_device_count", lambda: 1)
    types = {"cuda": {"float16", "float32"}, "cpu": {"int8", "int8_float32", "float32"}}
    monkeypatch.setattr(ctranslate2, "get_supported_compute_types", lambda device: types[device])
    monkeypatch.setattr(ctranslate2.models, "Whisper", small_gpu)
    notes: list[str] = []
    found = ctranslate2_decoder.load(location, note=notes.append, cache_directory=cache)
    assert asked == [("cuda", "float16"), ("cpu", "int8_float32")]
    assert found.device == "cpu"
    assert "GPU memory too small for the model: using the CPU" in notes


@pytest.mark.parametrize(
    ("raised", "seen"),
    [
        (RuntimeError("CUDA failed with error out of memory"), OutOfMemoryError),
        (RuntimeError("std::bad_alloc"), OutOfMemoryError),
        (MemoryError(), OutOfMemoryError),
        (RuntimeError("No kernel\nfor this"), EngineError),
    ],
)
def test_memory_that_does_not_suffice_is_told_from_other_failures(
    location: ModelLocation, decoder: CTranslate2Decoder, windows: list[np.ndarray], raised: Exception, seen: type
) -> None:
    class Failing:
        n_mels = 80
        device = "cpu"
        compute_type = "float32"

        def encode(self, _: object) -> None:
            raise raised

    rules = TokenRules.load(location.path, decoder.vocabulary)
    failing = CTranslate2Decoder(Failing(), location, decoder.vocabulary, rules)
    with pytest.raises(seen) as caught:
        failing.encode(windows[:1])
    assert "\n" not in str(caught.value)


def test_batches_go_by_free_memory(decoder: CTranslate2Decoder, monkeypatch: pytest.MonkeyPatch) -> None:
    small = {
        "d_model": 768,
        "decoder_layers": 12,
        "encoder_attention_heads": 12,
        "decoder_attention_heads": 12,
        "encoder_ffn_dim": 3072,
        "vocab_size": 51_865,
    }
    one = ctranslate2_memory.window_bytes(small, "int8_float32")
    # Measured: 201 to 209 MiB a window, in batches of 4 and 8.
    assert 195 < one / 2**20 < 215
    assert ctranslate2_memory.window_bytes(small, "int8_float16") < one
    for free, size in ((10 * one, 6), (one, 1), (0, 1), (10_000 * one, 16)):
        monkeypatch.setattr(ctranslate2_memory, "free_bytes", lambda _, free=free: free)
        assert ctranslate2_memory.batch_size(small, "cpu", "int8_float32") == size
    monkeypatch.setattr(ctranslate2_memory, "free_bytes", lambda _: None)
    assert ctranslate2_memory.batch_size(small, "cuda", "float16") == 4


def test_free_memory_is_found_here(decoder: CTranslate2Decoder) -> None:
    if not Path("/proc/meminfo").is_file():
        pytest.skip("only Linux says in /proc")
    free = ctranslate2_memory.free_bytes("cpu")
    assert free is not None
    assert 1 << 20 < free < 1 << 50
    assert 1 <= decoder.batch_size() <= 16


def test_neither_torch_nor_transformers_is_ever_imported(model_path: Path, clips: dict[str, Clip], cache: Path) -> None:
    code = """
import sys
from pathlib import Path
import soundfile
from gputx_remote import weights
from gputx_remote.decoders import ctranslate2_decoder
from gputx_remote.decoders.decoder import Request
model, clip, cache = sys.argv[1:]
found = weights.resolve(model, "new", print)
decoder = ctranslate2_decoder.load(found, device="cpu", note=lambda _: None, cache_directory=Path(cache))
encoded = decoder.encode([soundfile.read(clip, dtype="float32")[0]])
prompt = decoder.vocabulary.prompt("sv", "transcribe")
decoder.decode(encoded, [Request(prompt)])
decoder.align(encoded, prompt, [(5, 6, 7)], [32_000])
decoder.languages(encoded)
print(sorted(name for name in ("torch", "transformers", "librosa", "scipy") if name in sys.modules))
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(model_path), str(clips["clip01"].path), str(cache / "fresh")],
        env={"PYTHONPATH": str(ROOT / "remote"), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert (done.stdout.strip(), done.returncode) == ("[]", 0), done.stderr
