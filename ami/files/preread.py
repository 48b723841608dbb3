#!/usr/bin/env python3
"""Read ahead what a first transcript reads, in its order and many pieces at a time: `preread LIST [READERS]`.

A volume made of a snapshot fetches each piece from S3 when it is first read, one after another for who reads in
order. Many readers at once hide that. Started by gputx-preread.service in the first second of a boot; only the
standard library, and nothing is kept.
"""

import os
import sys
import threading
import time
from queue import Empty, SimpleQueue

PIECE = 1 << 20
READERS = 32


def main() -> int:
    started = time.monotonic()
    work = SimpleQueue()
    # Paths of the image are relative to the list.
    root = os.path.dirname(os.path.abspath(sys.argv[1]))
    with open(sys.argv[1], encoding="utf-8", errors="surrogateescape") as lines:
        for line in lines:
            start, length, path = line.rstrip("\n").split("\t", 2)
            path = os.path.join(root, path)
            for offset in range(int(start), int(start) + int(length), PIECE):
                work.put((path, offset, min(PIECE, int(start) + int(length) - offset)))
    totals = []
    count = int(sys.argv[2]) if len(sys.argv) > 2 else READERS
    readers = [threading.Thread(target=read, args=(work, totals)) for _ in range(count)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    got, failed = sum(total[0] for total in totals), sum(total[1] for total in totals)
    seconds = time.monotonic() - started
    print(f"read ahead {got / 2**20:.0f} MiB in {seconds:.1f} s with {count} readers; {failed} parts could not be read")
    return 0


def read(work, totals):
    got = failed = 0
    files = {}
    try:
        while True:
            path, offset, length = work.get_nowait()
            try:
                if path not in files:
                    if len(files) > 16:
                        os.close(files.pop(next(iter(files))))
                    files[path] = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
                got += len(os.pread(files[path], length, offset))
            except OSError:
                failed += 1  # a list of an older image; what is missing is missed where it is needed
    except Empty:
        totals.append((got, failed))
    finally:
        for descriptor in files.values():
            os.close(descriptor)


sys.exit(main())
