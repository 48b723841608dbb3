"""How many windows fit into free memory."""

from __future__ import annotations

from pathlib import Path

FRAMES = 1500
"""Positions of the encoder's output for 30 s."""
CPU_SHARE = 0.25
"""Of the memory that is free here: the machine is not ours alone."""
CUDA_SHARE = 0.8
CPU_LIMIT = 16
"""More at once made a CPU no faster (benchmarks/decoders.py)."""
CUDA_LIMIT = 64
WORKSPACE = 4.0
"""What the encoder needs beside the caches, in encoder outputs: attention and the wide layer of its feed-forward."""


def cache_bytes(*, width: int, layers: int, columns: int, bytes_each: int) -> int:
    """What the keys and values of one window take.

    Args:
        width: of the model (``d_model``).
        layers: of its text decoder: each keeps keys and values of the audio and of the text.
        columns: tokens of text there is a place for, as the decoder allocates it.
        bytes_each: of a number.
    """
    return 2 * layers * (FRAMES + columns) * width * bytes_each


def windows_that_fit(device: str, *, width: int, layers: int, columns: int, bytes_each: int) -> int:
    """Windows at once for which there is memory now, at least 1.

    Args:
        device: "cpu" or "cuda".
        width: as for :func:`cache_bytes`, and so on.
        layers: likewise.
        columns: likewise.
        bytes_each: likewise; of the numbers the encoder works with, too.
    """
    cache = cache_bytes(width=width, layers=layers, columns=columns, bytes_each=bytes_each)
    window = cache + WORKSPACE * FRAMES * width * 4 * bytes_each
    if device == "cuda":
        import torch  # noqa: PLC0415 - a decoder without torch asks for the CPU only

        return max(1, min(CUDA_LIMIT, int(torch.cuda.mem_get_info()[0] * CUDA_SHARE / window)))
    return max(1, min(CPU_LIMIT, int(_free_memory() * CPU_SHARE / window)))


def _free_memory() -> int:
    """Bytes that can be had without swapping (MemAvailable), where the system says; 4 GiB where not."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return 4 << 30
    fields = dict(line.split(":", 1) for line in lines)
    return int(fields["MemAvailable"].split()[0]) * 1024
