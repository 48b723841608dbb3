"""How many windows fit: what is counted for one is what its decoder allocates."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from gputx_remote.decoders import room, torch_decoder
from gputx_remote.decoders.torch_decoder import TorchDecoder
from gputx_remote.decoders.transformers_decoder import TransformersDecoder
from gputx_remote.decoders.transformers_model import Checkpoint
from gputx_remote.engine.reference import ReferenceTranscriber
from gputx_remote.rules import TokenRules
from gputx_remote.vocabulary import Vocabulary
from gputx_remote.weights import ModelLocation

WIDTH, LAYERS, SLOTS = 128, 4, 3
"""Of the tiny model, and of a batch."""


@pytest.fixture(scope="module", params=["float32", "bfloat16"])
def decoder(model_path: Path, request: pytest.FixtureRequest) -> TorchDecoder:
    location = ModelLocation(model_path, "tiny", "r1")
    return torch_decoder.load(location, device="cpu", compute_type=request.param, note=lambda _: None)


def fitting(monkeypatch: pytest.MonkeyPatch, decoder: TorchDecoder | TransformersDecoder, window: float) -> list[int]:
    """Windows that the decoder says fit where memory is for a bit less than 1, 5 and 6 of them, and for 5."""
    found = []
    for windows in (0.99, 4.99, 5.01, 5.99):
        monkeypatch.setattr(room, "_free_memory", lambda windows=windows: windows * window / room.CPU_SHARE)
        found.append(decoder.batch_size())
    return found


def test_the_torch_decoders_caches_are_counted_as_they_are(
    decoder: TorchDecoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, batch = decoder._prepared(SLOTS)
    cache = batch.cache
    tensors = (*cache.audio_keys, *cache.audio_values, *cache.keys, *cache.values)
    allocated = sum(tensor.untyped_storage().nbytes() for tensor in tensors) / SLOTS
    size = torch.float32.itemsize if decoder.compute_type == "float32" else torch.bfloat16.itemsize
    # Whisper's context, and half of it more for prompts of different lengths.
    assert {tensor.shape[2] for tensor in (*cache.keys, *cache.values)} == {672}
    assert room.cache_bytes(width=WIDTH, layers=LAYERS, columns=672, bytes_each=size) == allocated
    workspace = room.WORKSPACE * room.FRAMES * WIDTH * 4 * size
    assert fitting(monkeypatch, decoder, allocated + workspace) == [1, 4, 5, 5]


def test_transformers_grows_its_caches_to_the_context(
    engine: ReferenceTranscriber, vocabulary: Vocabulary, model_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rules = TokenRules.load(model_path, vocabulary)
    decoder = TransformersDecoder(Checkpoint(engine._pipeline.model, None), vocabulary, rules)
    window = room.cache_bytes(width=WIDTH, layers=LAYERS, columns=vocabulary.context, bytes_each=4)
    window += room.WORKSPACE * room.FRAMES * WIDTH * 4 * 4
    assert fitting(monkeypatch, decoder, window) == [1, 4, 5, 5]
