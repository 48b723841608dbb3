"""Whisper's own long-form decoding, as transformers has it: one window after the other, each beginning where the last
whole sentence ended. The yardstick for accuracy; ``generate`` does all the work.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from gputx_remote.decoders.transformers_model import Checkpoint
from gputx_remote.engine.reference import heard_language, multilingual
from gputx_remote.engine.transcriber import Progress, TranscribeOptions, TranscriptionInfo
from gputx_remote.errors import EngineError, one_line
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
        if progress is not None and total:
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
            raise EngineError(f"the model could not decode this audio: {one_line(error)}") from error
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
            samples if len(samples) else np.zeros(1, np.float32),
            sampling_rate=SAMPLE_RATE,
            return_tensors="pt",
            truncation=not long,
            padding="longest" if long else "max_length",
            return_attention_mask=long,
        )
        thresholds = options.thresholds
        try:
            inputs = features["input_features"].to(model.device, model.dtype)
            told = {}
            if not multilingual(model, options):
                info.language = "en"
            else:
                info.language = info.language or heard_language(model, inputs[:, :, : 30 * FRAMES_A_SECOND])
                told = {"language": info.language, "task": options.task}
            if not len(samples):
                return []
            prompt = self._prompt(options)
            # Without text before it, transformers gives the prompt to every window by itself, and with it only if told.
            every = prompt is not None and options.condition_on_previous_text
            with _room_for_prompt(model, 0 if prompt is None else len(prompt)):
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
                    prompt_condition_type="all-segments" if every else None,
                    monitor_progress=heard,
                )
        except torch.OutOfMemoryError:
            return None
        segments: list[dict[str, Any]] = output["segments"][0]
        return segments

    def _prompt(self, options: TranscribeOptions) -> torch.Tensor | None:
        """Hotwords and the person's prompt, behind <|startofprev|>; where room is short the prompt's beginning gives
        way. None without them."""
        hotwords, prompt = self._tokens(options.hotwords), self._tokens(options.initial_prompt)
        if not hotwords and not prompt:
            return None
        hotwords = hotwords[: self._room]
        prompt = prompt[max(0, len(prompt) - (self._room - len(hotwords))) :]
        begin = self._checkpoint.processor.tokenizer.convert_tokens_to_ids("<|startofprev|>")
        return torch.tensor([begin, *hotwords, *prompt], device=self._checkpoint.model.device)

    @property
    def _room(self) -> int:
        """Tokens of text that may stand before a window: half of the context less one (whisper/decoding.py)."""
        return int(self._checkpoint.model.config.max_target_positions) // 2 - 1

    def _tokens(self, text: str | None) -> list[int]:
        """As :meth:`gputx_remote.vocabulary.Vocabulary.encode`: without special tokens that are spelled out."""
        tokenizer = self._checkpoint.processor.tokenizer
        written = (text or "").strip()
        tokens = tokenizer.encode(" " + written, add_special_tokens=False) if written else []
        return [token for token in tokens if token < tokenizer.eos_token_id]

    def _text(self, tokens: Any) -> str:
        return str(self._checkpoint.processor.tokenizer.decode(tokens, skip_special_tokens=True))


@contextmanager
def _room_for_prompt(model: Any, length: int) -> Iterator[None]:
    """Let the text before a window give way to the prompt, as Whisper does with ``carry_initial_prompt``.

    transformers cuts the text as if it stood alone and puts the prompt before it, so that both together may leave no
    room for the window's own. It has no option for that; its method is wrapped while it works.

    Args:
        model: transformers' Whisper.
        length: tokens of the prompt, <|startofprev|> included; 0 without one.
    """
    if not length:
        yield
        return
    prepare = model._prepare_decoder_input_ids
    most = model.config.max_target_positions // 2

    def prepared(*arguments: Any, **named: Any) -> tuple[torch.Tensor, dict[str, Any]]:
        tokens, rest = prepare(*arguments, **named)
        surplus = tokens.shape[1] - named["init_tokens"].shape[1] - most
        if surplus > 0:
            kept = [*range(length), *range(length + surplus, tokens.shape[1])]
            tokens = tokens[:, kept]
            if rest.get("decoder_attention_mask") is not None:
                rest["decoder_attention_mask"] = rest["decoder_attention_mask"][:, kept]
        return tokens, rest

    model._prepare_decoder_input_ids = prepared
    try:
        yield
    finally:
        del model._prepare_decoder_input_ids
