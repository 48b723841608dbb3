"""Several windows on a CPU: each core takes some of them, where one window alone is shared by all cores.

Cores that work on one window wait for each other at every layer: for 16 windows of the tiny model, one after the other,
two cores took a third more processor time than side by side (docs/server.md). So what comes alone, and should be done
soon, goes to a model that uses all cores for it; what comes in numbers goes to one that gives every core its own.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from gputx_remote.decoders import ctranslate2_decoder
from gputx_remote.decoders.ctranslate2_decoder import CTranslate2Decoder
from gputx_remote.server.rows import SPREADS

if TYPE_CHECKING:
    from gputx_remote.decoders.decoder import Decoded, Request, Samples
    from gputx_remote.vocabulary import Vocabulary
    from gputx_remote.weights import ModelLocation

MOST = 16
"""Cores that get windows of their own: as many as there are in a turn on a CPU."""


class SideBySide:
    """See :class:`gputx_remote.decoders.decoder.Decoder`: the same model twice, whose encodings are the same thing."""

    name = SPREADS

    def __init__(self, alone: CTranslate2Decoder, many: CTranslate2Decoder, cores: int) -> None:
        """
        Args:
            alone: uses all cores for a call.
            many: may be called from ``cores`` threads at once, and uses one core for each call.
            cores: how many.
        """
        self._alone = alone
        self._many = many
        self._cores = cores
        self._pool = ThreadPoolExecutor(cores, thread_name_prefix="core")

    @property
    def vocabulary(self) -> Vocabulary:
        return self._alone.vocabulary

    @property
    def device(self) -> str:
        return self._alone.device

    @property
    def compute_type(self) -> str:
        return self._alone.compute_type

    def encode(self, windows: Sequence[Samples]) -> Any:
        """See :meth:`Decoder.encode`."""
        if len(windows) < 2:
            return self._alone.encode(windows)
        return self.join(list(self._pool.map(lambda window: self._many.encode([window]), windows)))

    def select(self, encoded: Any, rows: Sequence[int]) -> Any:
        """See :meth:`Decoder.select`."""
        return self._alone.select(encoded, rows)

    def join(self, encodings: Sequence[Any]) -> Any:
        """See :meth:`Decoder.join`."""
        return self._alone.join(encodings)

    def decode(self, encoded: Any, requests: Sequence[Request]) -> list[Decoded]:
        """See :meth:`Decoder.decode`."""
        # CTranslate2 has one seed for all threads: what is drawn is drawn alone.
        if len(requests) < 2 or any(request.temperature > 0 for request in requests):
            return self._alone.decode(encoded, requests)

        def part(rows: range) -> list[Decoded]:
            return self._many.decode(self._many.select(encoded, rows), [requests[row] for row in rows])

        return self._spread(len(requests), part)

    def languages(self, encoded: Any) -> list[dict[str, float]]:
        """See :meth:`Decoder.languages`."""
        return self._alone.languages(encoded)

    def align(
        self, encoded: Any, prompt: Sequence[int], texts: Sequence[Sequence[int]], lengths: Sequence[int]
    ) -> list[Sequence[float]]:
        """See :meth:`Decoder.align`."""
        if len(texts) < 2:
            return self._alone.align(encoded, prompt, texts, lengths)

        def part(rows: range) -> list[Sequence[float]]:
            own = self._many.select(encoded, rows)
            return self._many.align(own, prompt, texts[rows.start : rows.stop], lengths[rows.start : rows.stop])

        return self._spread(len(texts), part)

    def batch_size(self) -> int:
        """See :meth:`Decoder.batch_size`."""
        return self._alone.batch_size()

    def _spread(self, count: int, part: Callable[[range], list[Any]]) -> list[Any]:
        """All rows, each core some that follow each other."""
        share = -(-count // min(self._cores, count))
        parts = [range(start, min(start + share, count)) for start in range(0, count, share)]
        return [answer for answers in self._pool.map(part, parts) for answer in answers]


def cores() -> int:
    """Cores to give windows of their own to: those this process may use, unless OpenMP was told of fewer."""
    told = os.environ.get("OMP_NUM_THREADS", "")
    here = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    return min(MOST, int(told) if told.isdecimal() and int(told) else here)


def beside(alone: CTranslate2Decoder, location: ModelLocation, note: Callable[[str], None]) -> SideBySide:
    """A loaded decoder and a second one beside it.

    Args:
        alone: on a CPU.
        location: of its model.
        note: told in one line when something is made or a fallback taken.

    Raises:
        ModelUnavailableError: it can't be loaded again.
    """
    count = cores()
    many = ctranslate2_decoder.load(location, device="cpu", compute_type=alone.compute_type, note=note, at_once=count)
    return SideBySide(alone, many, count)
