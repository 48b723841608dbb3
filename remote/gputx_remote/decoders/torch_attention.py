"""Attention, the way that is fastest on each device. Queries come scaled."""

from __future__ import annotations

import torch
from torch.nn import functional

BLOCK = 250
"""Queries at once where the audio attends to itself in bfloat16 on a CPU: what a block of 250 needs stays in the
caches, 67 ms a layer for whisper-small, where scaled_dot_product_attention takes 96."""


def over_audio(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """The encoder's: every position attends to all. Shapes (windows, heads, 1500, head width), result likewise."""
    if query.device.type != "cpu" or query.dtype == torch.float32:
        return functional.scaled_dot_product_attention(query, key, value, scale=1.0)
    key = key.transpose(-1, -2).contiguous()
    blocks = [
        torch.matmul(torch.softmax(torch.matmul(query[..., start : start + BLOCK, :], key), -1), value)
        for start in range(0, query.shape[-2], BLOCK)
    ]
    return torch.cat(blocks, -2)


def over_cache(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor | None = None
) -> torch.Tensor:
    """The text decoder's: a few positions attend to a cache.

    On a CPU as two products, because scaled_dot_product_attention takes five to ten times as long for one query.

    Args:
        query: (windows, heads, queries, head width).
        key: (windows, heads, positions, head width).
        value: as ``key``.
        mask: to be added to the scores, broadcastable to (windows, heads, queries, positions); None: attend to all.
    """
    if query.device.type != "cpu":
        return functional.scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=1.0)
    return torch.matmul(scores(query, key, mask), value)


def over_turned(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """:func:`over_cache` without a mask, ``value`` being (windows, heads, head width, positions)."""
    return torch.matmul(value, scores(query, key).transpose(-1, -2)).transpose(-1, -2)


def scores(query: torch.Tensor, key: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
    """How much each query attends to each position: softmaxed, (windows, heads, queries, positions)."""
    weights = torch.matmul(query, key.transpose(-1, -2))
    if mask is not None:
        weights += mask
    return torch.softmax(weights, -1)


def split(x: torch.Tensor, heads: int) -> torch.Tensor:
    """(windows, positions, width) to (windows, heads, positions, head width), a view."""
    return x.view(x.shape[0], x.shape[1], heads, -1).transpose(1, 2)


def merge(x: torch.Tensor) -> torch.Tensor:
    """(windows, heads, positions, head width) to (windows, positions, width)."""
    return x.transpose(1, 2).reshape(x.shape[0], x.shape[2], -1)
