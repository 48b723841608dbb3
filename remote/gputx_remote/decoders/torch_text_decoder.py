"""Whisper's text decoder over the checkpoint's weights, and the caches it works on."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn import functional

from gputx_remote.decoders import torch_attention as attention
from gputx_remote.decoders.torch_checkpoint import Checkpoint, Dimensions, Tensors
from gputx_remote.decoders.torch_encoder import fused_qkv, pair, scaled_query
from gputx_remote.decoders.torch_linear import Arithmetic, LayerNorm, Linear

STEP_ROWS = 8
"""Rows of a step the weights are laid out for; any number works."""


class Cache:
    """Keys and values of a batch, of a fixed size and at fixed addresses: what a captured graph needs.

    A window has a slot, the same in every tensor. The slots in use are the first ones.
    """

    def __init__(self, slots: int, sizes: Dimensions, arithmetic: Arithmetic) -> None:
        def room(positions: int, *, turned: bool = False) -> list[torch.Tensor]:
            width = sizes.width // sizes.decoder_heads
            shape = (slots, sizes.decoder_heads, *((width, positions) if turned else (positions, width)))
            # Zeros, because what is masked is multiplied by nought, and nought times what was there may be no number.
            return [
                torch.zeros(shape, dtype=arithmetic.attention, device=arithmetic.device)
                for _ in range(sizes.decoder_layers)
            ]

        self.slots = slots
        self.audio_keys = room(sizes.frames)
        self.audio_values = room(sizes.frames, turned=arithmetic.turned)
        self.keys, self.values = room(columns_of(sizes)), room(columns_of(sizes))

    def move(self, source: int, target: int, length: int) -> None:
        """Copy a window into another slot, of its text the first ``length`` positions."""
        for tensor in (*self.audio_keys, *self.audio_values):
            tensor[target].copy_(tensor[source])
        for tensor in (*self.keys, *self.values):
            tensor[target, :, :length].copy_(tensor[source, :, :length])


def columns_of(sizes: Dimensions) -> int:
    """Columns of the cache of the text: the context, and half of it more, because beside a long prompt a short one is
    padded."""
    return sizes.context + sizes.context // 2


@dataclass(frozen=True)
class Place:
    """Where in the text a forward pass stands."""

    write: torch.Tensor
    """int64 of shape (tokens,): the columns of the cache that are written, the same for all windows."""
    positions: torch.Tensor
    """int64 of shape (windows, tokens): each token's place in its own window's text."""
    length: int
    """Columns of the cache that are attended to: the first ones."""
    mask: torch.Tensor | None
    """To be added to the scores, broadcastable to (windows, 1, tokens, length); None: all of them are heard."""


class TextDecoder:
    """Tokens in, the logits of the next ones out."""

    def __init__(self, checkpoint: Checkpoint, arithmetic: Arithmetic) -> None:
        sizes, tensors = checkpoint.dimensions, checkpoint.tensors
        self._arithmetic = arithmetic
        embedding = tensors["decoder.embed_tokens.weight"]
        self._embedding = embedding.to(arithmetic.device, arithmetic.stream)
        positions = tensors["decoder.embed_positions.weight"]
        self._positions = positions.to(arithmetic.device, arithmetic.stream)
        self._layers = [
            _Layer(tensors, f"decoder.layers.{number}", sizes, arithmetic) for number in range(sizes.decoder_layers)
        ]
        self._norm = LayerNorm(tensors, "decoder.layer_norm", arithmetic)
        # The output layer is the embedding again; on CUDA they share their memory.
        output = tensors.get("proj_out.weight", self._embedding)
        self._output = arithmetic.linear(output, None, rows=STEP_ROWS)

    def listen(self, states: torch.Tensor, cache: Cache) -> None:
        """Fill the caches of the first slots with keys and values of the encoder's output, (windows, 1500, width)."""
        if self._arithmetic.device == "cpu":
            # One window at a time, as in the encoder.
            for slot in range(len(states)):
                self._listen(states[slot : slot + 1], cache, slot)
        else:
            self._listen(states, cache, 0)

    def _listen(self, states: torch.Tensor, cache: Cache, slot: int) -> None:
        # All layers listen to the same states: what prepares them is done once.
        prepared = self._layers[0].heard.prepared(states)
        for layer, keys, values in zip(self._layers, cache.audio_keys, cache.audio_values, strict=True):
            heard = layer.heard(prepared)
            key, value = heard.view(*states.shape[:2], 2, layer.heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
            keys[slot : slot + len(states)].copy_(key)
            values[slot : slot + len(states)].copy_(value.mT if self._arithmetic.turned else value)

    def __call__(
        self, tokens: torch.Tensor, place: Place, cache: Cache, heard: list[torch.Tensor] | None = None
    ) -> torch.Tensor:
        """Read tokens and write their keys and values into the cache.

        Args:
            tokens: int64 of shape (windows, tokens), of the first slots.
            place: where they stand.
            cache: as :meth:`listen` and earlier calls left it.
            heard: takes each layer's attention to the audio, (windows, heads, tokens, 1500).

        Returns:
            The last layer's output, (windows, tokens, width): :meth:`logits` makes something of it.
        """
        x = functional.embedding(tokens, self._embedding) + functional.embedding(place.positions, self._positions)
        for number, layer in enumerate(self._layers):
            layer(x, place, cache, number, heard)
        return self._norm(x)

    def logits(self, x: torch.Tensor) -> torch.Tensor:
        """(rows, width) to float32 (rows, vocabulary)."""
        return self._output(x).float()


class _Layer:
    def __init__(self, tensors: Tensors, name: str, sizes: Dimensions, arithmetic: Arithmetic) -> None:
        def linear(part: str) -> Linear:
            return arithmetic.linear(*pair(tensors, f"{name}.{part}"), rows=STEP_ROWS)

        self.heads = sizes.decoder_heads
        self._type, self._stream = arithmetic.attention, arithmetic.stream
        self._over_audio = attention.over_turned if arithmetic.turned else attention.over_cache
        self._norm = LayerNorm(tensors, f"{name}.self_attn_layer_norm", arithmetic)
        self._qkv = arithmetic.linear(*fused_qkv(tensors, f"{name}.self_attn", self.heads), rows=STEP_ROWS)
        self._out = linear("self_attn.out_proj")
        self._audio_norm = LayerNorm(tensors, f"{name}.encoder_attn_layer_norm", arithmetic)
        query = scaled_query(tensors, f"{name}.encoder_attn", self.heads)
        self._audio_query = arithmetic.linear(*query, rows=STEP_ROWS)
        self._audio_out = linear("encoder_attn.out_proj")
        self.heard = arithmetic.linear(*_key_value(tensors, f"{name}.encoder_attn"), rows=sizes.frames)
        self._wide_norm = LayerNorm(tensors, f"{name}.final_layer_norm", arithmetic)
        self._wide = linear("fc1")
        self._narrow = linear("fc2")

    def __call__(
        self, x: torch.Tensor, place: Place, cache: Cache, number: int, heard: list[torch.Tensor] | None
    ) -> None:
        """Adds to ``x`` of shape (windows, tokens, width) in place."""
        windows = len(x)
        parts = self._qkv(self._norm(x)).to(self._type).view(windows, x.shape[1], 3, self.heads, -1)
        query, key, value = parts.permute(2, 0, 3, 1, 4).unbind(0)
        keys, values = cache.keys[number][:windows], cache.values[number][:windows]
        keys.index_copy_(2, place.write, key)
        values.index_copy_(2, place.write, value)
        read = attention.over_cache(query, keys[:, :, : place.length], values[:, :, : place.length], place.mask)
        x += self._out(attention.merge(read).to(self._stream))

        query = attention.split(self._audio_query(self._audio_norm(x)).to(self._type), self.heads)
        keys, values = cache.audio_keys[number][:windows], cache.audio_values[number][:windows]
        if heard is not None:
            heard.append(attention.scores(query, keys))
        x += self._audio_out(attention.merge(self._over_audio(query, keys, values)).to(self._stream))
        x += self._narrow(self._wide.gelu(self._wide_norm(x)))


def _key_value(tensors: Tensors, name: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Weight (2 × width, width) and bias of the key and the value of the audio as one layer."""
    weight, bias = pair(tensors, f"{name}.v_proj")
    key = tensors[f"{name}.k_proj.weight"].float()
    return torch.cat([key, weight.float()]), torch.cat([torch.zeros_like(bias, dtype=torch.float32), bias.float()])
