"""The engine: speech is found, cut into windows at silences, and decoded many windows at once.

``transcribe`` is the story; what each line does is in the files beside it.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from gputx_remote.engine.assembly import Assembly, Draft, timed
from gputx_remote.engine.hearing import Cut, hear, language_of
from gputx_remote.engine.memory import Place, Room
from gputx_remote.engine.prefetch import ahead
from gputx_remote.engine.transcriber import Progress, TranscribeOptions, TranscriptionInfo
from gputx_remote.speech.cut import windows
from gputx_remote.speech.plan import SpeechOptions
from gputx_remote.transcript import Segment

if TYPE_CHECKING:
    from gputx_remote.audio.recording import Recording
    from gputx_remote.audio.source import FloatArray
    from gputx_remote.decoders.decoder import Decoder
    from gputx_remote.engine.fallback import Attempt

SAMPLE_RATE = 16_000
WINDOWS_FOR_LANGUAGE = 4
"""Windows heard together for the language, where it is not given: a greeting in another one decides nothing."""
CONTEXT_TEMPERATURE = 0.5
"""Text decoded at more than this does not become the next window's context (``whisper/transcribe.py``)."""


class WindowedTranscriber:
    """A decoder, and how many windows it takes at once."""

    def __init__(
        self, decoder: Decoder, batch_size: int | None, retreat: Callable[[], Decoder], note: Callable[[str], None]
    ) -> None:
        """
        Args:
            decoder: the model.
            batch_size: windows at once; None to go by free memory.
            retreat: loads the same model for the CPU, for when GPU memory is too small for one window.
            note: told in one line of each fallback.
        """
        self._room: Place = Room(decoder, batch_size, retreat, note)
        self._note = note

    @property
    def room(self) -> Place:
        """The decoder, and how many windows it has been found to take."""
        return self._room

    def within(self, room: Place) -> WindowedTranscriber:
        """The same engine in another place: the server gives each job one, and all of them share this one's model."""
        other = copy.copy(self)
        other._room = room
        return other

    @property
    def device(self) -> str:
        return self._room.decoder.device

    @property
    def compute_type(self) -> str:
        return self._room.decoder.compute_type

    def transcribe(
        self, recording: Recording, options: TranscribeOptions, *, progress: Progress | None = None, after: float = 0.0
    ) -> tuple[Iterator[Segment], TranscriptionInfo]:
        """See :meth:`gputx_remote.engine.transcriber.Transcriber.transcribe`.

        Args:
            recording: see there.
            options: see there.
            progress: see there.
            after: seconds that ``progress`` once told are done: what lies before is listened to, so that the windows
                are the same ones, but not decoded again.
        """
        info = TranscriptionInfo(options.language or "", recording.duration_ms)
        return self._segments(recording, options, info, progress, round(after * SAMPLE_RATE)), info

    def _segments(
        self,
        recording: Recording,
        options: TranscribeOptions,
        info: TranscriptionInfo,
        progress: Progress | None,
        after: int,
    ) -> Iterator[Segment]:
        vocabulary = self._room.decoder.vocabulary
        assembly = Assembly(vocabulary, options.thresholds.repeats, floor_ms=after * 1000 // SAMPLE_RATE)
        total = recording.duration_ms / 1000
        said: list[int] = []
        earlier, decoded_samples = _Earlier(after), 0
        length = _Length()
        cuts = windows(length.counted(recording.blocks()), options.speech or SpeechOptions(), note=self._note)
        first = 1 if info.language else WINDOWS_FOR_LANGUAGE
        left = ahead(earlier.left_of(cuts), 2 * self._room.size)
        for batch in self._batches(left, first, alone=options.condition_on_previous_text):
            parts = self._room.work(batch, partial(hear, options=options, info=info, said=said))
            for (whole, _), heard in zip(batch, parts, strict=True):
                assembly.language = written = "en" if options.task == "translate" else info.language
                for part in heard:
                    drafts = assembly.add(part.window, part.attempt)
                    for draft in drafts:
                        if part.starts:
                            yield timed(draft, part.window, part.starts, vocabulary, written)
                        else:
                            yield draft.segment()
                    _remember(said, drafts, part.attempt)
                info.windows += 1
                info.decoded_again += len(heard) > 1 or heard[0].attempt.tries > 1
                info.suspect += not all(part.attempt.verdict.good for part in heard)
                decoded_samples += whole.stop - whole.start
                if progress is not None:
                    progress(min(whole.stop / SAMPLE_RATE, total), total)
        if not info.language:
            info.language = self._room.work([np.zeros(SAMPLE_RATE, np.float32)], _language)[0]
        info.duration_ms = length.milliseconds
        info.silence_ms = max(0, info.duration_ms - round((earlier.samples + decoded_samples) * 1000 / SAMPLE_RATE))
        if progress is not None:
            progress(total, total)

    def _batches(self, cuts: Iterator[Cut], first: int, *, alone: bool) -> Iterator[list[Cut]]:
        """Windows in batches: the first ones small, so that the first text comes early."""
        size = first
        batch: list[Cut] = []
        for cut in cuts:
            batch.append(cut)
            if len(batch) >= (1 if alone else min(size, self._room.size)):
                yield batch
                batch = []
                size *= 2
        if batch:
            yield batch


def _language(decoder: Decoder, sounds: Sequence[FloatArray]) -> list[str]:
    """What the model takes silence for, where nobody spoke: an answer has to name a language."""
    return [language_of(decoder, decoder.encode(sounds))]


class _Length:
    """How long a recording is, known once it was read: a header may say anything."""

    def __init__(self) -> None:
        self._samples = 0

    @property
    def milliseconds(self) -> int:
        return round(self._samples * 1000 / SAMPLE_RATE)

    def counted(self, blocks: Iterator[FloatArray]) -> Iterator[FloatArray]:
        """The blocks, as they are."""
        for block in blocks:
            self._samples += len(block)
            yield block


class _Earlier:
    """Windows that end up to sample ``after``: somebody has their text already."""

    def __init__(self, after: int) -> None:
        self._after = after
        self.samples = 0
        """In them."""

    def left_of(self, cuts: Iterator[Cut]) -> Iterator[Cut]:
        """The windows without them."""
        for window, samples in cuts:
            if window.stop > self._after:
                yield window, samples
            else:
                self.samples += len(samples)


def _remember(said: list[int], drafts: Sequence[Draft], attempt: Attempt) -> None:
    """Keep the text as context for the next window, or forget all where it was drawn at a high temperature."""
    if attempt.temperature > CONTEXT_TEMPERATURE:
        said.clear()
    else:
        said += [token for draft in drafts for token in draft.tokens]
