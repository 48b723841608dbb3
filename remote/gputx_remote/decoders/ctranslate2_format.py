"""From Whisper weights in safetensors to CTranslate2's model file, with neither torch nor transformers.

CTranslate2's own converter needs both, and a server that runs CTranslate2 wants neither. Both formats are simple:
safetensors is a JSON header before raw arrays (huggingface.co/docs/safetensors), and ``model.bin`` is a list of named
arrays (binary version 6, written by ``ctranslate2/specs/model_spec.py`` and read by its ``src/models/model.cc``).
Numbers are copied as they are stored; CTranslate2 turns them into the type it computes with as it loads them. Only of
the text decoder alone, which is loaded for every window that is drawn, int8 is made here.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
import numpy.typing as npt

from gputx_remote.errors import ModelUnavailableError

BINARY_VERSION = 6
SPECIFICATION = "WhisperSpec"
SPECIFICATION_REVISION = 3

_GELU = 3  # ctranslate2's enum ActivationType
_TYPE_IDS = {"float32": 0, "int8": 1, "int16": 2, "float16": 4, "bfloat16": 5}  # its enum DataType
_STORED: dict[str, tuple[str, np.dtype[Any]]] = {
    "F32": ("float32", np.dtype("<f4")),
    "F16": ("float16", np.dtype("<f2")),
    # numpy has no bfloat16: its 16 bits are carried as they are.
    "BF16": ("bfloat16", np.dtype("<u2")),
}


@dataclass(frozen=True)
class Tensor:
    """An array and what its numbers are; bfloat16 is held as uint16."""

    type: str
    array: npt.NDArray[Any]

    def float32(self) -> Tensor:
        if self.type == "bfloat16":
            return Tensor("float32", (self.array.astype(np.uint32) << 16).view(np.float32))
        return Tensor("float32", self.array.astype(np.float32))


@dataclass(frozen=True)
class Alias:
    """A variable that is another one."""

    of: str


Variable = Tensor | Alias

Part = Literal["whole", "text", "text-int8"]
"""What of a model: all of it; all but the encoder's layers, for windows that are encoded already; the same with its
matrices in int8."""


def read_safetensors(files: Sequence[Path]) -> dict[str, Tensor]:
    """All arrays of a checkpoint, mapped rather than read.

    Raises:
        ModelUnavailableError: a file is cut short, no safetensors at all, or holds numbers Whisper never has.
    """
    tensors: dict[str, Tensor] = {}
    for path in files:
        try:
            tensors.update(_mapped(path))
        except (OSError, ValueError, KeyError, TypeError, struct.error) as error:
            raise ModelUnavailableError(f"{path}: its weights can't be read: {error}") from error
    return tensors


def _mapped(path: Path) -> Iterator[tuple[str, Tensor]]:
    for name, entry, start in safetensors_entries(path):
        kind = entry["dtype"]
        if kind not in _STORED:
            raise ValueError(f"{name} is stored as {kind}; float32, float16 and bfloat16 are known")
        type_name, dtype = _STORED[kind]
        shape = tuple(entry["shape"])
        begin, end = entry["data_offsets"]
        if end - begin != dtype.itemsize * int(np.prod(shape)):
            raise ValueError(f"{name} does not fill its place")
        # The mapping itself refuses what lies behind the end of the file.
        yield name, Tensor(type_name, np.memmap(path, dtype, "r", start + begin, shape))


def safetensors_entries(path: Path) -> Iterator[tuple[str, dict[str, Any], int]]:
    """(name, its entry in the header, where the arrays begin in the file) of every array."""
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        if length > path.stat().st_size:
            raise ValueError("it is no safetensors file")
        header = json.loads(file.read(length))
    for name, entry in header.items():
        if name != "__metadata__":
            yield name, entry, 8 + length


def write_model(
    file: IO[bytes], weights: Mapping[str, Tensor], config: Mapping[str, Any], *, rows: int = 0, part: Part = "whole"
) -> None:
    """Write ``model.bin``.

    Args:
        file: where to.
        weights: by their names in transformers.
        config: config.json of the checkpoint.
        rows: pad the token embeddings with zeros up to this many.
        part: what of the model.

    Raises:
        ModelUnavailableError: a weight is missing, or the model is built in a way CTranslate2 has no place for.
        OSError: the file can't be written.
    """
    if part != "whole":
        # CTranslate2 does not load a Whisper without a first layer in its encoder.
        config = {**config, "encoder_layers": 1}
    variables = dict(_variables(weights, config, rows))
    if part == "text-int8":
        variables = dict(_in_int8(variables))
    arrays = {name: value for name, value in sorted(variables.items()) if isinstance(value, Tensor)}
    aliases = {name: value for name, value in sorted(variables.items()) if isinstance(value, Alias)}
    file.write(struct.pack("<I", BINARY_VERSION))
    _write_name(file, SPECIFICATION)
    file.write(struct.pack("<II", SPECIFICATION_REVISION, len(arrays)))
    for name, tensor in arrays.items():
        _write_name(file, name)
        shape = tensor.array.shape
        file.write(struct.pack(f"<B{len(shape)}I", len(shape), *shape))
        file.write(struct.pack("<BI", _TYPE_IDS[tensor.type], tensor.array.nbytes))
        file.write(np.ascontiguousarray(tensor.array).data)
    file.write(struct.pack("<I", len(aliases)))
    for name, alias in aliases.items():
        _write_name(file, name)
        _write_name(file, alias.of)


def _write_name(file: IO[bytes], name: str) -> None:
    encoded = name.encode() + b"\0"
    file.write(struct.pack("<H", len(encoded)) + encoded)


def _variables(weights: Mapping[str, Tensor], config: Mapping[str, Any], rows: int) -> Iterator[tuple[str, Variable]]:
    """Every variable of CTranslate2's Whisper by its name there."""
    if config.get("activation_function", "gelu") != "gelu":
        raise ModelUnavailableError(f"CTranslate2's Whisper has no activation {config['activation_function']!r}")
    take = _reader(weights)
    yield from _encoder(take, config)
    yield from _decoder(take, config)
    embeddings = take("decoder.embed_tokens.weight")
    yield "decoder/embeddings/weight", _padded(embeddings, rows)
    if "proj_out.weight" in weights and not config.get("tie_word_embeddings", True):
        yield "decoder/projection/weight", _padded(weights["proj_out.weight"], rows)
    else:
        yield "decoder/projection/weight", Alias("decoder/embeddings/weight")


Take = Callable[[str], Tensor]


def _reader(weights: Mapping[str, Tensor]) -> Take:
    prefix = "model." if any(name.startswith("model.") for name in weights) else ""

    def take(name: str) -> Tensor:
        try:
            return weights[prefix + name]
        except KeyError:
            raise ModelUnavailableError(f"the checkpoint has no weight {prefix + name}") from None

    return take


def _encoder(take: Take, config: Mapping[str, Any]) -> Iterator[tuple[str, Variable]]:
    yield "encoder/num_heads", _scalar("int16", int(config["encoder_attention_heads"]))
    for convolution in ("conv1", "conv2"):
        yield f"encoder/{convolution}/weight", take(f"encoder.{convolution}.weight")
        yield f"encoder/{convolution}/bias", take(f"encoder.{convolution}.bias")
    yield "encoder/position_encodings/encodings", take("encoder.embed_positions.weight")
    yield from _norm(take, "encoder/layer_norm", "encoder.layer_norm")
    for index in range(int(config["encoder_layers"])):
        theirs, ours = f"encoder/layer_{index}", f"encoder.layers.{index}"
        yield from _self_attention(take, theirs, ours)
        yield from _feed_forward(take, theirs, ours)


def _decoder(take: Take, config: Mapping[str, Any]) -> Iterator[tuple[str, Variable]]:
    flags = {
        "activation": _GELU,
        "alibi": 0,
        "alibi_use_positive_positions": 0,
        "pre_norm": 1,
        "scale_alibi": 0,
        "scale_embeddings": int(bool(config.get("scale_embedding"))),
        "start_from_zero_embedding": 0,
    }
    for name, value in flags.items():
        yield f"decoder/{name}", _scalar("int8", value)
    yield "decoder/num_heads", _scalar("int16", int(config["decoder_attention_heads"]))
    # Whisper's alignment heads are named in its config.json; these two are of other models.
    yield "decoder/alignment_layer", _scalar("int16", -1)
    yield "decoder/alignment_heads", _scalar("int16", 1)
    yield "decoder/position_encodings/encodings", take("decoder.embed_positions.weight")
    yield from _norm(take, "decoder/layer_norm", "decoder.layer_norm")
    for index in range(int(config["decoder_layers"])):
        theirs, ours = f"decoder/layer_{index}", f"decoder.layers.{index}"
        yield from _self_attention(take, theirs, ours)
        yield from _cross_attention(take, theirs, ours)
        yield from _feed_forward(take, theirs, ours)


def _self_attention(take: Take, theirs: str, ours: str) -> Iterator[tuple[str, Variable]]:
    theirs, projections = f"{theirs}/self_attention", f"{ours}.self_attn"
    yield from _norm(take, f"{theirs}/layer_norm", f"{ours}.self_attn_layer_norm")
    yield from _joined(take, f"{theirs}/linear_0", [f"{projections}.{part}_proj" for part in "qkv"])
    yield from _joined(take, f"{theirs}/linear_1", [f"{projections}.out_proj"])


def _cross_attention(take: Take, theirs: str, ours: str) -> Iterator[tuple[str, Variable]]:
    theirs, projections = f"{theirs}/attention", f"{ours}.encoder_attn"
    yield from _norm(take, f"{theirs}/layer_norm", f"{ours}.encoder_attn_layer_norm")
    yield from _joined(take, f"{theirs}/linear_0", [f"{projections}.q_proj"])
    yield from _joined(take, f"{theirs}/linear_1", [f"{projections}.k_proj", f"{projections}.v_proj"])
    yield from _joined(take, f"{theirs}/linear_2", [f"{projections}.out_proj"])


def _feed_forward(take: Take, theirs: str, ours: str) -> Iterator[tuple[str, Variable]]:
    yield from _norm(take, f"{theirs}/ffn/layer_norm", f"{ours}.final_layer_norm")
    yield from _joined(take, f"{theirs}/ffn/linear_0", [f"{ours}.fc1"])
    yield from _joined(take, f"{theirs}/ffn/linear_1", [f"{ours}.fc2"])


def _norm(take: Take, theirs: str, ours: str) -> Iterator[tuple[str, Variable]]:
    yield f"{theirs}/gamma", take(f"{ours}.weight")
    yield f"{theirs}/beta", take(f"{ours}.bias")


def _joined(take: Take, theirs: str, ours: Sequence[str]) -> Iterator[tuple[str, Variable]]:
    """One linear layer out of several that read the same input. Whisper's keys have no bias: zeros do."""
    weights = [take(f"{name}.weight") for name in ours]
    biases = []
    for name, weight in zip(ours, weights, strict=True):
        keyless = name.endswith(".k_proj")
        zeros = Tensor(weight.type, np.zeros(weight.array.shape[0], weight.array.dtype))
        biases.append(zeros if keyless else take(f"{name}.bias"))
    yield f"{theirs}/weight", _concatenated(weights)
    yield f"{theirs}/bias", _concatenated(biases)


def _concatenated(tensors: Sequence[Tensor]) -> Tensor:
    if len({tensor.type for tensor in tensors}) > 1:
        tensors = [tensor.float32() for tensor in tensors]
    if len(tensors) == 1:
        return tensors[0]
    return Tensor(tensors[0].type, np.concatenate([tensor.array for tensor in tensors]))


def _in_int8(variables: Mapping[str, Variable]) -> Iterator[tuple[str, Variable]]:
    """With every matrix as CTranslate2 makes it while it loads one for int8: the largest number of a row becomes 127
    (``src/ops/quantize_cpu.cc``)."""
    for name, value in variables.items():
        if isinstance(value, Alias):
            yield name, value
            yield f"{name}_scale", Alias(f"{value.of}_scale")
        elif name.endswith("/weight") and value.array.ndim == 2:
            numbers = value.float32().array
            largest = np.abs(numbers).max(axis=1)
            scale = np.divide(np.float32(127), largest, out=np.ones_like(largest), where=largest > 0)
            yield name, Tensor("int8", np.rint(numbers * scale[:, None]).astype(np.int8))
            yield f"{name}_scale", Tensor("float32", scale)
        else:
            yield name, value


def _padded(tensor: Tensor, rows: int) -> Tensor:
    missing = rows - tensor.array.shape[0]
    if missing <= 0:
        return tensor
    zeros = np.zeros((missing, tensor.array.shape[1]), tensor.array.dtype)
    return Tensor(tensor.type, np.concatenate([tensor.array, zeros]))


def _scalar(kind: str, value: int) -> Tensor:
    return Tensor(kind, np.array(value, dtype=kind))
