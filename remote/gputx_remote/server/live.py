"""Live audio: samples in as they are spoken; text out, first as it seems, then as it stands.

A partial text is what the phrase that is being spoken sounds like so far, heard once and greedily; it replaces the one
before. A final segment has had all that ``run`` does to a window, and never changes.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from gputx_remote.audio.stream import SAMPLE_RATE
from gputx_remote.engine.assembly import Assembly, timed
from gputx_remote.engine.hearing import PARTED, hear
from gputx_remote.engine.transcriber import TranscribeOptions, TranscriptionInfo
from gputx_remote.server.live_cutting import LiveCutting
from gputx_remote.server.pcm import floats
from gputx_remote.server.shared import CancelledError
from gputx_remote.speech.detector import FRAME
from gputx_remote.speech.plan import SpeechOptions
from gputx_remote.transcript import Segment

if TYPE_CHECKING:
    from gputx_remote.engine.hearing import Cut, Heard
    from gputx_remote.server.engine import SharedEngine
    from gputx_remote.server.seat import Seat
    from gputx_remote.speech.detector import FloatArray

STEP = 8 * FRAME
"""Samples (0.26 s) that are looked at together, at least."""
PARTIAL_SECONDS = 1.0
"""Of new audio before the open phrase is heard again."""
BACKLOG_SECONDS = 30.0
"""Not yet heard, after which :meth:`Live.feed` waits: somebody sends a file, or the model can't keep up."""
_BYTES = 2


class LiveUnavailableError(Exception):
    """The engine that was chosen can't hear one window at a time. The message says so in one line."""


@dataclass(frozen=True)
class Partial:
    """What the phrase sounds like so far; it replaces the partial text before. Empty: it was nothing after all."""

    start_ms: int
    text: str


@dataclass(frozen=True)
class Final:
    """A segment that stands. Whatever partial text there was is part of it, or gone."""

    segment: Segment


class Live:
    """One speaker. Used from one event loop; the hearing is done in a thread."""

    def __init__(
        self, engine: SharedEngine, options: TranscribeOptions, *, note: Callable[[str], None] = lambda _: None
    ) -> None:
        """
        Args:
            engine: hears.
            options: how; without a language, that of the first phrase is taken.
            note: told in one line when speech has to be found by loudness.

        Raises:
            LiveUnavailableError: it can't with this engine.
        """
        seat = engine.seat(urgent=True, cancelled=lambda: self._given_up)
        if seat is None:
            raise LiveUnavailableError("live audio needs the algorithm vad, which shares the model between requests")
        self._engine = engine
        self._options = options
        self._info = TranscriptionInfo(options.language or "", 0)
        self._loop = asyncio.get_running_loop()
        self._heard_some = asyncio.Event()
        self._said_some = asyncio.Event()
        self._events: deque[Partial | Final] = deque()
        self._over = False
        self._error: Exception | None = None
        self._changed = threading.Condition()
        self._inbox = bytearray()
        self._received = 0
        self._last = False
        self._given_up = False
        listener = _Listener(seat, options, self._info, note, self._say)
        self._thread = threading.Thread(target=self._run, args=(listener, seat), name="live", daemon=True)
        self._thread.start()

    @property
    def seconds(self) -> float:
        """Of audio received."""
        return self._received / (_BYTES * SAMPLE_RATE)

    @property
    def language(self) -> str:
        """As given, or heard in the first phrase; "" until then."""
        return self._info.language

    async def feed(self, pcm: bytes) -> None:
        """More audio: 16 kHz mono, 16-bit little-endian. Waits while too much has not been heard yet."""
        while len(self._inbox) > BACKLOG_SECONDS * SAMPLE_RATE * _BYTES and not self._over:
            self._heard_some.clear()
            await self._heard_some.wait()
        with self._changed:
            self._inbox += pcm
            self._received += len(pcm)
            self._changed.notify()

    def finish(self) -> None:
        """Nothing more is said: what is left becomes final, and the events end."""
        with self._changed:
            self._last = True
            self._changed.notify()

    def close(self) -> None:
        """Give up at once. May be called whatever has happened."""
        with self._changed:
            self._given_up = True
            self._changed.notify()
        self._engine.wake()

    async def events(self) -> AsyncIterator[Partial | Final]:
        """Texts as they come, to the end. Of partial ones nobody has taken yet only the last is kept.

        Raises:
            EngineError: the model can't decode this audio.
        """
        while True:
            self._said_some.clear()
            over = self._over
            while self._events:
                yield self._events.popleft()
            if over:
                if self._error is not None:
                    raise self._error
                return
            await self._said_some.wait()

    def _say(self, event: Partial | Final) -> None:
        """From the thread."""
        if isinstance(event, Partial):
            with suppress(IndexError):
                if isinstance(self._events[-1], Partial):
                    self._events.pop()
        self._events.append(event)
        self._tell(self._said_some)

    def _tell(self, event: asyncio.Event) -> None:
        with suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(event.set)

    def _run(self, listener: _Listener, seat: Seat) -> None:
        try:
            last = False
            while not last:
                samples, last = self._take()
                listener.hear(samples, last=last)
        except CancelledError:
            pass
        except Exception as error:  # noqa: BLE001 - raised where the events are read
            self._error = error
        finally:
            seat.close()
            self._over = True
            self._tell(self._said_some)
            self._tell(self._heard_some)

    def _take(self) -> tuple[FloatArray, bool]:
        """All that has come, in whole frames, and whether it is the end."""
        with self._changed:
            self._changed.wait_for(lambda: len(self._inbox) >= STEP * _BYTES or self._last or self._given_up)
            if self._given_up:
                raise CancelledError
            last = self._last
            length = len(self._inbox) if last else len(self._inbox) // (FRAME * _BYTES) * FRAME * _BYTES
            taken = bytes(self._inbox[:length])
            del self._inbox[:length]
        self._tell(self._heard_some)
        return floats(taken), last


class _Listener:
    """What a live session makes of what it hears, in its thread."""

    def __init__(
        self,
        seat: Seat,
        options: TranscribeOptions,
        info: TranscriptionInfo,
        note: Callable[[str], None],
        say: Callable[[Partial | Final], None],
    ) -> None:
        self._seat = seat
        self._options = options
        self._info = info
        self._say = say
        self._cutting = LiveCutting(options.speech or SpeechOptions(), note)
        self._assembly = Assembly(seat.vocabulary, options.thresholds.repeats)
        self._said: list[int] = []
        self._fresh = 0
        self._shown = False

    def hear(self, samples: FloatArray, *, last: bool) -> None:
        """Take in more, and say what that makes plain."""
        self._fresh += len(samples)
        for start in range(0, max(1, len(samples)), STEP):
            step = samples[start : start + STEP]
            for cut in self._cutting.push(step, last=last and start + STEP >= len(samples)):
                self._final(cut)
        if self._fresh >= PARTIAL_SECONDS * SAMPLE_RATE and not last:
            self._fresh = 0
            if (spoken := self._cutting.open()) is not None:
                self._partial(spoken)

    def _final(self, cut: Cut) -> None:
        heard = hear(self._seat, [cut], options=self._options, info=self._info, said=self._said)[0]
        found = self._segments(self._assembly, heard, self._info.language)
        for segment in found:
            self._say(Final(segment))
            self._said += segment.tokens
        if self._shown and not found:
            self._say(Partial(cut[0].start * 1000 // SAMPLE_RATE, ""))
        self._shown = False
        self._fresh = 0

    def _partial(self, cut: Cut) -> None:
        options = replace(self._options, temperatures=self._options.temperatures[:1], word_timestamps=False)
        # A second of speech does not settle the language of all that follows.
        info = TranscriptionInfo(self._info.language, 0)
        heard = hear(self._seat, [cut], options=options, info=info, said=self._said, parted=PARTED)[0]
        assembly = Assembly(self._seat.vocabulary, options.thresholds.repeats)
        text = " ".join(segment.text for segment in self._segments(assembly, heard, info.language))
        if text or self._shown:
            self._say(Partial(cut[0].start * 1000 // SAMPLE_RATE, text))
            self._shown = bool(text)

    def _segments(self, assembly: Assembly, heard: list[Heard], language: str) -> list[Segment]:
        vocabulary = self._seat.vocabulary
        assembly.language = written = "en" if self._options.task == "translate" else language
        return [
            timed(draft, part.window, part.starts, vocabulary, written) if part.starts else draft.segment()
            for part in heard
            for draft in assembly.add(part.window, part.attempt)
        ]
