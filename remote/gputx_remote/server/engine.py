"""The engine of the server: loaded once, used by all jobs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Self

import numpy as np

from gputx_remote import weights
from gputx_remote.audio.stream import SAMPLE_RATE
from gputx_remote.decoders.decoder import Request
from gputx_remote.engine import loading
from gputx_remote.engine.windowed import WindowedTranscriber
from gputx_remote.errors import EngineError, EngineUnavailableError
from gputx_remote.server.seat import Seat, SeatRoom
from gputx_remote.server.shared import CancelledError, SharedDecoder, Statistics
from gputx_remote.vocabulary import Vocabulary

if TYPE_CHECKING:
    from gputx_remote.audio.recording import Recording
    from gputx_remote.decoders.decoder import Decoded, Decoder, Samples
    from gputx_remote.engine.memory import Place
    from gputx_remote.engine.transcriber import Progress, TranscribeOptions, Transcriber, TranscriptionInfo
    from gputx_remote.transcript import Segment
    from gputx_remote.weights import ModelLocation
    from gputx_remote.worker import ModelOptions

Cancelled = Callable[[], bool]
Transcription = tuple[Iterator["Segment"], "TranscriptionInfo"]


class SharedEngine:
    """A loaded engine that many threads may use at once. ``close`` ends its model thread.

    With the algorithm ``vad`` all share batches (:mod:`gputx_remote.server.shared`); the two of transformers have no
    batch of their own to share, so their jobs are done one after the other.
    """

    def __init__(
        self,
        transcriber: Transcriber,
        vocabulary: Vocabulary,
        *,
        model: str,
        revision: str | None = None,
        note: Callable[[str], None] = lambda _: None,
    ) -> None:
        """
        Args:
            transcriber: the engine.
            vocabulary: of its model.
            model: what answers call it.
            revision: the commit of the model; None where nobody knows.
            note: told in one line of each fallback.
        """
        self.vocabulary = vocabulary
        self.model = model
        self.revision = revision
        self._note = note
        self._alone = threading.Lock()
        self._transcriber = transcriber
        self._windowed = transcriber if isinstance(transcriber, WindowedTranscriber) else None
        self.decoder = SharedDecoder(self._windowed.room, known=_known) if self._windowed else None
        """Where batches are shared; None where jobs are done one after the other."""

    @classmethod
    def load(cls, options: ModelOptions, note: Callable[[str], None]) -> Self:
        """Load a model. Where the algorithm is left open it is ``vad``, whatever the device.

        Raises:
            ModelUnavailableError: it can't be found, fetched or loaded.
            EngineUnavailableError: the engine that was chosen can't run here, or can't decode a second of silence.
        """
        location = weights.resolve(options.model, options.revision, note)
        choice = options.choice
        if choice.algorithm == "auto":
            choice = replace(choice, algorithm="vad")
        engine = loading.load(location, choice, device=options.device, batch_size=options.batch_size, note=note)
        engine = _on_all_cores(engine, location, options.batch_size, note)
        if isinstance(engine, WindowedTranscriber):
            engine.room.regrow()
            try:
                _known(engine.room)
            except EngineError as error:
                raise EngineUnavailableError(str(error)) from error
        name = options.name or location.id
        return cls(engine, Vocabulary.load(location.path), model=name, revision=location.revision, note=note)

    @property
    def device(self) -> str:
        """cpu or cuda; it may change from one to the other when memory is short."""
        return self._transcriber.device

    @property
    def compute_type(self) -> str:
        """float32, float16, int8, …"""
        return self._transcriber.compute_type

    @property
    def statistics(self) -> Statistics:
        """What the model has done; nothing where batches are not shared."""
        return self.decoder.statistics if self.decoder else Statistics()

    @property
    def resumes(self) -> bool:
        """Whether a recording can be taken up where it was left; otherwise it is begun anew."""
        return self._windowed is not None

    def seat(self, *, urgent: bool = False, cancelled: Cancelled = lambda: False) -> Seat | None:
        """A place at the model, for whoever decodes windows by themselves; None where batches are not shared."""
        return None if self.decoder is None else self.decoder.seat(urgent=urgent, cancelled=cancelled)

    def transcribe(
        self,
        recording: Recording,
        options: TranscribeOptions,
        *,
        progress: Progress | None = None,
        cancelled: Cancelled = lambda: False,
        after: float = 0.0,
    ) -> Transcription:
        """See :meth:`gputx_remote.engine.transcriber.Transcriber.transcribe`; here many threads may.

        Args:
            recording: the audio.
            options: language, task, and how.
            progress: told of windows done.
            cancelled: looked at between windows at the latest.
            after: seconds that ``progress`` once told are done; only where :attr:`resumes`.

        Raises:
            CancelledError: while drawing, once ``cancelled`` is true.
            EngineError: while drawing, when the model can't decode this audio.
            AudioUnreadableError: while drawing, when the audio can't be read on.
        """
        seat = self.seat(cancelled=cancelled)
        if seat is None or self._windowed is None:
            segments, info = self._transcriber.transcribe(recording, options, progress=progress)
            return self._in_turn(segments, cancelled), info
        transcriber = self._windowed.within(SeatRoom(seat))
        segments, info = transcriber.transcribe(recording, options, progress=progress, after=after)
        return _seated(seat, segments), info

    @property
    def broken(self) -> bool:
        """Whether the model fails even at what it once could do; nothing more is to be had of this process."""
        return self.decoder is not None and self.decoder.broken

    @property
    def at_work(self) -> bool:
        """Whether the model's thread has not ended."""
        return self.decoder is not None and self.decoder.at_work

    def when_broken(self, tell: Callable[[], None]) -> None:
        """Have it told, once, when the model is broken; at once where it is already."""
        if self.decoder is not None:
            self.decoder.when_broken(tell)

    def wake(self) -> None:
        """Have those that wait for the model look whether they are cancelled."""
        if self.decoder is not None:
            self.decoder.wake()

    def close(self) -> None:
        """End the model thread; jobs that are under way get CancelledError. Returns before a long turn is over."""
        if self.decoder is not None:
            self.decoder.close()

    def _in_turn(self, segments: Iterator[Segment], cancelled: Cancelled) -> Iterator[Segment]:
        while not self._alone.acquire(timeout=0.2):
            if cancelled():
                raise CancelledError
        try:
            for segment in segments:
                if cancelled():
                    raise CancelledError
                yield segment
        finally:
            self._alone.release()


def _known(room: Place) -> None:
    """Have the model do the least it can: a second of silence. It could when it was loaded.

    Raises:
        EngineError: it can't.
    """

    def once(decoder: Decoder, windows: Sequence[Samples]) -> list[Decoded]:
        vocabulary = decoder.vocabulary
        prompt = vocabulary.prompt(next(iter(vocabulary.languages), "en"), "transcribe")
        return decoder.decode(decoder.encode(windows), [Request(prompt, max_tokens=2)])

    room.work([np.zeros(SAMPLE_RATE, np.float32)], once)


def _on_all_cores(
    engine: Transcriber, location: ModelLocation, batch_size: int | None, note: Callable[[str], None]
) -> Transcriber:
    """Where windows of many jobs would share the cores of a CPU, an engine that gives each core its own."""
    if not isinstance(engine, WindowedTranscriber) or engine.device != "cpu":
        return engine
    decoder = engine.room.decoder
    if decoder.name != "ctranslate2":
        return engine
    # CTranslate2 is installed where its decoder was chosen, and only there.
    from gputx_remote.decoders.ctranslate2_decoder import CTranslate2Decoder  # noqa: PLC0415
    from gputx_remote.server import side_by_side  # noqa: PLC0415

    if side_by_side.cores() < 2 or not isinstance(decoder, CTranslate2Decoder):
        return engine
    both = side_by_side.beside(decoder, location, note)
    return WindowedTranscriber(both, batch_size, lambda: decoder, note)


def _seated(seat: Seat, segments: Iterator[Segment]) -> Iterator[Segment]:
    try:
        yield from segments
    finally:
        segments.close()  # type: ignore[attr-defined] # a generator, which ends its reading ahead
        seat.close()
