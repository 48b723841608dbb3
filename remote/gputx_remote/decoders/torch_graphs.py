"""CUDA graphs: a step of the text decoder is some 250 small kernels, and launching them one by one from Python takes a
GPU longer than running them. A graph launches them all at once.

A graph repeats the same kernels on the same addresses, so a step comes in a few sizes only: of the batch, and of the
part of the cache it attends to, the columns not written yet being masked.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from gputx_remote.decoders.torch_search import Step

SIZES = (1, 2, 4, 8, 12, 16, 24, 32, 48, 64)
LENGTHS = (64, 128, 256, 448)

Captured = tuple[Callable[[], None], torch.Tensor]
"""What runs a step again, and where its result then is."""


class GraphStepping:
    """Steps in a few fixed sizes, each captured when it is first needed. For one batch: a larger one needs another."""

    every = 8

    def __init__(self, slots: int, columns: int, capture: Callable[[Step], Captured]) -> None:
        """
        Args:
            slots: of the batch.
            columns: of its cache.
            capture: makes a step repeatable; :func:`cuda_capture`.
        """
        self._sizes = (*(size for size in SIZES if size < slots), slots)
        self._lengths = (*(length for length in LENGTHS if length < columns), columns)
        self._capture = capture
        self._graphs: dict[tuple[int, int], Captured] = {}

    def rows(self, live: int) -> int:
        return next(size for size in self._sizes if size >= live)

    def length(self, used: int) -> tuple[int, bool]:
        return next(length for length in self._lengths if length >= used), True

    def run(self, key: tuple[int, int], step: Step) -> torch.Tensor:
        if key not in self._graphs:
            self._graphs[key] = self._capture(step)
        replay, result = self._graphs[key]
        replay()
        return result


def cuda_capture() -> Callable[[Step], Captured]:
    """A capture whose graphs share their memory: they never run at the same time."""
    pool = torch.cuda.graph_pool_handle()

    def capture(step: Step) -> Captured:
        # Once beforehand on another stream, as torch's notes on CUDA graphs ask: libraries allocate their workspaces
        # then. A step can be repeated without harm, because it does not change what it reads.
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            step()
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=pool):
            result = step()
        return graph.replay, result

    return capture
