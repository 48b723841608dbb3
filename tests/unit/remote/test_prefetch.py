"""Reading ahead: everything in order, no further than allowed, and no thread left behind."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from gputx_remote.engine.prefetch import ahead


def alive() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "read-ahead"]


def test_everything_comes_in_order() -> None:
    assert list(ahead(range(100), 3)) == list(range(100))
    assert alive() == []


def test_no_more_is_made_than_asked_for() -> None:
    made = threading.Semaphore(0)

    def source() -> Iterator[int]:
        for number in range(50):
            made.release()
            yield number

    reader = ahead(source(), 2)
    assert next(reader) == 0
    # One was taken, two wait in the queue, one is in the hand of the thread that waits for room.
    assert all(made.acquire(timeout=10) for _ in range(4))
    assert not made.acquire(timeout=0.05)
    reader.close()
    assert alive() == []


def test_what_fails_fails_where_it_is_reached() -> None:
    def source() -> Iterator[int]:
        yield 1
        yield 2
        raise OSError("gone")

    reader = ahead(source(), 5)
    assert [next(reader), next(reader)] == [1, 2]
    with pytest.raises(OSError, match="gone"):
        next(reader)
    assert alive() == []
