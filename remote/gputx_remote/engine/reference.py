"""The reference engine: the stock transformers speech pipeline, 30 s chunks with its default stride.

The pipeline's own ``preprocess``, ``forward`` and ``postprocess`` do all the work. Only the loop round them
is ours, so that progress and finished segments come out batch by batch instead of all at the end, and a batch
that does not fit the GPU can be split and tried again.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from transformers.pipelines.automatic_speech_recognition import AutomaticSpeechRecognitionPipeline

from gputx_remote.decoders.transformers_model import Checkpoint
from gputx_remote.engine.transcriber import Progress, TranscribeOptions, TranscriptionInfo
from gputx_remote.errors import EngineError, one_line
from gputx_remote.transcript import Segment, orderly

if TYPE_CHECKING:
    from gputx_remote.audio.recording import Recording
    from gputx_remote.audio.source import FloatArray

SAMPLE_RATE = 16_000
CHUNK_SECONDS = 30
# The pipeline's own default in transformers 5, written out so that an upgrade does not change transcripts.
BEAMS = 5
BATCH_SIZE = {"cuda": 6, "cpu": 4}
# Decoding all windows so far costs time in proportion to their number; doing it again only after 10 % more of
# them keeps the whole linear.
RESOLVE_EVERY = 0.1

Window = dict[str, Any]


class ReferenceTranscriber:
    """A Whisper model behind the stock pipeline."""

    def __init__(self, checkpoint: Checkpoint, batch_size: int | None, note: Callable[[str], None]) -> None:
        """
        Args:
            checkpoint: the model.
            batch_size: windows at once; None for 6 on CUDA and 4 on the CPU.
            note: told in one line when a fallback is taken.
        """
        processor = checkpoint.processor
        self._pipeline = AutomaticSpeechRecognitionPipeline(
            model=checkpoint.model,
            tokenizer=processor.tokenizer,
            feature_extractor=processor.feature_extractor,
            device=checkpoint.device,
        )
        self._batch_size = batch_size or BATCH_SIZE[checkpoint.device]
        self._note = note

    @property
    def device(self) -> str:
        return str(self._pipeline.device.type)

    @property
    def compute_type(self) -> str:
        return str(self._pipeline.model.dtype).removeprefix("torch.")

    def transcribe(
        self, recording: Recording, options: TranscribeOptions, *, progress: Progress | None = None
    ) -> tuple[Iterator[Segment], TranscriptionInfo]:
        """See :meth:`gputx_remote.engine.transcriber.Transcriber.transcribe`.

        The stock pipeline wants the whole recording in memory: 3.8 MB a minute.
        """
        info = TranscriptionInfo(options.language or "", recording.duration_ms)
        return self._segments(recording, options, info, progress), info

    def _segments(
        self, recording: Recording, options: TranscribeOptions, info: TranscriptionInfo, progress: Progress | None
    ) -> Iterator[Segment]:
        audio: FloatArray = recording.read()
        pre, forward, post = self._pipeline._sanitize_parameters(
            chunk_length_s=CHUNK_SECONDS,
            ignore_warning=True,
            return_timestamps=True,
            generate_kwargs={"num_beams": BEAMS},
        )
        speaks_many = multilingual(self._pipeline.model, options)
        if speaks_many:
            forward["task"] = options.task
        done: list[Window] = []
        given = resolved_at = 0
        seconds = len(audio) / SAMPLE_RATE
        windows = iter(self._pipeline.preprocess(audio, **pre)) if len(audio) else iter(())
        if not len(audio):
            # What a recording without sound is in, the model says as of one of silence.
            silence = next(iter(self._pipeline.preprocess(np.zeros(SAMPLE_RATE, np.float32), **pre)))
            info.language = info.language or self._language(silence, speaks_many)
        while batch := list(islice(windows, self._batch_size)):
            info.language = info.language or self._language(batch[0], speaks_many)
            if speaks_many:
                forward["language"] = info.language
            done += self._forward(batch, forward)
            info.windows = len(done)
            last = bool(done[-1]["is_last"])
            if progress is not None:
                progress(seconds if last else min(seconds, _heard(done) / SAMPLE_RATE), seconds)
            if last or len(done) - resolved_at >= max(self._batch_size, RESOLVE_EVERY * len(done)):
                resolved_at = len(done)
                segments = self._resolve(done, post, info.duration_ms, last)
                yield from segments[given:]
                given = max(given, len(segments))

    def _resolve(
        self, done: Sequence[Window], post: dict[str, Any], duration_ms: int, last: bool
    ) -> tuple[Segment, ...]:
        """The segments that ``done`` settles.

        The pipeline stitches windows from left to right and never goes back behind a closed time stamp, so
        all but a last piece without an end are final before the rest of the file is heard.
        """
        # postprocess rewrites the strides it is given.
        text = self._pipeline.postprocess([dict(window) for window in done], **post)
        pieces = text["chunks"]
        if not last and pieces and pieces[-1]["timestamp"][1] is None:
            pieces = pieces[:-1]
        return orderly(((*piece["timestamp"], piece["text"]) for piece in pieces), duration_ms)

    def _language(self, window: Window, speaks_many: bool) -> str:
        if not speaks_many:
            return "en"
        model = self._pipeline.model
        return heard_language(model, window["input_features"].to(model.device, model.dtype))

    def _forward(self, batch: list[Window], parameters: dict[str, Any]) -> list[Window]:
        """Run one batch, in smaller pieces where memory is too small for it, at last on the CPU."""
        done: list[Window] = []
        while len(done) < len(batch):
            piece = batch[len(done) : len(done) + self._batch_size]
            output = self._attempt(piece, parameters)
            if output is None:
                self._make_room(len(piece))
            else:
                done += output
        return done

    def _make_room(self, failed: int) -> None:
        """Go on in a way that needs less memory than ``failed`` windows at once did."""
        gc.collect()
        if self.device == "cuda":
            torch.cuda.empty_cache()
        if failed > 1:
            self._batch_size = failed // 2
            self._note(f"memory too small for {failed} windows at once: going on with {self._batch_size}")
        elif self.device == "cuda":
            self._note("GPU memory too small for one window: going on with the CPU")
            self._pipeline.model.to("cpu", torch.float32)
            self._pipeline.device = torch.device("cpu")
            self._batch_size = BATCH_SIZE["cpu"]
        else:
            raise EngineError("not enough memory for one window of 30 s")

    def _attempt(self, batch: list[Window], parameters: dict[str, Any]) -> list[Window] | None:
        """One pass over a batch; None when it does not fit into memory.

        It returns rather than raises, because an exception's traceback would keep the failed tensors alive.
        """
        try:
            return self._run(batch, parameters)
        except torch.OutOfMemoryError:
            return None
        except (RuntimeError, ValueError, IndexError) as error:
            raise EngineError(f"the model could not decode this audio: {one_line(error)}") from error

    def _run(self, batch: list[Window], parameters: dict[str, Any]) -> list[Window]:
        model = self._pipeline.model
        tensors = {key: torch.cat([w[key] for w in batch]) for key in batch[0] if torch.is_tensor(batch[0][key])}
        # A window made for the GPU is fp16; after a fallback to the CPU the model no longer is.
        tensors = {key: t.to(model.dtype) if t.is_floating_point() else t for key, t in tensors.items()}
        with torch.inference_mode():
            output = self._pipeline.forward({**tensors, "is_last": False}, **parameters)
        return [
            {"tokens": output["tokens"][i : i + 1], "stride": window["stride"], "is_last": window["is_last"]}
            for i, window in enumerate(batch)
        ]


def _heard(windows: Sequence[Window]) -> int:
    """Samples covered by windows in order, overlaps counted once."""
    return sum(int(length - left - right) for length, left, right in (window["stride"] for window in windows))


def heard_language(model: Any, features: torch.Tensor) -> str:
    """The Whisper code of the language a multilingual model hears in the spectrogram of a window, (1, mels, 3000); of
    silence it names one, too."""
    with torch.inference_mode():
        token = int(model.detect_language(input_features=features)[0])
    codes = {number: name for name, number in model.generation_config.lang_to_id.items()}
    return str(codes[token]).strip("<|>")


def multilingual(model: Any, options: TranscribeOptions) -> bool:
    """Whether a model wants to be told language and task. An English-only one takes neither.

    Raises:
        EngineError: it is English-only, and was asked for something else.
    """
    if getattr(model.generation_config, "is_multilingual", True):
        return True
    if options.language not in (None, "en") or options.task != "transcribe":
        raise EngineError(
            f"this model transcribes English only: it can't {options.task} {options.language or 'speech'}"
        )
    return False
