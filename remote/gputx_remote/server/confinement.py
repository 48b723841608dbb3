"""Limits a process puts on itself before it touches what a stranger sent. None of them can be taken back."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
from pathlib import Path

from gputx_remote.server import system_calls

_CREATE_RULESET, _RESTRICT_SELF = 444, 446
"""System calls, the same number on every architecture (``include/uapi/asm-generic/unistd.h``)."""
_NO_NEW_PRIVILEGES = 38
_VERSION_ONLY = 1
_FILE_RIGHTS = {1: 0x1FFF, 2: 0x3FFF, 3: 0x7FFF, 4: 0x7FFF, 5: 0xFFFF}
"""Every way to reach a file that a version of Landlock knows (``include/uapi/linux/landlock.h``)."""
_NETWORK_RIGHTS = 0b11  # bind and connect, from version 4
_SCOPES = 0b11  # abstract sockets of others, and signals to them, from version 6
SPARE_DESCRIPTORS = 4
"""That may still be opened: FFmpeg duplicates the one it reads."""


class _Ruleset(ctypes.Structure):
    """``struct landlock_ruleset_attr``."""

    _fields_ = (("files", ctypes.c_uint64), ("network", ctypes.c_uint64), ("scoped", ctypes.c_uint64))


def confine(*, memory: int, cpu_seconds: int, wall_seconds: int, file_bytes: int, descriptors: int) -> None:
    """From here on: so much more memory, so much time, no new files, no path, no socket, no signal to anybody and no
    other program where Linux can forbid it.

    Args:
        memory: bytes of address space beyond what is mapped already.
        cpu_seconds: of processor time; beyond it the process is killed.
        wall_seconds: likewise by the clock.
        file_bytes: the largest file that can be written; beyond it a write raises OSError (EFBIG).
        descriptors: the highest descriptor in use.
    """
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(wall_seconds)
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_CPU, cpu_seconds)
    _limit(resource.RLIMIT_FSIZE, file_bytes)
    _limit(resource.RLIMIT_NOFILE, descriptors + 1 + SPARE_DESCRIPTORS)
    if sys.platform == "linux":
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        _limit(resource.RLIMIT_AS, pages * resource.getpagesize() + memory)
        _forbid_paths()
        system_calls.forbid()


def _limit(what: int, most: int) -> None:
    _, hard = resource.getrlimit(what)
    allowed = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(what, (allowed, allowed))


def _forbid_paths() -> bool:
    """No path can be opened, made or run, no port reached (Linux 5.13 and later). False where the kernel can't."""
    libc = ctypes.CDLL(None, use_errno=True)
    version = libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), _VERSION_ONLY)
    if version < 1:
        return False
    rules = _Ruleset(
        _FILE_RIGHTS[min(version, max(_FILE_RIGHTS))],
        _NETWORK_RIGHTS if version >= 4 else 0,
        _SCOPES if version >= 6 else 0,
    )
    size = ctypes.sizeof(_Ruleset) if version >= 6 else 16 if version >= 4 else 8
    handle = libc.syscall(_CREATE_RULESET, ctypes.byref(rules), ctypes.c_size_t(size), 0)
    if handle < 0:
        return False
    try:
        private = libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0) == 0
        return bool(private and libc.syscall(_RESTRICT_SELF, handle, 0) == 0)
    finally:
        os.close(handle)
