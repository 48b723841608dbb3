"""transformers' own ``generate`` behind the port: the yardstick for the other decoders, token for token.

Rules, caches and the search are transformers'. Ours are only the drawing of tokens, so that it does not depend on
what else is in the batch, and the gathering of probabilities.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

import torch
from transformers import GenerationMixin, LogitsProcessor, LogitsProcessorList
from transformers.generation.logits_process import (
    SuppressTokensAtBeginLogitsProcessor,
    SuppressTokensLogitsProcessor,
    WhisperTimeStampLogitsProcessor,
)
from transformers.modeling_outputs import BaseModelOutput

from gputx_remote import alignment
from gputx_remote.decoders.decoder import Decoded, OutOfMemoryError, Request
from gputx_remote.decoders.room import windows_that_fit
from gputx_remote.decoders.transformers_model import Checkpoint
from gputx_remote.decoders.transformers_model import load as load_checkpoint
from gputx_remote.errors import EngineError, one_line
from gputx_remote.rules import TokenRules
from gputx_remote.vocabulary import Vocabulary
from gputx_remote.weights import ModelLocation

if TYPE_CHECKING:
    from gputx_remote.decoders.decoder import Samples

SAMPLE_RATE = 16_000
SAMPLES_A_FRAME = 320
"""One position of the encoder's output: 20 ms."""


@dataclass(frozen=True)
class Encoding:
    """The encoder's output, shape (windows, 1500, width)."""

    states: torch.Tensor

    def __len__(self) -> int:
        return len(self.states)


class TransformersDecoder:
    """A checkpoint, decoded by transformers."""

    name = "transformers"

    def __init__(self, checkpoint: Checkpoint, vocabulary: Vocabulary, rules: TokenRules) -> None:
        self._checkpoint = checkpoint
        self._rules = rules
        self.vocabulary = vocabulary

    @property
    def device(self) -> str:
        return self._checkpoint.device

    @property
    def compute_type(self) -> str:
        return self._checkpoint.dtype

    def encode(self, windows: Sequence[Samples]) -> Encoding:
        """See :meth:`gputx_remote.decoders.decoder.Decoder.encode`."""
        model = self._checkpoint.model
        features = self._checkpoint.processor.feature_extractor(
            list(windows), sampling_rate=SAMPLE_RATE, return_tensors="pt"
        )["input_features"]
        with _work():
            return Encoding(model.model.encoder(features.to(model.device, model.dtype)).last_hidden_state)

    def select(self, encoded: Encoding, rows: Sequence[int]) -> Encoding:
        """See :meth:`gputx_remote.decoders.decoder.Decoder.select`."""
        return Encoding(encoded.states[list(rows)])

    def join(self, encodings: Sequence[Encoding]) -> Encoding:
        """See :meth:`gputx_remote.decoders.decoder.Decoder.join`."""
        with _work():
            return Encoding(torch.cat([encoded.states for encoded in encodings]))

    def decode(self, encoded: Encoding, requests: Sequence[Request]) -> list[Decoded]:
        """See :meth:`gputx_remote.decoders.decoder.Decoder.decode`."""
        done: list[Decoded | None] = [None] * len(requests)

        def kind(row: int) -> tuple[tuple[int, ...], float, int]:
            return requests[row].prompt, requests[row].temperature, requests[row].max_tokens

        # One call has one prompt and one temperature; in practice a batch has.
        for _, group in groupby(sorted(range(len(requests)), key=kind), key=kind):
            rows = list(group)
            with _work():
                results = self._generate(encoded.states[rows], [requests[row] for row in rows])
            for row, result in zip(rows, results, strict=True):
                done[row] = result
        return [result for result in done if result is not None]

    def _generate(self, states: torch.Tensor, requests: Sequence[Request]) -> list[Decoded]:
        model, rules = self._checkpoint.model, self._rules.for_prompt(requests[0].prompt)
        prompt = torch.tensor([requests[0].prompt] * len(requests), device=model.device)
        length = prompt.shape[1]
        ledger = _Ledger(rules.end_of_text, length)
        steps: list[LogitsProcessor] = []
        if rules.begin_suppress:
            steps.append(SuppressTokensAtBeginLogitsProcessor(rules.begin_suppress, length, device=str(model.device)))
        if rules.suppress:
            steps.append(SuppressTokensLogitsProcessor(rules.suppress, device=str(model.device)))
        if rules.timestamps:
            config = model.generation_config
            steps.append(WhisperTimeStampLogitsProcessor(config, begin_index=length))
        steps.append(ledger)
        if requests[0].temperature > 0:
            steps.append(_Draw(requests[0].temperature, [request.seed for request in requests]))
        room = model.config.max_target_positions - length
        sequences = GenerationMixin.generate(
            model,
            encoder_outputs=BaseModelOutput(last_hidden_state=states),
            decoder_input_ids=prompt,
            logits_processor=LogitsProcessorList(steps),
            generation_config=_plain(model.generation_config, min(requests[0].max_tokens, room)),
        )
        logprobs = ledger.close(sequences)
        silent = self._no_speech(states, requests[0].prompt)
        results = []
        for row, tokens in enumerate(sequences[:, length:].tolist()):
            written = tokens[: tokens.index(rules.end_of_text)] if rules.end_of_text in tokens else tokens
            ended = len(written) < len(tokens)
            results.append(Decoded(tuple(written), tuple(logprobs[row][: len(written) + ended]), silent[row]))
        return results

    def _no_speech(self, states: torch.Tensor, prompt: Sequence[int]) -> list[float]:
        if self.vocabulary.no_speech is None:
            return [0.0] * len(states)
        upto = list(prompt).index(self.vocabulary.start_of_transcript) + 1
        logits = self._logits(states, [list(prompt[:upto])] * len(states))[:, -1]
        chances: list[float] = logits.float().softmax(-1)[:, self.vocabulary.no_speech].tolist()
        return chances

    def languages(self, encoded: Encoding) -> list[dict[str, float]]:
        """See :meth:`gputx_remote.decoders.decoder.Decoder.languages`."""
        known = self.vocabulary.languages
        if not known:
            return [{} for _ in range(len(encoded))]
        with _work():
            logits = self._logits(encoded.states, [[self.vocabulary.start_of_transcript]] * len(encoded))[:, -1]
        chances = logits[:, list(known.values())].float().softmax(-1).tolist()
        return [dict(zip(known, row, strict=True)) for row in chances]

    def align(
        self, encoded: Encoding, prompt: Sequence[int], texts: Sequence[Sequence[int]], lengths: Sequence[int]
    ) -> list[Sequence[float]]:
        """See :meth:`gputx_remote.decoders.decoder.Decoder.align`."""
        return [
            self._align(encoded.states[row : row + 1], prompt, text, length) if text else (0.0,)
            for row, (text, length) in enumerate(zip(texts, lengths, strict=True))
        ]

    def _align(self, states: torch.Tensor, prompt: Sequence[int], text: Sequence[int], length: int) -> Sequence[float]:
        model = self._checkpoint.model
        opening = [*prompt] if prompt[-1] == self.vocabulary.no_timestamps else [*prompt, self.vocabulary.no_timestamps]
        tokens = torch.tensor([[*opening, *text]], device=model.device)
        with _work(), _eager(model):
            attentions = model.model.decoder(
                input_ids=tokens, encoder_hidden_states=states, output_attentions=True, use_cache=False
            ).cross_attentions
        frames = max(1, min(states.shape[1], -(-length // SAMPLES_A_FRAME)))
        heads = getattr(model.generation_config, "alignment_heads", None) or [
            (layer, head)
            for layer in range(len(attentions) // 2, len(attentions))
            for head in range(attentions[0].shape[1])
        ]
        weights = torch.stack([attentions[layer][0, head, len(opening) - 1 :, :frames] for layer, head in heads])
        return alignment.token_starts(weights.float().cpu().numpy())

    def _logits(self, states: torch.Tensor, tokens: list[list[int]]) -> torch.Tensor:
        model = self._checkpoint.model
        hidden = model.model.decoder(
            input_ids=torch.tensor(tokens, device=model.device), encoder_hidden_states=states, use_cache=False
        ).last_hidden_state
        logits: torch.Tensor = model.proj_out(hidden)
        return logits

    def batch_size(self) -> int:
        """See :meth:`gputx_remote.decoders.decoder.Decoder.batch_size`."""
        model = self._checkpoint.model
        return windows_that_fit(
            self.device,
            width=model.config.d_model,
            layers=model.config.decoder_layers,
            columns=model.config.max_target_positions,
            bytes_each=model.dtype.itemsize,
        )


class _Ledger(LogitsProcessor):  # type: ignore[misc] # transformers is untyped
    """Notes the log probability of every token that was chosen, from the scores it was chosen by."""

    def __init__(self, end_of_text: int, begin: int) -> None:
        self._end = end_of_text
        self._begin = begin
        self._before: torch.Tensor | None = None
        self._columns: list[torch.Tensor] = []

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        self._note(input_ids)
        self._before = scores.float().log_softmax(-1)
        return scores

    def _note(self, tokens: torch.Tensor) -> None:
        if self._before is not None and tokens.shape[1] > self._begin + len(self._columns):
            chosen = tokens[:, self._begin + len(self._columns)]
            self._columns.append(self._before.gather(1, chosen[:, None])[:, 0])

    def close(self, sequences: torch.Tensor) -> list[list[float]]:
        """One row for each window; what stands behind its end of text means nothing."""
        self._note(sequences)
        return [[] for _ in sequences] if not self._columns else torch.stack(self._columns, 1).tolist()


class _Draw(LogitsProcessor):  # type: ignore[misc] # transformers is untyped
    """Makes the likeliest token a drawn one (the Gumbel trick), from a generator of each window's own."""

    def __init__(self, temperature: float, seeds: Sequence[int]) -> None:
        self._temperature = temperature
        self._generators = [torch.Generator().manual_seed(seed) for seed in seeds]

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        del input_ids
        uniform = torch.stack([torch.rand(scores.shape[1], generator=one) for one in self._generators])
        noise = -torch.log(-torch.log(uniform.clamp(1e-20, 1 - 1e-7)))
        return scores.float() / self._temperature + noise.to(scores.device)


def _plain(config: Any, tokens: int) -> Any:
    """The checkpoint's generation settings as a greedy search: our own processors stand for what it would add."""
    plain = type(config)(
        decoder_start_token_id=config.decoder_start_token_id,
        eos_token_id=config.eos_token_id,
        pad_token_id=config.eos_token_id,
        bos_token_id=config.bos_token_id,
        num_beams=1,
        do_sample=False,
        use_cache=True,
        max_new_tokens=tokens,
    )
    plain.return_dict_in_generate = False
    return plain


@contextmanager
def _work() -> Iterator[None]:
    try:
        with torch.inference_mode():
            yield
    except torch.OutOfMemoryError:
        torch.cuda.empty_cache()
        # Not chained: the traceback would keep the failed tensors alive.
        raise OutOfMemoryError from None
    except (RuntimeError, ValueError, IndexError) as error:
        # torch has no class of its own for a CPU's.
        if "not enough memory" in str(error) or "can't allocate memory" in str(error):
            raise OutOfMemoryError from None
        raise EngineError(f"transformers could not decode this audio: {one_line(error)}") from error


@contextmanager
def _eager(model: Any) -> Iterator[None]:
    """Attention written out, because SDPA does not tell its weights."""
    before = model.config._attn_implementation
    model.set_attn_implementation("eager")
    try:
        yield
    finally:
        model.set_attn_implementation(before)


def load(
    location: ModelLocation, *, device: str, compute_type: str, note: Callable[[str], None]
) -> TransformersDecoder:
    """Load a model from local files.

    Raises:
        ModelUnavailableError: the files are no Whisper model that transformers can load.
    """
    checkpoint = load_checkpoint(location, device=device, dtype=compute_type, note=note)
    vocabulary = Vocabulary.load(location.path)
    return TransformersDecoder(checkpoint, vocabulary, TokenRules.load(location.path, vocabulary))
