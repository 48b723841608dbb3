"""Linear layers in the arithmetic that was asked for.

On a CPU the matrices lie in the order oneDNN multiplies in: whisper-small's shapes then run at 103 GFLOP/s in
float32 where ``torch.nn.functional.linear`` runs at 86, at 200 in bfloat16, and at 410 in int8 (one core of a Zen 4
EPYC, AVX-512, oneDNN 3.12).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch.nn import functional

from gputx_remote.decoders.torch_checkpoint import Tensors

INT8_LIMIT = 127


@dataclass(frozen=True)
class Arithmetic:
    """What is computed in what."""

    device: str
    """cpu or cuda."""
    compute_type: str
    """float32, bfloat16, float16 or int8."""

    @property
    def stream(self) -> torch.dtype:
        """Of what flows from layer to layer."""
        return torch.float32 if self.compute_type == "int8" else _DTYPES[self.compute_type]

    @property
    def attention(self) -> torch.dtype:
        """Of queries, keys and values, and so of the caches: int8 is for matrices of weights only."""
        return torch.bfloat16 if self.compute_type == "int8" else _DTYPES[self.compute_type]

    @property
    def turned(self) -> bool:
        """Whether values of the audio are kept with their positions last, (…, head width, 1500): on a CPU in float32
        a product with one row of weights then takes half the time, in bfloat16 more."""
        return self.device == "cpu" and self.attention == torch.float32

    def linear(self, weight: torch.Tensor, bias: torch.Tensor | None, *, rows: int) -> Linear:
        """A layer from a weight of shape (out, in) and a bias of shape (out,).

        Args:
            weight: in any floating type.
            bias: likewise, or None.
            rows: how many inputs it will mostly be given at once, for the order the weight is kept in.
        """
        if self.compute_type == "int8":
            return Int8Linear(weight.float(), bias, rows)
        weight = weight.to(self.device, self.stream)
        bias = None if bias is None else bias.to(self.device, self.stream)
        if self.device == "cpu" and _PACKS:
            return PackedLinear(weight, bias, rows)
        return DenseLinear(weight, bias)


_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


class Linear(Protocol):
    """``x @ weight.T + bias``."""

    def prepared(self, x: torch.Tensor) -> Any:
        """An input in the form ``__call__`` works on, for an input that several layers share."""
        ...

    def __call__(self, x: Any) -> torch.Tensor:
        """(…, in) to (…, out), in the type of what flows between layers."""
        ...

    def gelu(self, x: Any) -> torch.Tensor:
        """The same, with GELU (the exact one) behind it."""
        ...


class DenseLinear:
    """As torch has it."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None) -> None:
        self._weight = weight.contiguous()
        self._bias = bias

    def prepared(self, x: torch.Tensor) -> torch.Tensor:
        return x

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return functional.linear(x, self._weight, self._bias)

    def gelu(self, x: torch.Tensor) -> torch.Tensor:
        return functional.gelu(self(x))


class PackedLinear:
    """Through oneDNN, the weight reordered once; GELU is part of the product. What torch.compile makes of a frozen
    linear layer on a CPU, without waiting for a compiler."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None, rows: int) -> None:
        self._weight = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), rows)
        self._bias = bias

    def prepared(self, x: torch.Tensor) -> torch.Tensor:
        return x

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = torch.ops.mkldnn._linear_pointwise(x, self._weight, self._bias, "none", [], "")
        return result

    def gelu(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = torch.ops.mkldnn._linear_pointwise(x, self._weight, self._bias, "gelu", [], "none")
        return result


@dataclass(frozen=True)
class Rows:
    """An input in eight bits. ``(values - 128) * scale`` is about what it was."""

    values: torch.Tensor
    """uint8 of shape (rows, in)."""
    scale: torch.Tensor
    """float32 of shape (rows, 1)."""
    shape: torch.Size
    """Of the input: (…, in)."""


class Int8Linear:
    """Weights in eight bits with a scale for each output, inputs in eight bits with a scale for each row, found as
    they come (Dettmers et al., LLM.int8(), 2022, section 2.1: vector-wise). A row does not depend on its neighbours."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None, rows: int) -> None:
        scale = (weight.abs().amax(1) / INT8_LIMIT).clamp_(min=torch.finfo(torch.float32).tiny)
        values = torch.round(weight / scale[:, None]).to(torch.int8)
        self._weight = torch.ops.onednn.qlinear_prepack(values, [rows, weight.shape[1]])
        self._scale = scale
        self._zeros = torch.zeros(len(scale), dtype=torch.int64)
        self._bias = torch.zeros(len(scale)) if bias is None else bias.float()

    def prepared(self, x: torch.Tensor) -> Rows:
        flat = x.reshape(-1, x.shape[-1]).float()
        largest = torch.maximum(flat.amax(1, keepdim=True), flat.amin(1, keepdim=True).neg_())
        scale = largest.div_(INT8_LIMIT).clamp_(min=torch.finfo(torch.float32).tiny)
        # Conversion cuts off, so half a step more makes it round.
        values = torch.addcmul(_MIDDLE, flat, scale.reciprocal()).to(torch.uint8)
        return Rows(values, scale, x.shape)

    def __call__(self, x: torch.Tensor | Rows) -> torch.Tensor:
        rows = x if isinstance(x, Rows) else self.prepared(x)
        product: torch.Tensor = torch.ops.onednn.qlinear_pointwise(
            rows.values, 1.0, 128, self._weight, self._scale, self._zeros, None, 1.0, 0, torch.float32, "none", [], ""
        )
        torch.addcmul(self._bias, product, rows.scale, out=product)
        return product.view(*rows.shape[:-1], -1)

    def gelu(self, x: torch.Tensor | Rows) -> torch.Tensor:
        return functional.gelu(self(x))


_MIDDLE = torch.tensor(128.5)


class LayerNorm:
    """Layer normalisation with Whisper's epsilon."""

    def __init__(self, tensors: Tensors, name: str, arithmetic: Arithmetic) -> None:
        self._weight = tensors[f"{name}.weight"].to(arithmetic.device, arithmetic.stream)
        self._bias = tensors[f"{name}.bias"].to(arithmetic.device, arithmetic.stream)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return functional.layer_norm(x, x.shape[-1:], self._weight, self._bias, 1e-5)


def int8_works() -> bool:
    """Whether this CPU multiplies bytes exactly: AVX-512 VNNI adds up in 32 bits, where AVX2 alone saturates at 16."""
    supported = getattr(torch.cpu, "_is_vnni_supported", lambda: False)()
    return bool(supported) and _has(torch.ops.onednn, "qlinear_pointwise", "qlinear_prepack")


def _has(namespace: Any, *names: str) -> bool:
    return bool(torch._C._has_mkldnn) and all(hasattr(namespace, name) for name in names)


_PACKS = _has(torch.ops.mkldnn, "_reorder_linear_weight", "_linear_pointwise")
