"""What this machine is, and how much memory this process has needed: for people who compare."""

from __future__ import annotations

import os
import platform
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

_KIB = 1024
_ANSWER_SECONDS = 10.0


def describe(device: str) -> dict[str, Any]:
    """The machine in words and figures: ``cpu``, ``cores`` that may be used, ``memory`` in bytes, and ``gpu`` as its
    driver names it, None without one.

    Args:
        device: "cuda" where a GPU can be used, else "cpu".
    """
    return {
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1,
        "memory": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        "gpu": _gpu() if device == "cuda" else None,
    }


def multiplies_bytes() -> bool:
    """Whether the processor has AVX-512 VNNI, by what Linux says of it, which costs no import of torch."""
    try:
        words = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return any("avx512_vnni" in line.split() for line in words.splitlines() if line.startswith("flags"))


def peak_memory() -> int:
    """Bytes of physical memory this process has held at most, files that are mapped included.

    Linux is asked for VmHWM: its ``ru_maxrss`` counts what the process was before it became this program, too, and
    so is never below the size of the client that started it (getrusage(2): the figure survives execve).
    """
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) * _KIB for line in lines if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * _KIB


def peak_gpu_memory() -> int | None:
    """Bytes of GPU memory that torch has held at most; None where torch has not used a GPU.

    CTranslate2 allocates by itself and keeps no count.
    """
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return None
    return int(torch.cuda.max_memory_allocated())


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, "") or _said("sysctl", "-n", "machdep.cpu.brand_string") or platform.machine()


def _gpu() -> str | None:
    lines = _said("nvidia-smi", "--query-gpu=name", "--format=csv,noheader").splitlines()
    return lines[0].strip() if lines else None


def _said(*command: str) -> str:
    """What a command prints; nothing where it is not here or fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_ANSWER_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
