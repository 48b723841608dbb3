"""How much memory is in use, for /health: looked up beside the requests, so that answering costs nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

_GB = 1024**3
_ANSWER_SECONDS = 5.0
EVERY_SECONDS = 10.0
"""Between two looks."""


class MemoryUse:
    """Of the GPU where the model is on one, else of this process beside all the machine has."""

    def __init__(self) -> None:
        self._used, self._total = _of_process()
        self._gpu_used: int | None = None

    def said(self) -> str:
        """As /health has it: ``2.3GB/16GB``."""
        return f"{self._used / _GB:.1f}GB/{self._total / _GB:.0f}GB"

    def gpu_said(self) -> str:
        """As /transcribe has it: ``3.1GB``; ``0.0GB`` without a GPU."""
        return f"{(self._gpu_used or 0) / _GB:.1f}GB"

    def look(self, device: str) -> None:
        """Look again. Takes a moment where it has to ask nvidia-smi.

        Args:
            device: "cuda" or "cpu".
        """
        gpu = _of_gpu() if device == "cuda" else None
        self._gpu_used = gpu[0] if gpu else None
        self._used, self._total = gpu or _of_process()


def resident() -> int:
    """Bytes of physical memory this process holds now (proc(5), ``/proc/PID/statm``); 0 where nothing says."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except (OSError, ValueError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def _of_process() -> tuple[int, int]:
    return resident(), os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _of_gpu() -> tuple[int, int] | None:
    """(used, total) in bytes of the first GPU, whoever uses it."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        free, total = torch.cuda.mem_get_info()
        return total - free, total
    command = ("nvidia-smi", "--query-gpu=memory.used,memory.total", "--format=csv,noheader,nounits")
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_ANSWER_SECONDS, check=True)
        used, total = done.stdout.splitlines()[0].split(",")
        return int(used) << 20, int(total) << 20
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return None
