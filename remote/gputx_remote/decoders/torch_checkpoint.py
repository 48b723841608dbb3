"""A Whisper checkpoint as tensors: config.json and safetensors, read without transformers (which takes seconds)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from gputx_remote.errors import ModelUnavailableError
from gputx_remote.vocabulary import read_json
from gputx_remote.weights import ModelLocation

Tensors = dict[str, torch.Tensor]
"""By the names transformers gives them, without the leading ``model.``"""


@dataclass(frozen=True)
class Dimensions:
    """What config.json says of the model's shape."""

    width: int
    """``d_model``."""
    mels: int
    vocabulary: int
    frames: int
    """Positions of the encoder's output for 30 s: 1500."""
    context: int
    """Tokens the text decoder holds: 448."""
    encoder_layers: int
    encoder_heads: int
    decoder_layers: int
    decoder_heads: int
    alignment_heads: tuple[tuple[int, int], ...]
    """(layer, head) of the text decoder whose attention follows the audio."""


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint on the CPU, in the type it was saved in."""

    dimensions: Dimensions
    tensors: Tensors


def read(location: ModelLocation) -> Checkpoint:
    """Map the weights into memory.

    Raises:
        ModelUnavailableError: files are missing or broken, or the model is none that :mod:`torch_decoder` computes.
    """
    config = read_json(location.path / "config.json")
    generation = read_json(location.path / "generation_config.json", missing_ok=True)
    try:
        dimensions = _dimensions(config, generation)
    except (KeyError, TypeError, ValueError) as error:
        raise ModelUnavailableError(f"model {location.id}: its config.json lacks or garbles {error}") from error
    if config.get("activation_function", "gelu") != "gelu" or config.get("scale_embedding", False):
        raise ModelUnavailableError(f"model {location.id}: the torch decoder knows Whisper's own architecture only")
    try:
        tensors = dict(_tensors(location.path))
    except (OSError, SafetensorError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ModelUnavailableError(f"model {location.id}: its weights can't be read: {reason}") from error
    _check(tensors, dimensions, location.id)
    return Checkpoint(dimensions, tensors)


def _dimensions(config: dict[str, Any], generation: dict[str, Any]) -> Dimensions:
    layers, heads = int(config["decoder_layers"]), int(config["decoder_attention_heads"])
    named = generation.get("alignment_heads") or config.get("alignment_heads")
    # Without names, whisper takes every head of the upper half (whisper/model.py).
    upper = [(layer, head) for layer in range(layers // 2, layers) for head in range(heads)]
    return Dimensions(
        width=int(config["d_model"]),
        mels=int(config.get("num_mel_bins", 80)),
        vocabulary=int(config["vocab_size"]),
        frames=int(config.get("max_source_positions", 1500)),
        context=int(config.get("max_target_positions", 448)),
        encoder_layers=int(config["encoder_layers"]),
        encoder_heads=int(config["encoder_attention_heads"]),
        decoder_layers=layers,
        decoder_heads=heads,
        alignment_heads=tuple((int(layer), int(head)) for layer, head in named or upper),
    )


def _tensors(directory: Path) -> Iterable[tuple[str, torch.Tensor]]:
    whole = directory / "model.safetensors"
    for path in [whole] if whole.is_file() else sorted(directory.glob("model-*-of-*.safetensors")):
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118 - a safetensors file is no mapping
                yield name.removeprefix("model."), file.get_tensor(name)


def _check(tensors: Tensors, dimensions: Dimensions, name: str) -> None:
    """Say in one line what would otherwise be a KeyError deep inside."""
    width = dimensions.width
    wanted = {
        "encoder.conv1.weight": (width, dimensions.mels, 3),
        "encoder.embed_positions.weight": (dimensions.frames, width),
        "decoder.embed_tokens.weight": (dimensions.vocabulary, width),
        "decoder.embed_positions.weight": (dimensions.context, width),
        f"encoder.layers.{dimensions.encoder_layers - 1}.fc2.weight": None,
        f"decoder.layers.{dimensions.decoder_layers - 1}.fc2.weight": None,
    }
    for key, shape in wanted.items():
        found = tensors.get(key)
        if found is None:
            raise ModelUnavailableError(f"model {name}: its weights lack {key}")
        if shape is not None and tuple(found.shape) != shape:
            raise ModelUnavailableError(f"model {name}: {key} has shape {tuple(found.shape)}, not {shape}")
