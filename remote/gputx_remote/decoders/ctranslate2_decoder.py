"""Whisper by CTranslate2: no torch, starts fast, int8 on a CPU."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import ctranslate2
import numpy as np
import numpy.typing as npt

from gputx_remote.decoders import ctranslate2_conversion as conversion
from gputx_remote.decoders import ctranslate2_memory as memory
from gputx_remote.decoders.ctranslate2_format import Part
from gputx_remote.decoders.decoder import Decoded, OutOfMemoryError, Request
from gputx_remote.errors import EngineError, ModelUnavailableError
from gputx_remote.rules import TokenRules
from gputx_remote.spectrogram import log_mel
from gputx_remote.vocabulary import Vocabulary, read_json
from gputx_remote.weights import ModelLocation

Samples = npt.NDArray[np.float32]

COMPUTE_TYPES = {
    "cpu": ("int8_float32", "int8", "float32", "int16"),
    "cuda": ("float16", "int8_float16", "float32", "int8", "int8_float32"),
}
"""What can be asked for, the default first. What the machine can do of it, CTranslate2 says."""

MULTILINGUAL_SIZE = 51865
"""CTranslate2 detects languages only where it finds as many tokens as Whisper has, or one called "", as Whisper has:
older versions go by the one, 4.8 by the other (``is_multilingual``)."""

ENCODED_FRAMES = 1500
SAMPLES_A_FRAME = 320
"""One position of the encoder's output: 20 ms."""
SECONDS_A_FRAME = 0.02
SEEDS = 2**32 - 1
"""Seeds from 0 on that CTranslate2 takes as such; the one behind them asks it for a random one."""
_OUT_OF_MEMORY = ("out of memory", "bad_alloc", "cannot allocate memory", "failed to allocate")


@dataclass(frozen=True)
class Encoded:
    """The encoder's output for some windows, where the model is."""

    features: ctranslate2.StorageView
    """Shape (windows, 1500, d_model)."""

    def __len__(self) -> int:
        return int(self.features.shape[0])


class _Together(NamedTuple):
    """What windows must have in common for one call of CTranslate2."""

    prompt_length: int
    text_begins: int
    timestamps: bool
    max_tokens: int
    temperature: float


class CTranslate2Decoder:
    """See :class:`gputx_remote.decoders.decoder.Decoder`. ``load`` makes one."""

    name = "ctranslate2"

    def __init__(
        self,
        model: Any,
        location: ModelLocation,
        vocabulary: Vocabulary,
        rules: TokenRules,
        *,
        open_text: Callable[[], Any] | None = None,
        note: Callable[[str], None] = lambda _: None,
    ) -> None:
        """
        Args:
            model: as CTranslate2 loaded it.
            location: where it is from.
            vocabulary: its tokens.
            rules: which of them may come next.
            open_text: loads its text decoder alone, anew each time it is called, to draw with; None to draw with the
                model itself.
            note: told in one line where there is no memory for that.
        """
        self._model = model
        self._open_text = open_text
        self._note = note
        self._location = location
        self._rules = rules
        self._widened: Any = None
        self._config = read_json(location.path / "config.json")
        self.vocabulary = vocabulary
        self.device: str = self._model.device
        self.compute_type: str = self._model.compute_type

    def encode(self, windows: Sequence[Samples]) -> Encoded:
        """See :meth:`Decoder.encode`."""
        features = log_mel(windows, self._model.n_mels)
        with _memory_errors():
            return Encoded(self._model.encode(ctranslate2.StorageView.from_array(features)))

    def select(self, encoded: Encoded, rows: Sequence[int]) -> Encoded:
        """See :meth:`Decoder.select`. From a GPU the windows travel to the CPU and back."""
        with _memory_errors():
            return self._placed(np.ascontiguousarray(_on_cpu(encoded.features)[list(rows)]))

    def join(self, encodings: Sequence[Encoded]) -> Encoded:
        """See :meth:`Decoder.join`. From a GPU the windows travel to the CPU and back."""
        with _memory_errors():
            return self._placed(np.concatenate([_on_cpu(encoded.features) for encoded in encodings]))

    def _placed(self, features: npt.NDArray[np.float32]) -> Encoded:
        view = ctranslate2.StorageView.from_array(features)
        return Encoded(view.to_device(ctranslate2.Device.cuda) if self.device == "cuda" else view)

    def decode(self, encoded: Encoded, requests: Sequence[Request]) -> list[Decoded]:
        """See :meth:`Decoder.decode`.

        Windows whose prompts differ in length are decoded one group after the other. On a CPU windows at a temperature
        are decoded one by one, each by a text decoder loaded for it: CTranslate2 keeps a generator of random numbers in
        each of its threads, seeded when the thread first draws and never again (its ``src/random.cc``), so only a new
        thread draws what a seed says, and only what is loaded gets one. On CUDA, and where a second text decoder does
        not fit, they are drawn together, and what is drawn depends on the batch and on what was drawn before.
        """
        if len(encoded) != len(requests):
            raise ValueError(f"{len(encoded)} windows and {len(requests)} requests")
        done: list[Decoded | None] = [None] * len(requests)
        groups: dict[_Together, list[int]] = {}
        for row, request in enumerate(requests):
            if request.temperature > 0:
                done[row] = self._drawn_alone(encoded, row, request)
            if done[row] is None:
                groups.setdefault(self._together(request), []).append(row)
        for rows in groups.values():
            part = encoded if rows == list(range(len(encoded))) else self.select(encoded, rows)
            results = self._generate(self._model, part, [requests[row] for row in rows])
            for row, result in zip(rows, results, strict=True):
                done[row] = result
        return [result for result in done if result is not None]

    def _together(self, request: Request) -> _Together:
        rules = self._rules.for_prompt(request.prompt)
        begins = request.prompt.index(self.vocabulary.start_of_transcript)
        return _Together(len(request.prompt), begins, rules.timestamps, request.max_tokens, request.temperature)

    def _drawn_alone(self, encoded: Encoded, row: int, request: Request) -> Decoded | None:
        """A window drawn as its seed says; None where that can't be had."""
        if self._open_text is None:
            return None
        try:
            with _memory_errors():
                text_decoder = self._open_text()
            return self._generate(text_decoder, self.select(encoded, [row]), [request])[0]
        except OutOfMemoryError:
            # Not the windows are too many, which is what this error would say: they have been decoded before.
            self._open_text = None
        self._note("not enough memory for a second text decoder: what is drawn depends on the batch from here on")
        return None

    def _generate(self, model: Any, encoded: Encoded, requests: Sequence[Request]) -> list[Decoded]:
        """Decode windows that :class:`_Together` puts together."""
        prompts = [list(request.prompt) for request in requests]
        limit = self._rules.max_initial_timestamp_index
        room = min(requests[0].max_tokens, self.vocabulary.context - len(prompts[0]))
        if room < 1:
            raise EngineError(f"a prompt of {len(prompts[0])} tokens leaves no room for text")
        drawing = {}
        if requests[0].temperature > 0:
            ctranslate2.set_random_seed(requests[0].seed % SEEDS)
            drawing = {"sampling_topk": 0, "sampling_temperature": requests[0].temperature}
        with _memory_errors():
            results = model.generate(
                encoded.features,
                prompts,
                beam_size=1,
                # CTranslate2 writes min(max_length / 2, max_length - prompt + 1) tokens at most.
                max_length=max(2 * room, room + len(prompts[0]) - 1),
                suppress_tokens=list(self._rules.suppress),
                max_initial_timestamp_index=self._rules.size if limit is None else limit,
                return_no_speech_prob=True,
                return_logits_vocab=True,
                **drawing,
            )
            return [self._decoded(result) for result in results]

    def _decoded(self, result: Any) -> Decoded:
        tokens = tuple(result.sequences_ids[0])
        # The logits come after the rules, one row for each token written, the end of text included.
        written = (*tokens, self.vocabulary.end_of_text)
        logits = result.logits[0]
        logprobs = tuple(_logprob(_on_cpu(row), token) for row, token in zip(logits, written, strict=False))
        no_speech = result.no_speech_prob if self.vocabulary.no_speech is not None else 0.0
        return Decoded(tokens, logprobs, float(no_speech))

    def languages(self, encoded: Encoded) -> list[dict[str, float]]:
        """See :meth:`Decoder.languages`."""
        if not self.vocabulary.languages:
            return [{} for _ in range(len(encoded))]
        with _memory_errors():
            found = self._listener().detect_language(encoded.features)
        return [{name.strip("<|>"): probability for name, probability in window} for window in found]

    def _listener(self) -> Any:
        """The model, or for a small vocabulary one whose embeddings are padded until CTranslate2 sees that it is
        multilingual. The padding changes nothing, because only language tokens are compared."""
        if self._model.is_multilingual:
            return self._model
        if self._widened is None:
            wide = conversion.in_memory(self._location, rows=MULTILINGUAL_SIZE)
            self._widened = _opened(wide, self.device, self.compute_type)
        return self._widened

    def align(
        self, encoded: Encoded, prompt: Sequence[int], texts: Sequence[Sequence[int]], lengths: Sequence[int]
    ) -> list[Sequence[float]]:
        """See :meth:`Decoder.align`. CTranslate2 finds the path through the attention itself, as Whisper does: heads
        standardised, smoothed by a median of 7 frames, averaged."""
        begins: list[Sequence[float]] = [(0.0,)] * len(texts)
        rows = [row for row, text in enumerate(texts) if text]
        if not rows:
            return begins
        part = encoded if len(rows) == len(encoded) else self.select(encoded, rows)
        start = [token for token in prompt if token != self.vocabulary.no_timestamps]
        # The prompt's oldest text gives way where both would not fit into the context.
        opening = start.index(self.vocabulary.start_of_transcript)
        spare = self.vocabulary.context - max(len(text) for text in texts) - 2 - (len(start) - opening)
        start = start[opening - max(0, min(opening, spare)) :]
        # Counted by 10 ms, of which the encoder makes one of two.
        frames = [2 * max(1, min(ENCODED_FRAMES, -(-lengths[row] // SAMPLES_A_FRAME))) for row in rows]
        with _memory_errors():
            aligned = self._model.align(part.features, start, [list(texts[row]) for row in rows], frames)
        for row, result in zip(rows, aligned, strict=True):
            begins[row] = _begins(result.alignments)
        return begins

    def batch_size(self) -> int:
        """See :meth:`Decoder.batch_size`."""
        return memory.batch_size(self._config, self.device, self.compute_type)


def load(
    location: ModelLocation,
    *,
    device: str = "auto",
    compute_type: str | None = None,
    note: Callable[[str], None],
    cache_directory: Path | None = None,
    at_once: int = 1,
) -> CTranslate2Decoder:
    """Load a checkpoint, converting it if nobody has yet.

    Args:
        location: what :func:`gputx_remote.weights.resolve` found.
        device: "cuda", "cpu", or "auto" for CUDA where there is one.
        compute_type: one of :data:`COMPUTE_TYPES`; None for int8_float32 on a CPU and float16 on CUDA.
        note: told in one line when something is made or a fallback taken.
        cache_directory: where conversions are kept, instead of :func:`ctranslate2_conversion.cache_directory`.
        at_once: threads that may encode, align and decode at temperature 0 with it at the same time. They share the
            cores.

    Raises:
        ModelUnavailableError: the files are no Whisper model that CTranslate2 can run, or not in this type here.
    """
    vocabulary = Vocabulary.load(location.path)
    rules = TokenRules.load(location.path, vocabulary)
    kind = _device(device, note)
    cache = cache_directory or conversion.cache_directory()
    converted = conversion.ready(location, cache, note)

    def opened(kind: str, compute_type: str) -> CTranslate2Decoder:
        model = _opened(converted, kind, compute_type, at_once)
        # A GPU's arithmetic in half precision makes the text depend on the batch anyway, and it lives by batches.
        open_text = _text_opener(location, cache, model.compute_type, note) if kind == "cpu" else None
        return CTranslate2Decoder(model, location, vocabulary, rules, open_text=open_text, note=note)

    try:
        return opened(kind, _type(kind, compute_type))
    except RuntimeError as error:
        if kind == "cuda" and _is_out_of_memory(error):
            note("GPU memory too small for the model: using the CPU")
            return opened("cpu", _type("cpu", None))
        raise ModelUnavailableError(f"model {location.id}: CTranslate2 can't load it: {_line(error)}") from error


def _text_opener(
    location: ModelLocation, cache: Path, compute_type: str, note: Callable[[str], None]
) -> Callable[[], Any]:
    """Loads the text decoder alone on the CPU; the first time it is converted, where nobody has yet."""
    part: Part = "text-int8" if compute_type.startswith("int8") else "text"

    @functools.cache
    def converted() -> conversion.Conversion:
        return conversion.ready(location, cache, note, part)

    return lambda: _opened(converted(), "cpu", compute_type)


def _opened(converted: conversion.Conversion, device: str, compute_type: str, at_once: int = 1) -> Any:
    return ctranslate2.models.Whisper(
        str(converted.path),
        device=device,
        compute_type=compute_type,
        inter_threads=at_once,
        intra_threads=max(1, _threads() // at_once),
        files=converted.files or None,
    )


def _threads() -> int:
    """Threads for one batch: what OpenMP was told, or every core this process may use (CTranslate2 takes 4)."""
    told = os.environ.get("OMP_NUM_THREADS", "")
    if told.isdecimal() and int(told):
        return int(told)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _device(wanted: str, note: Callable[[str], None]) -> str:
    if wanted == "cpu":
        return "cpu"
    if ctranslate2.get_cuda_device_count():
        return "cuda"
    note("no usable CUDA GPU here: using the CPU")
    return "cpu"


def _type(device: str, wanted: str | None) -> str:
    """A type this machine computes in. CTranslate2 would silently take another one than it can't do."""
    able = ctranslate2.get_supported_compute_types(device)
    here = [name for name in COMPUTE_TYPES[device] if name in able]
    if wanted is None:
        return here[0]
    if wanted not in here:
        raise ModelUnavailableError(
            f"CTranslate2 can't compute in {wanted} on this {device}; it can in {', '.join(here)}"
        )
    return wanted


def _on_cpu(view: ctranslate2.StorageView) -> npt.NDArray[np.float32]:
    if view.device == "cuda":
        view = view.to_device(ctranslate2.Device.cpu)
    return np.asarray(view)


def _begins(path: Sequence[tuple[int, int]]) -> list[float]:
    """Seconds at which the path first comes to each row: (row, frame) in order, every row of them."""
    first: dict[int, int] = {}
    for row, frame in path:
        first.setdefault(row, frame)
    return [round(first[row] * SECONDS_A_FRAME, 2) for row in sorted(first)]


def _logprob(logits: npt.NDArray[np.floating[Any]], token: int) -> float:
    logits = logits.reshape(-1).astype(np.float32, copy=False)
    top = logits.max()
    return float(logits[token] - top - np.log(np.exp(logits - top).sum()))


@contextmanager
def _memory_errors() -> Iterator[None]:
    """Say in the port's way that memory did not suffice, and in one line what else CTranslate2 complains of."""
    try:
        yield
    except MemoryError as error:
        raise OutOfMemoryError("not enough memory") from error
    except RuntimeError as error:
        if _is_out_of_memory(error):
            raise OutOfMemoryError(_line(error)) from error
        raise EngineError(f"CTranslate2 could not decode this audio: {_line(error)}") from error


def _is_out_of_memory(error: Exception) -> bool:
    return any(words in str(error).lower() for words in _OUT_OF_MEMORY)


def _line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
