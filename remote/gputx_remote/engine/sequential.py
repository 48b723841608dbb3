"""Whisper's own long-form decoding, as transformers has it: one window after the other, each beginning where the last
whole sentence ended. The yardstick for accuracy; ``generate`` does all the work.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import torch

from gputx_remote.decoders.transformers_model import Checkpoint
from gputx_remote.engine.reference import multilingual
from gputx_remote.engine.transcriber import Progress, TranscribeOptions, TranscriptionInfo
from gputx_remote.errors import EngineError
from gputx_remote.transcript import Segment, orderly

if TYPE_CHECKING:
    from gputx_remote.audio.recording import Recording

SAMPLE_RATE = 16_000
FRAMES_A_SECOND = 100
WINDOW_SAMPLES = 30 * SAMPLE_RATE


class SequentialTranscriber:
    """A Whisper model behind transformers' long-form ``generate``."""

    def __init__(self, checkpoint: Checkpoint, note: Callable[[str], None]) -> None:
        """``note`` is told in one line when a fallback is taken."""
        self._checkpoint = checkpoint
        self._note = note

    @property
    def device(self) -> str:
        return self._checkpoint.device

    @property
    def compute_type(self) -> str:
        return self._checkpoint.dtype

    def transcribe(
        self, recording: Recording, options: TranscribeOptions, *, progress: Progress | None = None
    ) -> tuple[Iterator[Segment], TranscriptionInfo]:
        """See :meth:`gputx_remote.engine.transcriber.Transcriber.transcribe`.

        transformers wants the whole recording in memory and gives its segments at the end.
        """
        info = TranscriptionInfo(options.language or "", recording.duration_ms)
        return self._segments(recording, options, info, progress), info

    def _segments(
        self, recording: Recording, options: TranscribeOptions, info: TranscriptionInfo, progress: Progress | None
    ) -> Iterator[Segment]:
        samples = recording.read()
        if not len(samples):
            return
        total = len(samples) / SAMPLE_RATE
        windows: set[int] = set()

        def heard(state: Any) -> None:
            frames = int(state[0][0])
            windows.add(frames)
            if progress is not None:
                progress(min(frames / FRAMES_A_SECOND, total), total)

        segments = self._generate(samples, options, info, heard)
        info.windows = len(windows)
        yield from orderly(
            ((float(s["start"]), float(s["end"]), self._text(s["tokens"])) for s in segments), info.duration_ms
        )
        if progress is not None:
            progress(total, total)

    def _generate(
        self, samples: Any, options: TranscribeOptions, info: TranscriptionInfo, heard: Callable[[Any], None]
    ) -> list[dict[str, Any]]:
        """The segments as transformers gives them, on the CPU where GPU memory is too small."""
        try:
            outcome = self._attempt(samples, options, info, heard)
            if outcome is None and self.device != "cpu":
                self._note("GPU memory too small for long-form decoding: going on with the CPU")
                self._checkpoint.retreat()
                outcome = self._attempt(samples, options, info, heard)
        except (RuntimeError, ValueError, IndexError) as error:
            raise EngineError(f"the model could not decode this audio: {error}") from error
        if outcome is None:
            raise EngineError("not enough memory to decode this recording")
        return outcome

    def _attempt(
        self, samples: Any, options: TranscribeOptions, info: TranscriptionInfo, heard: Callable[[Any], None]
    ) -> list[dict[str, Any]] | None:
        """The segments; None where they do not fit, without a traceback that would keep the failed tensors alive."""
        model, processor = self._checkpoint.model, self._checkpoint.processor
        long = len(samples) > WINDOW_SAMPLES
        features = processor.feature_extractor(
            samples,
            sampling_rate=SAMPLE_RATE,
            return_tensors="pt",
            truncation=not long,
            padding="longest" if long else "max_length",
            return_attention_mask=long,
        )
        known = model.generation_config
        thresholds = options.thresholds
        try:
            inputs = features["input_features"].to(model.device, model.dtype)
            told = {}
            if not multilingual(model, options):
                info.language = "en"
            elif not info.language:
                token = int(model.detect_language(input_features=inputs[:, :, : 30 * FRAMES_A_SECOND])[0])
                codes = {number: name for name, number in known.lang_to_id.items()}
                info.language = str(codes[token]).strip("<|>")
            if info.language and getattr(known, "is_multilingual", True):
                told = {"language": info.language, "task": options.task}
            prompt = None
            if options.initial_prompt:
                prompt = processor.get_prompt_ids(options.initial_prompt, return_tensors="pt").to(model.device)
            output = model.generate(
                input_features=inputs,
                attention_mask=features["attention_mask"].to(model.device) if long else None,
                **told,
                return_timestamps=True,
                return_segments=True,
                num_beams=1,
                temperature=options.temperatures,
                compression_ratio_threshold=thresholds.compression_ratio,
                logprob_threshold=thresholds.logprob,
                no_speech_threshold=thresholds.no_speech,
                condition_on_prev_tokens=options.condition_on_previous_text,
                prompt_ids=prompt,
                monitor_progress=heard,
            )
        except torch.OutOfMemoryError:
            return None
        segments: list[dict[str, Any]] = output["segments"][0]
        return segments

    def _text(self, tokens: Any) -> str:
        return str(self._checkpoint.processor.tokenizer.decode(tokens, skip_special_tokens=True))
