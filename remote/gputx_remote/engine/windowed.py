"""The engine: speech is found, cut into windows at silences, and decoded many windows at once.

``transcribe`` is the story; what each line does is in the files beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from gputx_remote.decoders.decoder import Decoder, Request
from gputx_remote.engine import fallback
from gputx_remote.engine.assembly import Assembly, Draft, timed
from gputx_remote.engine.fallback import Attempt
from gputx_remote.engine.memory import Room
from gputx_remote.engine.prefetch import ahead
from gputx_remote.engine.transcriber import Progress, TranscribeOptions, TranscriptionInfo
from gputx_remote.speech.cut import windows
from gputx_remote.speech.plan import SpeechOptions, Window
from gputx_remote.transcript import Segment

if TYPE_CHECKING:
    from gputx_remote.audio.recording import Recording
    from gputx_remote.decoders.decoder import Samples
    from gputx_remote.vocabulary import Vocabulary

SAMPLE_RATE = 16_000
CONTEXT_TEMPERATURE = 0.5
"""Text decoded at more than this does not become the next window's context (``whisper/transcribe.py``)."""

Cut = tuple[Window, "Samples"]


@dataclass(frozen=True)
class _Heard:
    """One window, decoded. ``starts``: when its text tokens begin, in seconds; empty where nobody asked."""

    window: Window
    attempt: Attempt
    starts: Sequence[float]


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
        self._room = Room(decoder, batch_size, retreat, note)
        self._note = note

    @property
    def device(self) -> str:
        return self._room.decoder.device

    @property
    def compute_type(self) -> str:
        return self._room.decoder.compute_type

    def transcribe(
        self, recording: Recording, options: TranscribeOptions, *, progress: Progress | None = None
    ) -> tuple[Iterator[Segment], TranscriptionInfo]:
        """See :meth:`gputx_remote.engine.transcriber.Transcriber.transcribe`."""
        info = TranscriptionInfo(options.language or "", recording.duration_ms)
        return self._segments(recording, options, info, progress), info

    def _segments(
        self, recording: Recording, options: TranscribeOptions, info: TranscriptionInfo, progress: Progress | None
    ) -> Iterator[Segment]:
        vocabulary = self._room.decoder.vocabulary
        assembly = Assembly(vocabulary, options.thresholds.repeats)
        total = recording.duration_ms / 1000
        said: list[int] = []
        decoded_samples = 0
        cuts = windows(recording.blocks(), options.speech or SpeechOptions(), note=self._note)
        for batch in self._batches(ahead(cuts, 2 * self._room.size), alone=options.condition_on_previous_text):
            for heard in self._room.work(batch, partial(_hear, options=options, info=info, said=said)):
                window, attempt = heard.window, heard.attempt
                assembly.language = written = "en" if options.task == "translate" else info.language
                drafts = assembly.add(window, attempt)
                for draft in drafts:
                    if heard.starts:
                        yield timed(draft, window, heard.starts, vocabulary, written)
                    else:
                        yield draft.segment()
                _remember(said, drafts, attempt)
                info.windows += 1
                info.decoded_again += attempt.tries > 1
                info.suspect += not attempt.verdict.good
                decoded_samples += window.stop - window.start
                if progress is not None:
                    progress(min(window.stop / SAMPLE_RATE, total), total)
        info.silence_ms = max(0, info.duration_ms - round(decoded_samples * 1000 / SAMPLE_RATE))
        if progress is not None:
            progress(total, total)

    def _batches(self, cuts: Iterator[Cut], *, alone: bool) -> Iterator[list[Cut]]:
        """Windows in batches: the first ones small, so that the first text comes early."""
        size = 1
        batch: list[Cut] = []
        for cut in cuts:
            batch.append(cut)
            if len(batch) >= (1 if alone else min(size, self._room.size)):
                yield batch
                batch = []
                size *= 2
        if batch:
            yield batch


def _hear(
    decoder: Decoder, cuts: Sequence[Cut], *, options: TranscribeOptions, info: TranscriptionInfo, said: Sequence[int]
) -> list[_Heard]:
    """Decode windows that fit into memory together."""
    encoded = decoder.encode([samples for _, samples in cuts])
    info.language = info.language or _language(decoder, encoded)
    request = Request(_prompt(decoder.vocabulary, info.language, options, said))
    # Draws depend on the place in the recording, so that no batch and no second try of it changes them.
    requests = [replace(request, seed=window.start) for window, _ in cuts]
    attempts = fallback.decode(decoder, encoded, requests, options)
    starts: Sequence[Sequence[float]] = [()] * len(cuts)
    if options.word_timestamps:
        texts = [_text_tokens(attempt, decoder.vocabulary) for attempt in attempts]
        starts = decoder.align(encoded, request.prompt, texts, [len(samples) for _, samples in cuts])
    return [
        _Heard(window, attempt, begins) for (window, _), attempt, begins in zip(cuts, attempts, starts, strict=True)
    ]


def _text_tokens(attempt: Attempt, vocabulary: Vocabulary) -> tuple[int, ...]:
    return tuple(token for token in attempt.decoded.tokens if token < vocabulary.end_of_text)


def _language(decoder: Decoder, encoded: Any) -> str:
    """The language these windows are likeliest in, all taken together."""
    chances = decoder.languages(encoded)
    if not chances[0]:
        return "en"  # a model without language tokens knows English only
    return max(chances[0], key=lambda code: sum(chance[code] for chance in chances))


def _prompt(vocabulary: Vocabulary, language: str, options: TranscribeOptions, said: Sequence[int]) -> tuple[int, ...]:
    """Hotwords, the person's prompt and the text before. Where room is short the text before gives way first, then the
    prompt's beginning."""
    room = vocabulary.context // 2 - 1
    hotwords = vocabulary.encode(options.hotwords or "")[:room]
    prompt = _last(vocabulary.encode(options.initial_prompt or ""), room - len(hotwords))
    context = _last(said, room - len(hotwords) - len(prompt)) if options.condition_on_previous_text else []
    return vocabulary.prompt(language, options.task, previous=[*hotwords, *prompt, *context])


def _last(tokens: Sequence[int], count: int) -> Sequence[int]:
    return tokens[max(0, len(tokens) - count) :]


def _remember(said: list[int], drafts: Sequence[Draft], attempt: Attempt) -> None:
    """Keep the text as context for the next window, or forget all where it was drawn at a high temperature."""
    if attempt.temperature > CONTEXT_TEMPERATURE:
        said.clear()
    else:
        said += [token for draft in drafts for token in draft.tokens]
