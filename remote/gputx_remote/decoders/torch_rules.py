"""Whisper's rules of which token may come next, as tensors, a whole batch at once and without asking the device.

What they say is :class:`gputx_remote.rules.TokenRules`, which is also what the tests hold them against.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from gputx_remote.rules import TokenRules

NEVER = float("-inf")


class DeviceRules:
    """The rules and what each slot of a batch has written, as far as they ask. Fixed in size and address."""

    def __init__(self, rules: TokenRules, slots: int, device: str) -> None:
        self._rules = rules
        self._steps = rules.size - rules.timestamp_begin
        self._always = _bias(rules.size, rules.suppress).to(device)
        self._at_first = _bias(rules.size, (*rules.suppress, *rules.begin_suppress)).to(device)
        self._step = torch.arange(self._steps, device=device)
        self._timed = torch.zeros(slots, dtype=torch.bool, device=device)
        self._last_is_time = torch.zeros(slots, dtype=torch.bool, device=device)
        self._before_is_time = torch.zeros(slots, dtype=torch.bool, device=device)
        self._latest = torch.zeros(slots, dtype=torch.int64, device=device)

    @property
    def state(self) -> tuple[torch.Tensor, ...]:
        """Tensors with a row for each slot."""
        return self._timed, self._last_is_time, self._before_is_time, self._latest

    def begin(self, prompts: Sequence[Sequence[int]]) -> None:
        """Start over, for a batch with these prompts in the first slots."""
        timed = [self._rules.for_prompt(prompt).timestamps for prompt in prompts]
        self._timed[: len(timed)] = torch.tensor(timed, device=self._timed.device)
        # As if two times had been written: the first real one then begins a pair, with nothing before it to close.
        self._last_is_time.fill_(True)
        self._before_is_time.fill_(True)
        self._latest.fill_(-1)

    def mask(self, logits: torch.Tensor, *, first: bool) -> None:
        """Put -inf in place of every token that may not come next.

        Args:
            logits: float32 of shape (rows, vocabulary), of the first slots; changed.
            first: whether nothing has been written yet.
        """
        rules, rows, begin = self._rules, len(logits), self._rules.timestamp_begin
        timed = self._timed[:rows, None]
        logits += self._at_first if first else self._always
        logits[:, rules.no_timestamps].masked_fill_(timed[:, 0], NEVER)
        text, times = logits[:, :begin], logits[:, begin:]
        if first:
            text.masked_fill_(timed, NEVER)
            if rules.max_initial_timestamp_index is not None:
                times[:, rules.max_initial_timestamp_index + 1 :].masked_fill_(timed, NEVER)
            return
        last, before, latest = (state[:rows, None] for state in self.state[1:])
        # Behind the time that ends a text comes the one that begins the next, which may be the same; or the end.
        text[:, : rules.end_of_text].masked_fill_(timed & last & ~before, NEVER)
        earliest = torch.where(last, torch.where(before, self._steps, latest), latest + 1)
        times.masked_fill_(timed & (self._step < earliest), NEVER)
        # A time is due where all of them together are likelier than the likeliest other token.
        due = torch.logsumexp(times, 1, keepdim=True) > text.amax(1, keepdim=True)
        text.masked_fill_(timed & due, NEVER)

    def update(self, tokens: torch.Tensor) -> None:
        """Note what was written: int64 of shape (rows,), of the first slots."""
        rows, step = len(tokens), tokens - self._rules.timestamp_begin
        is_time = step >= 0
        self._before_is_time[:rows].copy_(self._last_is_time[:rows])
        self._last_is_time[:rows].copy_(is_time)
        latest = self._latest[:rows]
        latest.copy_(torch.where(is_time, step, latest))


def _bias(size: int, tokens: Sequence[int]) -> torch.Tensor:
    bias = torch.zeros(size)
    bias[list(tokens)] = NEVER
    return bias
