"""Writing the text of a batch, token by token: the likeliest ones, or drawn ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch

from gputx_remote.decoders.decoder import Decoded, Request
from gputx_remote.decoders.torch_batch import Batch
from gputx_remote.decoders.torch_text_decoder import TextDecoder
from gputx_remote.vocabulary import Vocabulary

Step = Callable[[], torch.Tensor]


class Stepping(Protocol):
    """How the passes after the first are run, and so in which sizes."""

    every: int
    """Passes from one look at who is done to the next: looking makes the host wait for the device."""

    def rows(self, live: int) -> int:
        """The slots to compute for so many windows."""
        ...

    def length(self, used: int) -> tuple[int, bool]:
        """Columns of the cache to attend to where so many are in use, and whether that may be more than those."""
        ...

    def run(self, key: tuple[int, int], step: Step) -> torch.Tensor:
        """Do the step of (rows, length), the same work on the same addresses each time, and give what it gives."""
        ...


class EagerStepping:
    """Each pass as it comes, in exactly the size it needs: a CPU's way, and the plain path beside captured graphs."""

    every = 1

    def rows(self, live: int) -> int:
        return live

    def length(self, used: int) -> tuple[int, bool]:
        return used, False

    def run(self, key: tuple[int, int], step: Step) -> torch.Tensor:  # noqa: ARG002 - nothing is kept
        return step()


@dataclass
class _Slot:
    """A slot of the batch in use."""

    window: int
    temperature: float
    generator: torch.Generator | None


class Search:
    """Writes the windows whose audio is in a batch."""

    def __init__(self, decoder: TextDecoder, batch: Batch, vocabulary: Vocabulary, stepping: Stepping) -> None:
        self._decoder = decoder
        self._batch = batch
        self._vocabulary = vocabulary
        self._stepping = stepping

    def __call__(self, requests: Sequence[Request]) -> list[Decoded]:
        """Decode what the first slots listen to; one request each."""
        batch = self._batch
        prompts, place = batch.begin(requests)
        x = self._decoder(prompts, place, batch.cache)
        silent = self._no_speech(x, requests)
        logits = self._choose(x[:, -1], first=True)
        slots = {slot: self._slot(slot, request) for slot, request in enumerate(requests)}
        rows, used = self._stepping.rows(len(requests)), batch.width
        results: dict[int, Decoded] = {}
        while True:
            self._draw(logits, slots)
            batch.settle(rows)
            used += 1
            if (used - batch.width) % self._stepping.every == 0 or used > batch.last:
                for slot in self._finished(slots, rows):
                    window = slots.pop(slot).window
                    results[window] = Decoded(*batch.written(slot, used), silent[window])
                if not slots:
                    return [results[window] for window in range(len(requests))]
                rows = self._shrunk(slots, rows, used)
            logits = self._step(rows, used)

    def _slot(self, window: int, request: Request) -> _Slot:
        if request.temperature <= 0:
            return _Slot(window, 0.0, None)
        generator = torch.Generator(self._batch.tokens.device)
        generator.manual_seed(request.seed % 2**63)
        return _Slot(window, request.temperature, generator)

    def _no_speech(self, x: torch.Tensor, requests: Sequence[Request]) -> list[float]:
        """The chance of <|nospeech|> behind <|startoftranscript|>, from the output over the prompts."""
        vocabulary = self._vocabulary
        if vocabulary.no_speech is None:
            return [0.0] * len(requests)
        columns = []
        for request in requests:
            last = len(request.prompt) - 1
            begins = request.prompt.index(vocabulary.start_of_transcript)
            columns.append(x.shape[1] - 1 - (last - begins))
        logits = self._decoder.logits(x[torch.arange(len(x)), columns])
        chances: list[float] = (logits[:, vocabulary.no_speech] - torch.logsumexp(logits, 1)).exp().tolist()
        return chances

    def _choose(self, x: torch.Tensor, *, first: bool) -> torch.Tensor:
        """The likeliest token for each row of the last layer's output; gives the logits after the rules."""
        batch, logits = self._batch, self._decoder.logits(x)
        batch.rules.mask(logits, first=first)
        best, tokens = logits.max(1)
        batch.chosen[: len(x)].copy_(tokens)
        batch.logprobs[: len(x)].copy_(best - torch.logsumexp(logits, 1))
        return logits

    def _draw(self, logits: torch.Tensor, slots: dict[int, _Slot]) -> None:
        """Replace the choice where tokens are drawn.

        The largest of logits plus Gumbel noise is a draw from their softmax (Gumbel 1954), and noise from a generator
        of its own makes a window's text independent of the rest of the batch.
        """
        for number, slot in slots.items():
            if slot.generator is None:
                continue
            noise = torch.empty_like(logits[number]).exponential_(generator=slot.generator).log_().neg_()
            token = (logits[number] / slot.temperature + noise).argmax()
            self._batch.chosen[number] = token
            self._batch.logprobs[number] = logits[number, token] - torch.logsumexp(logits[number], 0)

    def _step(self, rows: int, used: int) -> torch.Tensor:
        length, whole = self._stepping.length(used)

        def step() -> torch.Tensor:
            place = self._batch.place(rows, length, whole=whole)
            x = self._decoder(self._batch.tokens[:rows, None], place, self._batch.cache)
            return self._choose(x[:, -1], first=False)

        logits = self._stepping.run((rows, length), step)
        self._batch.advance()
        return logits

    def _finished(self, slots: dict[int, _Slot], rows: int) -> list[int]:
        done = self._batch.done[:rows].tolist()
        return [slot for slot in slots if done[slot]]

    def _shrunk(self, slots: dict[int, _Slot], rows: int, used: int) -> int:
        """Bring the windows left into the first slots, if fewer will do, and say how many will."""
        needed = self._stepping.rows(len(slots))
        if needed >= rows:
            return rows
        free = [slot for slot in range(needed) if slot not in slots]
        for slot in [slot for slot in slots if slot >= needed]:
            target = free.pop()
            self._batch.move(slot, target, used)
            slots[target] = slots.pop(slot)
        return needed
