"""A display that nobody reads holds up nothing: not the work, not the answer to a signal, not the end."""

from __future__ import annotations

import io
import os
import time
from collections.abc import Iterator

import pytest
from rich.console import Console

from gputx.cli.render import aside
from gputx.cli.render.aside import ROOM, Aside
from gputx.cli.render.live import LiveReader
from gputx.events import Event, EventStream, Note, PhaseProgress, PhaseStarted


@pytest.fixture
def stalled() -> Iterator[tuple[int, int]]:
    """Both ends of a pipe that is full to the brim."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    for size in (4096, 1):
        try:
            while os.write(writer, b"." * size):
                pass
        except BlockingIOError:
            pass
    os.set_blocking(writer, True)
    yield reader, writer
    os.close(reader)
    os.close(writer)


def test_a_pipe_that_nobody_reads_holds_up_neither_the_work_nor_its_end(
    stalled: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aside, "PATIENCE_SECONDS", 0.2)
    reader, writer = stalled
    heard: list[Event] = []
    ends: list[str] = []
    stream = EventStream([heard.append])

    def write(text: str) -> None:
        os.write(writer, text.encode())

    def show(event: Event) -> None:
        write(f"<{event.time:.0f}>")

    shown = Aside(stream, show, write, end=lambda: ends.append("end"), give_up=lambda: ends.append("given up"))
    began = time.monotonic()
    for number in range(100):
        stream.emit(PhaseStarted(number, "upload"))
    for number in range(3 * ROOM):
        stream.emit(PhaseProgress(number, "upload", number, 3 * ROOM, "bytes"))
    stream.emit(Note(0, "what matters still has room"))
    assert stream.failures == []
    for _ in range(ROOM):
        stream.emit(Note(0, "but not for ever"))
    shown.say("nor have words")
    assert shown.close() is False
    assert time.monotonic() - began < 5
    assert len(heard) == 100 + 3 * ROOM + 1 + ROOM
    assert len(stream.failures) == 1

    text = b""
    while not text.endswith(b"<0>"):
        text += os.read(reader, 65536)
    shown._thread.join(10)
    assert ends == ["given up"]
    assert text.strip(b".") == b"<0>"


def test_events_and_words_keep_their_order_and_the_end_waits_for_all() -> None:
    shown: list[str] = []
    stream = EventStream()

    def slow(event: Event) -> None:
        time.sleep(0.001)
        shown.append(str(event.time))

    display = Aside(
        stream,
        slow,
        shown.append,
        start=lambda: shown.append("start"),
        end=lambda: shown.append("end"),
        give_up=lambda: shown.append("given up"),
    )
    for number in range(50):
        stream.emit(PhaseProgress(number, "upload", number, 50, "bytes"))
        display.say(f"after {number}")
    assert display.close() is True
    assert shown == ["start", *(line for number in range(50) for line in (str(number), f"after {number}")), "end"]


def test_a_display_that_fails_in_its_thread_is_dropped_and_the_answer_to_a_signal_still_tried() -> None:
    heard: list[Event] = []
    said: list[str] = []
    seen: list[Event] = []

    def broken(event: Event) -> None:
        seen.append(event)
        raise OSError("no terminal")

    stream = EventStream([heard.append])
    display = Aside(stream, broken, said.append)
    for number in range(10):
        stream.emit(Note(number, "hello"))
    display.say("^C stopping")
    assert display.close() is True
    assert len(heard) == 10
    assert len(seen) == 1
    assert [str(failure) for failure in stream.failures] == ["no terminal"]
    assert said == ["^C stopping"]
    assert stream.readers == [heard.append]


def test_a_live_display_that_was_left_draws_no_more() -> None:
    """Its next frame would begin with wiping the lines above it: the receipt."""
    file, since = io.StringIO(), io.StringIO()
    live = LiveReader(Console(file=file, width=80, force_terminal=True, color_system=None, legacy_windows=False))
    live.start()
    live(PhaseStarted(0, "boot"))
    live.leave(since)
    before = file.getvalue()
    live(Note(1, "too late"))
    live.say("too late")
    assert file.getvalue() == before
    assert since.getvalue().startswith("\x1b[?25h")
    live.stop()
