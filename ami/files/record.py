"""What a first transcript reads of an image, in its order, as lines OFFSET<tab>LENGTH<tab>PATH, in ROOT relative.

    record.py ROOT AUDIO cpu|cuda

Runs with gputx_remote on the path, as root where the whole truth is wanted: pages of files that somebody else owns
count as read. The kernel is asked which files are opened (inotify), and afterwards which of their pages are in memory
(mincore), with those of the image put out of memory before. Parts are widened to 512 KiB, the piece in which a volume
made of a snapshot comes from S3.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import struct
import subprocess
import sys
import threading
from pathlib import Path

PIECE = 512 * 1024
PAGE = mmap.PAGESIZE
IN_OPEN = 0x20
LIBRARIES = ("/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu")
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long)
libc.munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
libc.mincore.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p)


def main() -> None:
    root, audio, device = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    evict(root)
    with Watch([root, *(Path(folder) for folder in LIBRARIES if Path(folder).is_dir())]) as watch:
        here = Path(__file__).parent
        command = [sys.executable, here / "transcribe.py", root / "models" / "default", audio, device]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    for path in watch.opened:
        for start, stop in resident(path):
            print(f"{start}\t{stop - start}\t{path.removeprefix(f'{root}/')}")


def evict(root: Path) -> None:
    """Put the files out of memory, as they are at a first boot."""
    os.sync()
    for folder, _, names in os.walk(root):
        for name in names:
            path = os.path.join(folder, name)
            if os.path.islink(path):
                continue
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(descriptor)


class Watch:
    """Notes which files below some folders are opened, each once, in the order of their first opening."""

    def __init__(self, roots: list[Path]) -> None:
        self.opened: list[str] = []
        self._folders: dict[int, str] = {}
        self._descriptor = libc.inotify_init1(os.O_CLOEXEC)
        if self._descriptor < 0:
            raise OSError(ctypes.get_errno(), "inotify can't be had")
        for root in roots:
            for folder, _, _ in os.walk(root):
                number = libc.inotify_add_watch(self._descriptor, os.fsencode(folder), IN_OPEN)
                if number < 0:
                    reason = "fs.inotify.max_user_watches is too low"
                    raise OSError(ctypes.get_errno(), f"{folder} can't be watched; {reason}")
                self._folders[number] = folder
        self._reader = threading.Thread(target=self._read, name="inotify")

    def __enter__(self) -> Watch:
        self._reader.start()
        return self

    def __exit__(self, *_: object) -> None:
        # Its own end is an event like others: opening a watched folder's file of a name nobody has.
        self._ending = next(iter(self._folders.values())) + "/.gputx-record-ends"
        Path(self._ending).touch()
        self._reader.join(timeout=60)
        Path(self._ending).unlink()
        os.close(self._descriptor)

    def _read(self) -> None:
        seen: set[str] = set()
        while True:
            data = os.read(self._descriptor, 1 << 20)
            at = 0
            while at < len(data):
                number, mask, _, length = struct.unpack_from("iIII", data, at)
                name = data[at + 16 : at + 16 + length].rstrip(b"\0").decode("utf-8", "surrogateescape")
                at += 16 + length
                if mask & 0x4000:  # IN_Q_OVERFLOW: some were lost; mincore can't find what was never named
                    print("record: more files were opened at once than the kernel queues", file=sys.stderr)
                path = f"{self._folders.get(number, '')}/{name}"
                if name == ".gputx-record-ends":
                    return
                if path not in seen and os.path.isfile(path) and not os.path.islink(path):
                    seen.add(path)
                    self.opened.append(path)


def resident(path: str) -> list[tuple[int, int]]:
    """The parts of a file that are in memory, as (start, stop), widened to whole pieces and joined."""
    size = os.path.getsize(path)
    if size == 0:
        return []
    descriptor = os.open(path, os.O_RDONLY)
    try:
        address = libc.mmap(None, size, mmap.PROT_READ, mmap.MAP_SHARED, descriptor, 0)
    finally:
        os.close(descriptor)
    if address in (None, ctypes.c_void_p(-1).value):
        raise OSError(ctypes.get_errno(), f"{path} can't be mapped")
    pages = ctypes.create_string_buffer((size + PAGE - 1) // PAGE)
    failed = libc.mincore(address, size, pages)
    libc.munmap(address, size)
    if failed:
        return [(0, size)]
    parts: list[tuple[int, int]] = []
    per_piece = PIECE // PAGE
    for first in range(0, len(pages.raw), per_piece):
        if not any(byte & 1 for byte in pages.raw[first : first + per_piece]):
            continue
        start, stop = first * PAGE, min((first + per_piece) * PAGE, size)
        if parts and parts[-1][1] == start:
            parts[-1] = (parts[-1][0], stop)
        else:
            parts.append((start, stop))
    return parts


main()
