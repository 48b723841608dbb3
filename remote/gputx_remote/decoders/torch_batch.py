"""The state of a batch that is being written, one slot to a window, at fixed addresses."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from gputx_remote.decoders.decoder import Request
from gputx_remote.decoders.torch_checkpoint import Dimensions
from gputx_remote.decoders.torch_linear import Arithmetic
from gputx_remote.decoders.torch_rules import NEVER, DeviceRules
from gputx_remote.decoders.torch_text_decoder import Cache, Place, columns_of
from gputx_remote.rules import TokenRules


class Batch:
    """Prompts stand right-aligned before column ``width``; behind them all windows write the same column at once."""

    def __init__(self, slots: int, sizes: Dimensions, rules: TokenRules, arithmetic: Arithmetic) -> None:
        def room(*shape: int, dtype: torch.dtype = torch.int64) -> torch.Tensor:
            return torch.zeros(*shape, dtype=dtype, device=arithmetic.device)

        self.slots = slots
        self.width = 0
        self.last = 0
        """The last column that any window may write."""
        self.cache = Cache(slots, sizes, arithmetic)
        self.rules = DeviceRules(rules, slots, arithmetic.device)
        self.chosen = room(slots)
        """What each window writes next, not taken down yet."""
        self.logprobs = room(slots, dtype=torch.float32)
        """Of ``chosen``."""
        self.tokens = room(slots)
        """What each window wrote last."""
        self.done = room(slots, dtype=torch.bool)
        self._column = room(1)
        self._columns = torch.arange(columns_of(sizes), device=arithmetic.device)
        self._end = rules.end_of_text
        self._context = sizes.context
        self._padding = room(slots)
        self._limit = room(slots)
        self._padded = False
        self._mask = room(slots, 1, 1, len(self._columns), dtype=arithmetic.attention)
        self._history = room(slots, len(self._columns))
        self._chances = room(slots, len(self._columns), dtype=torch.float32)

    def begin(self, requests: Sequence[Request]) -> tuple[torch.Tensor, Place]:
        """Start over with a window in each of the first slots.

        Returns:
            The prompts, int64 of shape (windows, width), and where they stand.
        """
        device, count = self._column.device, len(requests)
        prompts = [request.prompt for request in requests]
        self.width = max(map(len, prompts))
        padding = [self.width - len(prompt) for prompt in prompts]
        # What a window may write depends on its own prompt only, not on the longest in the batch.
        limits = [
            min(self.width + request.max_tokens, pad + self._context, len(self._columns)) - 1
            for pad, request in zip(padding, requests, strict=True)
        ]
        self.last, self._padded = max(limits), any(padding)
        self._padding[:count] = torch.tensor(padding, device=device)
        self._limit[:count] = torch.tensor(limits, device=device)
        self.done.fill_(True)[:count] = False
        self.tokens.fill_(self._end)
        self._column.fill_(self.width)
        self.rules.begin(prompts)
        before = self._columns < self._padding[:, None]
        # Columns not written yet are hidden too, for passes that attend to more than is in use.
        self._mask.zero_()[:, 0, 0].masked_fill_(before | (self._columns >= self.width), NEVER)
        own = self._columns[: self.width]
        positions = (own - self._padding[:count, None]).clamp_(min=0)
        place = Place(own, positions, self.width, self._prompt_mask(before[:count, : self.width]))
        rows = [[self._end] * pad + list(prompt) for pad, prompt in zip(padding, prompts, strict=True)]
        return torch.tensor(rows, device=device), place

    def _prompt_mask(self, before: torch.Tensor) -> torch.Tensor:
        """Nothing is heard of what comes later, nor of the padding; but padding hears itself, or its softmax would
        give no numbers."""
        own = self._columns[: self.width]
        hidden = (own > own[:, None]) | (before[:, None, :] & (own != own[:, None]))
        mask = torch.zeros(hidden.shape, dtype=self._mask.dtype, device=hidden.device)
        return mask.masked_fill_(hidden, NEVER)[:, None]

    def place(self, rows: int, length: int, *, whole: bool) -> Place:
        """Where ``tokens`` of the first rows stand.

        Args:
            rows: slots in use.
            length: columns to attend to.
            whole: whether that goes beyond what is written, so that the rest must be masked.
        """
        masked = whole or self._padded
        if masked:
            self._mask.index_fill_(3, self._column, 0)
        mask = self._mask[:rows, :, :, :length] if masked else None
        positions = (self._column - self._padding[:rows])[:, None].clamp(max=self._context - 1)
        return Place(self._column, positions, length, mask)

    def settle(self, rows: int) -> None:
        """Take down what the first rows have chosen, and see who is done."""
        tokens, done = self.tokens[:rows], self.done[:rows]
        tokens.copy_(self.chosen[:rows]).masked_fill_(done, self._end)
        self._history[:rows].index_copy_(1, self._column, tokens[:, None])
        self._chances[:rows].index_copy_(1, self._column, self.logprobs[:rows, None])
        self.rules.update(tokens)
        done |= (tokens == self._end) | (self._column >= self._limit[:rows])

    def advance(self) -> None:
        """On to the next column."""
        self._column += 1

    def written(self, slot: int, used: int) -> tuple[tuple[int, ...], tuple[float, ...]]:
        """Tokens and log probabilities of a window that is done: up to the end of text, its chance included.

        Args:
            slot: of the window.
            used: columns that have been settled.
        """
        stop = min(used, int(self._limit[slot]) + 1)
        tokens: list[int] = self._history[slot, self.width : stop].tolist()
        chances: list[float] = self._chances[slot, self.width : stop].tolist()
        length = tokens.index(self._end) if self._end in tokens else len(tokens)
        return tuple(tokens[:length]), tuple(chances[: length + 1])

    def move(self, source: int, target: int, used: int) -> None:
        """Put a window into another slot; ``used`` columns of it are in use."""
        self.cache.move(source, target, used)
        per_slot = (self.tokens, self.chosen, self.logprobs, self.done, self._padding, self._limit, self._mask)
        for tensor in (*per_slot, self._history, self._chances, *self.rules.state):
            tensor[target].copy_(tensor[source])
