"""Whisper by a batched decoder of our own over the Hugging Face weights, on a CPU or CUDA.

What transformers spends on bookkeeping is saved: caches of a fixed size, the audio's keys and values once per window,
the rules as tensors on the device, a row that is done leaving the batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from gputx_remote import alignment
from gputx_remote.decoders import torch_checkpoint, torch_spectrogram
from gputx_remote.decoders.decoder import Decoded, OutOfMemoryError, Request
from gputx_remote.decoders.room import windows_that_fit
from gputx_remote.decoders.torch_batch import Batch
from gputx_remote.decoders.torch_checkpoint import Checkpoint
from gputx_remote.decoders.torch_encoder import AudioEncoder
from gputx_remote.decoders.torch_graphs import GraphStepping, cuda_capture
from gputx_remote.decoders.torch_linear import Arithmetic, int8_works
from gputx_remote.decoders.torch_search import EagerStepping, Search, Stepping
from gputx_remote.decoders.torch_text_decoder import Cache, Place, TextDecoder, columns_of
from gputx_remote.errors import EngineError, ModelUnavailableError, one_line
from gputx_remote.rules import TokenRules
from gputx_remote.spectrogram import log_mel
from gputx_remote.vocabulary import Vocabulary
from gputx_remote.weights import ModelLocation

if TYPE_CHECKING:
    from gputx_remote.decoders.decoder import Samples

COMPUTE_TYPES = {"cpu": ("int8", "bfloat16", "float32"), "cuda": ("float16", "bfloat16", "float32")}
"""What can be asked for, the fastest first (docs/performance.md)."""
SAMPLES_A_FRAME = 320
"""One position of the encoder's output: 20 ms."""

MakeStepping = Callable[[int, int], Stepping]
"""From the slots of a batch and the columns of its cache."""


@dataclass(frozen=True)
class Encoded:
    """The encoder's output, shape (windows, 1500, width), on the device."""

    states: torch.Tensor

    def __len__(self) -> int:
        return len(self.states)


class TorchDecoder:
    """See :class:`gputx_remote.decoders.decoder.Decoder`. :func:`load` makes one."""

    name = "torch"

    def __init__(
        self,
        checkpoint: Checkpoint,
        vocabulary: Vocabulary,
        rules: TokenRules,
        arithmetic: Arithmetic,
        stepping: MakeStepping,
    ) -> None:
        self.vocabulary = vocabulary
        self._sizes = checkpoint.dimensions
        self._rules = rules
        self._arithmetic = arithmetic
        self._stepping = stepping
        self._encoder = AudioEncoder(checkpoint, arithmetic)
        self._decoder = TextDecoder(checkpoint, arithmetic)
        self._search: Search | None = None
        self._batch: Batch | None = None

    @property
    def device(self) -> str:
        return self._arithmetic.device

    @property
    def compute_type(self) -> str:
        return self._arithmetic.compute_type

    def encode(self, windows: Sequence[Samples]) -> Encoded:
        """See :meth:`gputx_remote.decoders.decoder.Decoder.encode`."""
        with self._work():
            if self.device == "cuda":
                features = torch_spectrogram.log_mel(windows, self._sizes.mels, self.device)
            else:
                features = torch.from_numpy(log_mel(windows, self._sizes.mels))
            return Encoded(self._encoder(features))

    def select(self, encoded: Encoded, rows: Sequence[int]) -> Encoded:
        """See :meth:`gputx_remote.decoders.decoder.Decoder.select`."""
        return Encoded(encoded.states[list(rows)])

    def join(self, encodings: Sequence[Encoded]) -> Encoded:
        """See :meth:`gputx_remote.decoders.decoder.Decoder.join`."""
        with self._work():
            return Encoded(torch.cat([encoded.states for encoded in encodings]))

    def decode(self, encoded: Encoded, requests: Sequence[Request]) -> list[Decoded]:
        """See :meth:`gputx_remote.decoders.decoder.Decoder.decode`.

        Raises:
            EngineError: a prompt fills the whole context, so that nothing can be written behind it.
        """
        if len(encoded) != len(requests):
            raise ValueError(f"{len(encoded)} windows and {len(requests)} requests")
        longest = max((len(request.prompt) for request in requests), default=0)
        if longest >= self._sizes.context:
            raise EngineError(f"a prompt of {longest} tokens leaves no room for text")
        if not requests:
            return []
        with self._work():
            search, batch = self._prepared(len(requests))
            self._decoder.listen(encoded.states, batch.cache)
            return search(requests)

    def _prepared(self, windows: int) -> tuple[Search, Batch]:
        """Caches large enough, made once and kept."""
        if self._search is None or self._batch is None or self._batch.slots < windows:
            # The old ones go before the new ones come.
            self._search = self._batch = None
            self._batch = Batch(windows, self._sizes, self._rules, self._arithmetic)
            stepping = self._stepping(windows, columns_of(self._sizes))
            self._search = Search(self._decoder, self._batch, self.vocabulary, stepping)
        return self._search, self._batch

    def languages(self, encoded: Encoded) -> list[dict[str, float]]:
        """See :meth:`gputx_remote.decoders.decoder.Decoder.languages`."""
        known = self.vocabulary.languages
        if not known or not len(encoded):
            return [{} for _ in range(len(encoded))]
        with self._work():
            _, batch = self._prepared(len(encoded))
            self._decoder.listen(encoded.states, batch.cache)
            tokens = torch.full((len(encoded), 1), self.vocabulary.start_of_transcript, device=self.device)
            logits = self._decoder.logits(self._read(tokens, batch.cache)[:, -1])
            chances = logits[:, list(known.values())].softmax(-1).tolist()
        return [dict(zip(known, row, strict=True)) for row in chances]

    def align(
        self, encoded: Encoded, prompt: Sequence[int], texts: Sequence[Sequence[int]], lengths: Sequence[int]
    ) -> list[Sequence[float]]:
        """See :meth:`gputx_remote.decoders.decoder.Decoder.align`."""
        with self._work():
            return [
                self._align(encoded.states[row : row + 1], prompt, text, length) if text else (0.0,)
                for row, (text, length) in enumerate(zip(texts, lengths, strict=True))
            ]

    def _align(self, states: torch.Tensor, prompt: Sequence[int], text: Sequence[int], length: int) -> list[float]:
        silent = self.vocabulary.no_timestamps
        # As whisper/timing.py reads a text: without time tokens, and told so.
        before = [token for token in prompt if token != silent]
        opening = [*before[-(self._sizes.context - len(text) - 1) :], silent]
        tokens = torch.tensor([[*opening, *text]], device=self.device)
        _, batch = self._prepared(1)
        self._decoder.listen(states, batch.cache)
        heard: list[torch.Tensor] = []
        self._read(tokens, batch.cache, heard)
        frames = max(1, min(states.shape[1], -(-length // SAMPLES_A_FRAME)))
        heads = [heard[layer][0, head, len(opening) - 1 :, :frames] for layer, head in self._sizes.alignment_heads]
        return alignment.token_starts(torch.stack(heads).float().cpu().numpy())

    def _read(self, tokens: torch.Tensor, cache: Cache, heard: list[torch.Tensor] | None = None) -> torch.Tensor:
        """Read whole texts of one length from the start."""
        columns = torch.arange(tokens.shape[1], device=tokens.device)
        later = torch.full((len(columns), len(columns)), float("-inf"), device=tokens.device).triu_(1)
        place = Place(columns, columns.expand(tokens.shape), len(columns), later.to(self._arithmetic.attention))
        return self._decoder(tokens, place, cache, heard)

    def batch_size(self) -> int:
        """See :meth:`gputx_remote.decoders.decoder.Decoder.batch_size`."""
        return windows_that_fit(
            self.device,
            width=self._sizes.width,
            layers=self._sizes.decoder_layers,
            columns=columns_of(self._sizes),
            bytes_each=self._arithmetic.attention.itemsize,
        )

    @contextmanager
    def _work(self) -> Iterator[None]:
        """Run the model, and say in the port's way what goes wrong."""
        try:
            with torch.inference_mode():
                yield
        except torch.OutOfMemoryError as error:
            self._free()
            raise OutOfMemoryError("not enough GPU memory") from error
        except RuntimeError as error:
            # torch has no class of its own for a CPU's.
            if "not enough memory" in str(error) or "can't allocate memory" in str(error):
                self._free()
                raise OutOfMemoryError("not enough memory") from error
            raise EngineError(f"torch could not decode this audio: {one_line(error)}") from error

    def _free(self) -> None:
        self._search = self._batch = None
        if self.device == "cuda":
            torch.cuda.empty_cache()


def load(
    location: ModelLocation,
    *,
    device: str,
    compute_type: str | None = None,
    note: Callable[[str], None],
    graphs: bool = True,
) -> TorchDecoder:
    """Load a checkpoint.

    Args:
        location: what :func:`gputx_remote.weights.resolve` found.
        device: "cpu" or "cuda".
        compute_type: one of :data:`COMPUTE_TYPES`; None for the first that the device can do.
        note: told in one line when a fallback is taken.
        graphs: whether steps are captured as CUDA graphs; without, the same steps are launched kernel by kernel.

    Raises:
        ModelUnavailableError: the files are no Whisper model that can be loaded, or not in this type here.
    """
    kind = compute_type or next(name for name in COMPUTE_TYPES[device] if name != "int8" or int8_works())
    if kind not in COMPUTE_TYPES[device]:
        raise ModelUnavailableError(f"the torch decoder can't compute in {kind} on {device}")
    if kind == "int8" and not int8_works():
        raise ModelUnavailableError("the torch decoder computes in int8 only on a CPU with AVX-512 VNNI")
    vocabulary = Vocabulary.load(location.path)
    rules = TokenRules.load(location.path, vocabulary)
    checkpoint = torch_checkpoint.read(location)
    try:
        return TorchDecoder(checkpoint, vocabulary, rules, Arithmetic(device, kind), _stepping(device, graphs))
    except torch.OutOfMemoryError:
        note("GPU memory too small for the model: using the CPU")
    return TorchDecoder(checkpoint, vocabulary, rules, Arithmetic("cpu", "float32"), _stepping("cpu", graphs))


def _stepping(device: str, graphs: bool) -> MakeStepping:
    if device == "cuda" and graphs:
        return lambda slots, columns: GraphStepping(slots, columns, cuda_capture())
    return lambda slots, columns: EagerStepping()  # noqa: ARG005 - of any size
