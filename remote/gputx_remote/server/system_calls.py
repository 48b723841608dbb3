"""System calls a process forbids itself for good: a filter in the kernel (seccomp), on x86-64 and ARM64.

What is forbidden fails with EPERM. Listed is whatever reaches beyond the process: sockets of any family, paths, other
processes, programs, and the newer ways round such a list (io_uring, and the 32-bit calls of a 64-bit kernel, which are
forbidden whole).
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct

_NO_NEW_PRIVILEGES, _SET_SECCOMP = 38, 22
_MODE_FILTER = 2
"""prctl(2)."""
_LOAD, _JUMP_EQUAL, _JUMP_ABOVE, _RETURN = 0x20, 0x15, 0x35, 0x06
"""``BPF_LD|BPF_W|BPF_ABS``, ``BPF_JMP|BPF_JEQ|BPF_K``, ``BPF_JMP|BPF_JGE|BPF_K``, ``BPF_RET|BPF_K``
(``include/uapi/linux/bpf_common.h``)."""
_NUMBER, _ARCHITECTURE = 0, 4
"""Where they stand in ``struct seccomp_data``."""
_ALLOW, _DENY = 0x7FFF0000, 0x00050000 | errno.EPERM
_X32 = 0x40000000
"""From here on x86-64 numbers its calls of 32-bit pointers."""

_AUDIT = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
"""``AUDIT_ARCH_…`` of ``include/uapi/linux/audit.h``."""

# fmt: off
_FORBIDDEN: dict[str, tuple[int, int | None]] = {
    # Sockets.
    "socket": (41, 198), "socketpair": (53, 199), "connect": (42, 203), "bind": (49, 200), "listen": (50, 201),
    "accept": (43, 202), "accept4": (288, 242), "sendto": (44, 206), "sendmsg": (46, 211), "sendmmsg": (307, 269),
    "recvfrom": (45, 207), "recvmsg": (47, 212), "recvmmsg": (299, 243),
    # Paths.
    "open": (2, None), "openat": (257, 56), "openat2": (437, 437), "open_by_handle_at": (304, 265),
    "creat": (85, None), "truncate": (76, 45), "mkdir": (83, None), "mkdirat": (258, 34), "mknod": (133, None),
    "mknodat": (259, 33), "rmdir": (84, None), "unlink": (87, None), "unlinkat": (263, 35), "rename": (82, None),
    "renameat": (264, 38), "renameat2": (316, 276), "link": (86, None), "linkat": (265, 37), "symlink": (88, None),
    "symlinkat": (266, 36), "chmod": (90, None), "fchmodat": (268, 53), "fchmodat2": (452, 452), "chown": (92, None),
    "lchown": (94, None), "fchownat": (260, 54), "utime": (132, None), "utimes": (235, None),
    "futimesat": (261, None), "utimensat": (280, 88), "setxattr": (188, 5), "lsetxattr": (189, 6), "chdir": (80, 49),
    "chroot": (161, 51), "pivot_root": (155, 41), "mount": (165, 40), "umount2": (166, 39), "open_tree": (428, 428),
    "move_mount": (429, 429), "fsopen": (430, 430), "inotify_add_watch": (254, 27), "fanotify_init": (300, 262),
    "mq_open": (240, 180),
    # Other processes.
    "kill": (62, 129), "tkill": (200, 130), "tgkill": (234, 131), "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240), "pidfd_open": (434, 434), "pidfd_send_signal": (424, 424),
    "pidfd_getfd": (438, 438), "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271),
    "process_madvise": (440, 440), "kcmp": (312, 272), "prlimit64": (302, 261), "shmget": (29, 194),
    "semget": (64, 190), "msgget": (68, 186),
    # Programs, namespaces, and the kernel itself.
    "execve": (59, 221), "execveat": (322, 281), "unshare": (272, 97), "setns": (308, 268),
    "io_uring_setup": (425, 425), "io_uring_enter": (426, 426), "io_uring_register": (427, 427), "bpf": (321, 280),
    "perf_event_open": (298, 241), "userfaultfd": (323, 282), "keyctl": (250, 219), "add_key": (248, 217),
    "request_key": (249, 218),
}
# fmt: on
"""By name its number on x86-64 and on ARM64, which lacks some older ones (``asm/unistd_64.h`` and
``asm-generic/unistd.h``). Threads, memory, clocks and descriptors that are open stay."""


class _Program(ctypes.Structure):
    """``struct sock_fprog``."""

    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


def forbid() -> bool:
    """From here on, in this process and what it forks. False where the kernel can't, or on another processor."""
    machine = os.uname().machine
    if machine not in _AUDIT:
        return False
    instructions = _filter(machine)
    program = _Program(len(instructions) // 8, instructions)
    libc = ctypes.CDLL(None, use_errno=True)
    private = libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0) == 0
    return bool(private and libc.prctl(_SET_SECCOMP, _MODE_FILTER, ctypes.byref(program), 0, 0) == 0)


def _filter(machine: str) -> bytes:
    """The program (``Documentation/networking/filter.rst``): each instruction is a code, how many to skip where its
    comparison holds and where not, and a number."""
    place = list(_AUDIT).index(machine)
    numbers = sorted(number for both in _FORBIDDEN.values() if (number := both[place]) is not None)
    first = [(_LOAD, 0, 0, _ARCHITECTURE), (_JUMP_EQUAL, 1, 0, _AUDIT[machine]), (_RETURN, 0, 0, _DENY)]
    first += [(_LOAD, 0, 0, _NUMBER)]
    # Only x86-64 has calls from there on; on ARM64 nothing is as high.
    first += [(_JUMP_ABOVE, len(numbers) + 1, 0, _X32)]
    tests = [(_JUMP_EQUAL, len(numbers) - at, 0, number) for at, number in enumerate(numbers)]
    return b"".join(
        struct.pack("=HBBI", *one) for one in [*first, *tests, (_RETURN, 0, 0, _ALLOW), (_RETURN, 0, 0, _DENY)]
    )
