"""Whisper's audio encoder over the checkpoint's weights."""

from __future__ import annotations

import torch

from gputx_remote.decoders import torch_attention as attention
from gputx_remote.decoders.torch_checkpoint import Checkpoint, Tensors
from gputx_remote.decoders.torch_linear import Arithmetic, LayerNorm

ROWS = 250
"""Positions at once through the wide layer on a CPU, so that what lies between its two products stays in the
caches."""


class AudioEncoder:
    """Spectrograms in, what the text decoder listens to out."""

    def __init__(self, checkpoint: Checkpoint, arithmetic: Arithmetic) -> None:
        sizes, tensors = checkpoint.dimensions, checkpoint.tensors
        self._arithmetic = arithmetic
        # A convolution over three neighbours is a product with rows of three neighbours side by side; over a layout
        # with time first those rows lie in memory already.
        self._first = arithmetic.linear(*_convolution(tensors, "encoder.conv1"), rows=sizes.frames)
        self._second = arithmetic.linear(*_convolution(tensors, "encoder.conv2"), rows=sizes.frames)
        positions = tensors["encoder.embed_positions.weight"]
        self._positions = positions.to(arithmetic.device, arithmetic.stream)
        self._layers = [
            _Layer(tensors, f"encoder.layers.{number}", sizes.encoder_heads, arithmetic)
            for number in range(sizes.encoder_layers)
        ]
        self._norm = LayerNorm(tensors, "encoder.layer_norm", arithmetic)

    def __call__(self, features: torch.Tensor) -> torch.Tensor:
        """(windows, mel bins, 3000) to (windows, 1500, width).

        On a CPU one window at a time: its activations stay in the caches, and what comes out does not depend on what
        else is in the batch.
        """
        features = features.to(self._arithmetic.device, self._arithmetic.stream)
        if self._arithmetic.device == "cpu":
            return torch.cat([self._encode(features[row : row + 1]) for row in range(len(features))])
        return self._encode(features)

    def _encode(self, features: torch.Tensor) -> torch.Tensor:
        x = self._first.gelu(_neighbours(features.transpose(1, 2), 1))
        x = self._second.gelu(_neighbours(x, 2))
        x = x + self._positions
        for layer in self._layers:
            layer(x)
        return self._norm(x)


class _Layer:
    def __init__(self, tensors: Tensors, name: str, heads: int, arithmetic: Arithmetic) -> None:
        self._heads = heads
        self._attention_type = arithmetic.attention
        self._block = ROWS if arithmetic.device == "cpu" else None
        self._norm = LayerNorm(tensors, f"{name}.self_attn_layer_norm", arithmetic)
        self._qkv = arithmetic.linear(*fused_qkv(tensors, f"{name}.self_attn", heads), rows=1500)
        self._out = arithmetic.linear(*pair(tensors, f"{name}.self_attn.out_proj"), rows=1500)
        self._wide_norm = LayerNorm(tensors, f"{name}.final_layer_norm", arithmetic)
        self._wide = arithmetic.linear(*pair(tensors, f"{name}.fc1"), rows=self._block or 1500)
        self._narrow = arithmetic.linear(*pair(tensors, f"{name}.fc2"), rows=self._block or 1500)

    def __call__(self, x: torch.Tensor) -> None:
        """Adds to ``x`` of shape (windows, 1500, width) in place."""
        # Heads first and contiguous, in the type attention is computed in, by one copy.
        parts = self._qkv(self._norm(x)).view(*x.shape[:2], 3, self._heads, -1).permute(2, 0, 3, 1, 4)
        query, key, value = parts.to(self._attention_type, memory_format=torch.contiguous_format).unbind(0)
        x += self._out(attention.merge(attention.over_audio(query, key, value)))
        if self._block is None:
            x += self._narrow(self._wide.gelu(self._wide_norm(x)))
            return
        for start in range(0, x.shape[1], self._block):
            block = x[:, start : start + self._block]
            block += self._narrow(self._wide.gelu(self._wide_norm(block)))


def fused_qkv(tensors: Tensors, name: str, heads: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Weight (3 × width, width) and bias of query, key and value as one layer, the query's scaled for attention."""
    weight, bias = scaled_query(tensors, name, heads)
    value, value_bias = pair(tensors, f"{name}.v_proj")
    key = tensors[f"{name}.k_proj.weight"].float()
    # Whisper's keys have no bias.
    return torch.cat([weight, key, value.float()]), torch.cat([bias, torch.zeros_like(bias), value_bias.float()])


def scaled_query(tensors: Tensors, name: str, heads: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Weight and bias of the query, times 1 / sqrt(head width), in float32."""
    weight, bias = pair(tensors, f"{name}.q_proj")
    scale = (weight.shape[0] // heads) ** -0.5
    return weight.float() * scale, bias.float() * scale


def pair(tensors: Tensors, name: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Weight and bias of a layer."""
    return tensors[f"{name}.weight"], tensors[f"{name}.bias"]


def _convolution(tensors: Tensors, name: str) -> tuple[torch.Tensor, torch.Tensor]:
    """(out, in, 3) to (out, 3 × in), neighbour by neighbour."""
    weight, bias = pair(tensors, name)
    return weight.permute(0, 2, 1).reshape(len(weight), -1), bias


def _neighbours(x: torch.Tensor, stride: int) -> torch.Tensor:
    """(windows, time, channels) to (windows, time / stride, 3 × channels): each moment between its neighbours, silence
    beyond the ends."""
    windows, time, channels = x.shape
    padded = x.new_zeros(windows, time + 2, channels)
    padded[:, 1:-1] = x
    shape = (windows, time // stride, 3 * channels)
    return padded.as_strided(shape, ((time + 2) * channels, stride * channels, 1))
