"""Reading ahead in a thread: audio is decoded and speech found while the model works."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")
_POLL_SECONDS = 0.1


def ahead(source: Iterable[T], depth: int) -> Iterator[T]:
    """The items of ``source``, of which up to ``depth`` are made before they are asked for.

    What ``source`` raises is raised here, behind the items before it. Ending the iteration early ends the thread.
    """
    ready: queue.Queue[tuple[T | None, BaseException | None, bool]] = queue.Queue(maxsize=depth)
    over = threading.Event()

    def put(item: tuple[T | None, BaseException | None, bool]) -> None:
        while not over.is_set():
            try:
                ready.put(item, timeout=_POLL_SECONDS)
            except queue.Full:
                continue
            return

    def work() -> None:
        try:
            for item in source:
                put((item, None, False))
                if over.is_set():
                    return
        except BaseException as error:  # noqa: BLE001 - carried to the reader's thread, which raises it
            put((None, error, True))
        else:
            put((None, None, True))

    thread = threading.Thread(target=work, name="read-ahead", daemon=True)
    thread.start()
    try:
        while True:
            item, error, last = ready.get()
            if error is not None:
                raise error
            if last:
                return
            yield item  # type: ignore[misc] # None only behind the last item
    finally:
        over.set()
        thread.join()
