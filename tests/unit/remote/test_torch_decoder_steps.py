"""The parts of the torch decoder: rules, steps of fixed sizes, arithmetic, spectrogram, checkpoints."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from material import Clip
from safetensors.torch import load_file, save_file

from gputx_remote import weights
from gputx_remote.decoders import torch_checkpoint, torch_decoder, torch_spectrogram
from gputx_remote.decoders.decoder import Request
from gputx_remote.decoders.torch_graphs import Captured, GraphStepping
from gputx_remote.decoders.torch_linear import Arithmetic, int8_works
from gputx_remote.decoders.torch_rules import DeviceRules
from gputx_remote.decoders.torch_search import Step
from gputx_remote.errors import ModelUnavailableError
from gputx_remote.rules import TokenRules
from gputx_remote.spectrogram import log_mel
from gputx_remote.vocabulary import Vocabulary


@pytest.fixture(scope="module")
def vocabulary(model_path: Path) -> Vocabulary:
    return Vocabulary.load(model_path)


@pytest.mark.parametrize("limit", [None, 50])
def test_the_rules_on_the_device_are_the_rules(model_path: Path, vocabulary: Vocabulary, limit: int | None) -> None:
    """Random walks through random logits, with time tokens favoured now and then, against the slow yardstick."""
    loaded = TokenRules.load(model_path, vocabulary)
    rules = TokenRules(**{**loaded.__dict__, "max_initial_timestamp_index": limit})
    prompts = [vocabulary.prompt("sv", "transcribe", timestamps=row % 4 != 3) for row in range(16)]
    device = DeviceRules(rules, 20, "cpu")
    device.begin(prompts)
    generator = np.random.default_rng(1)
    written: list[list[int]] = [[] for _ in prompts]
    for step in range(60):
        logits = generator.normal(0, 3, (len(prompts), rules.size)).astype(np.float32)
        logits[:, rules.timestamp_begin :] += generator.choice([-8.0, 0.0, 3.0], (len(prompts), 1))
        masked = torch.from_numpy(logits.copy())
        device.mask(masked, first=step == 0)
        expected = [
            rules.for_prompt(prompt).allowed(row, tokens)
            for prompt, row, tokens in zip(prompts, logits, written, strict=True)
        ]
        np.testing.assert_array_equal(masked.numpy(), np.stack(expected))
        chosen = masked.argmax(1)
        device.update(chosen)
        for tokens, token in zip(written, chosen.tolist(), strict=True):
            tokens.append(token)
    times = [sum(token >= rules.timestamp_begin for token in tokens) for tokens in written]
    assert min(times[0:3]) > 2, "the walk has to meet the rules it tests"


def test_steps_of_fixed_sizes_write_the_same_tokens(model_path: Path, clips: dict[str, Clip]) -> None:
    """What runs as CUDA graphs on a GPU, with a recorder in place of the graphs: fewer windows than slots, columns
    beyond those in use, rows that are done but still computed."""
    recorded: list[Step] = []

    def record(step: Step) -> Captured:
        recorded.append(step)
        result = step().clone()
        return lambda: result.copy_(step()), result

    location = weights.resolve(str(model_path), "tiny", print)
    plain = torch_decoder.load(location, device="cpu", compute_type="float32", note=print)
    graphed = torch_decoder.load(location, device="cpu", compute_type="float32", note=print)
    graphed._stepping = lambda slots, columns: GraphStepping(slots, columns, record)
    windows = [
        soundfile.read(clips[name].path, dtype="float32")[0][:480_000]
        for name in ("clip00", "clip01", "clip02", "clip06", "clip08")
    ]
    windows = [*windows[:4], windows[4][:20_000]]
    windows[2] = windows[2][:60_000]
    encoded = plain.encode(windows)
    vocabulary = plain.vocabulary
    prompts = [vocabulary.prompt("sv", "transcribe", previous=(7,) * (3 * row)) for row in range(5)]
    requests = [Request(prompt, temperature=0.5 * (row == 4), seed=3) for row, prompt in enumerate(prompts)]
    expected = plain.decode(encoded, requests)
    for _ in range(2):
        found = graphed.decode(encoded, requests)
        assert [one.tokens for one in found] == [one.tokens for one in expected]
        for one, other in zip(found, expected, strict=True):
            assert one.logprobs == pytest.approx(other.logprobs, abs=1e-3)
    # A few sizes, each made once for both rounds.
    assert 2 <= len(recorded) <= 10
    fewer = graphed.decode(graphed.select(encoded, [3, 1]), [requests[3], requests[1]])
    assert [one.tokens for one in fewer] == [expected[3].tokens, expected[1].tokens]


def test_steps_come_in_few_sizes() -> None:
    stepping = GraphStepping(20, 672, lambda step: (lambda: None, step()))
    assert [stepping.rows(live) for live in (1, 3, 9, 17, 20)] == [1, 4, 12, 20, 20]
    assert [stepping.length(used)[0] for used in (1, 64, 65, 449, 672)] == [64, 64, 128, 672, 672]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
@pytest.mark.parametrize("kind", ["float16", "float32"])
def test_captured_graphs_write_what_the_plain_path_writes(  # pragma: no cover - no GPU here
    model_path: Path, clips: dict[str, Clip], kind: str
) -> None:
    location = weights.resolve(str(model_path), "tiny", print)
    windows = [soundfile.read(clips[name].path, dtype="float32")[0][:480_000] for name in sorted(clips)]
    results = []
    for graphs in (True, False):
        decoder = torch_decoder.load(location, device="cuda", compute_type=kind, note=print, graphs=graphs)
        requests = [Request(decoder.vocabulary.prompt("sv", "transcribe"))] * len(windows)
        results.append([one.tokens for one in decoder.decode(decoder.encode(windows), requests)])
    assert results[0] == results[1]


def test_int8_rows_do_not_depend_on_each_other() -> None:
    if not int8_works():
        pytest.skip("this CPU has no AVX-512 VNNI")
    generator = torch.Generator().manual_seed(0)
    weight, bias = torch.randn(48, 64, generator=generator), torch.randn(48, generator=generator)
    x = torch.randn(9, 64, generator=generator) * torch.logspace(-3, 3, 9)[:, None]
    linear = Arithmetic("cpu", "int8").linear(weight, bias, rows=8)
    exact = torch.nn.functional.linear(x, weight, bias)
    found = linear(x)
    torch.testing.assert_close(found[4:5], linear(x[4:5]))
    # Each row is as exact as its own size allows, however large its neighbours are.
    error = (found - exact).abs().amax(1) / (exact - bias).abs().amax(1)
    assert error.max() < 0.02
    assert not linear(torch.zeros(2, 64)).isnan().any()


def test_the_spectrogram_for_a_gpu_is_the_one_for_a_cpu() -> None:
    generator = np.random.default_rng(2)
    windows = [generator.normal(0, 0.1, length).astype(np.float32) for length in (480_000, 31_000, 0)]
    for bins in (80, 128):
        found = torch_spectrogram.log_mel(windows, bins, "cpu")
        np.testing.assert_allclose(found.numpy(), log_mel(windows, bins), atol=2e-4)
    with pytest.raises(ValueError, match="longer than 30 s"):
        torch_spectrogram.log_mel([np.zeros(480_001, np.float32)], 80, "cpu")


@pytest.fixture
def copy(model_path: Path, tmp_path: Path) -> Path:
    for name in ("config.json", "generation_config.json", "tokenizer.json", "model.safetensors"):
        shutil.copy(model_path / name, tmp_path / name)
    return tmp_path


def _read(path: Path) -> torch_checkpoint.Checkpoint:
    return torch_checkpoint.read(weights.ModelLocation(path, "copy", "x"))


def test_a_checkpoint_in_parts_is_read_whole(copy: Path) -> None:
    whole = _read(copy)
    tensors = load_file(copy / "model.safetensors")
    (copy / "model.safetensors").unlink()
    names = sorted(tensors)
    for part, chosen in enumerate((names[::2], names[1::2])):
        save_file({name: tensors[name] for name in chosen}, copy / f"model-0000{part + 1}-of-00002.safetensors")
    parts = _read(copy)
    assert parts.tensors.keys() == whole.tensors.keys()
    assert whole.dimensions.alignment_heads == ((1, 0), (2, 0), (3, 0))


def test_without_alignment_heads_the_upper_half_is_taken(copy: Path) -> None:
    (copy / "generation_config.json").unlink()
    heads = _read(copy).dimensions.alignment_heads
    assert heads == tuple((layer, head) for layer in (2, 3) for head in range(4))


def test_a_broken_checkpoint_is_refused_in_one_line(copy: Path) -> None:
    config = json.loads((copy / "config.json").read_text())
    for change, complaint in (
        ({"activation_function": "relu"}, "architecture"),
        ({"d_model": "wide"}, "config.json"),
        ({"num_mel_bins": 128}, "conv1"),
        ({"encoder_layers": 9}, r"lack encoder\.layers\.8"),
    ):
        (copy / "config.json").write_text(json.dumps(config | change))
        with pytest.raises(ModelUnavailableError, match=complaint) as caught:
            _read(copy)
        assert "\n" not in str(caught.value)
    (copy / "config.json").write_text(json.dumps(config))
    (copy / "model.safetensors").write_bytes(b"\x00" * 100)
    with pytest.raises(ModelUnavailableError, match="can't be read"):
        _read(copy)
