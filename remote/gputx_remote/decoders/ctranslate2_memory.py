"""How many windows CTranslate2 can be given at once."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from pathlib import Path
from typing import Any

MOST = {"cpu": 16, "cuda": 64}
"""More at once gains nothing on a CPU; on a GPU it would only delay the first text."""

_SHARE = 0.6  # of what is free: other processes and the allocator's rounding want the rest
_MEMINFO = Path("/proc/meminfo")
_UNKNOWN = 4  # where nobody says how much is free


def batch_size(config: Mapping[str, Any], device: str, compute_type: str) -> int:
    """Windows at once that free memory has room for, from 1 to :data:`MOST`."""
    free = free_bytes(device)
    if free is None:
        return min(_UNKNOWN, MOST[device])
    return max(1, min(MOST[device], int(free * _SHARE) // window_bytes(config, compute_type)))


def window_bytes(config: Mapping[str, Any], compute_type: str) -> int:
    """What one window takes while it is encoded or decoded, at most, by the shapes of what is held.

    For whisper-small in int8 or float32 it says 201 MiB. Measured on a CPU in batches of 4 and 8, a prompt of 227
    tokens and 221 written: 201 to 209.

    Args:
        config: config.json of the checkpoint.
        compute_type: decides the bytes of an activation: 2 where it ends in float16 or bfloat16, else 4.
    """
    width = 2 if compute_type.endswith("float16") else 4
    frames, size = int(config.get("max_source_positions") or 1500), int(config["d_model"])
    layers, context = int(config["decoder_layers"]), int(config.get("max_target_positions") or 448)
    attention = int(config["encoder_attention_heads"]) * frames * frames
    feed_forward = 2 * frames * int(config["encoder_ffn_dim"])
    encoding = (attention + feed_forward + 4 * frames * size) * width
    caches = layers * 2 * (frames + context) * size * width
    # What a prompt, up to half of the context, pays attention to.
    reading = int(config["decoder_attention_heads"]) * (context // 2) * frames * width
    # The logits of every token are kept until the window is done.
    logits = context // 2 * int(config["vocab_size"]) * 4
    # What the encoder works with is free again when the window is decoded; what it made is not.
    return frames * size * width + max(encoding, caches + reading + logits)


def free_bytes(device: str) -> int | None:
    """Memory nobody uses, of the machine or of the first GPU; None where it can't be found out."""
    return _free_on_gpu() if device == "cuda" else _free_on_machine()


def _free_on_machine() -> int | None:
    try:
        lines = _MEMINFO.read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    values = dict(line.split(":", 1) for line in lines if ":" in line)
    available = values.get("MemAvailable")
    return int(available.split()[0]) * 1024 if available else None


class _Memory(ctypes.Structure):
    """nvmlMemory_t."""

    _fields_ = (("total", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong), ("used", ctypes.c_ulonglong))


def _free_on_gpu() -> int | None:
    """By the driver's own library (NVML), since torch is not asked. Written after its manual; not yet run on a GPU."""
    try:
        nvml = ctypes.CDLL("libnvidia-ml.so.1")
    except OSError:
        return None
    if nvml.nvmlInit_v2() != 0:
        return None
    try:
        gpu, memory = ctypes.c_void_p(), _Memory()
        if nvml.nvmlDeviceGetHandleByIndex_v2(0, ctypes.byref(gpu)) != 0:
            return None
        if nvml.nvmlDeviceGetMemoryInfo(gpu, ctypes.byref(memory)) != 0:
            return None
        return int(memory.free)
    finally:
        nvml.nvmlShutdown()
