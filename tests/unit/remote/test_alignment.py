"""The monotonic aligner, against a slow one that fills the table cell by cell."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gputx_remote import alignment


def slow_cost(cost: np.ndarray) -> float:
    rows, frames = cost.shape
    total = np.full((rows + 1, frames + 1), np.inf)
    total[0, 0] = 0
    for i in range(1, rows + 1):
        for j in range(1, frames + 1):
            total[i, j] = cost[i - 1, j - 1] + min(total[i - 1, j - 1], total[i - 1, j], total[i, j - 1])
    return float(total[-1, -1])


@given(st.integers(1, 9), st.integers(1, 25), st.integers(0, 2**32 - 1))
@settings(max_examples=120, derandomize=True, deadline=None)
def test_the_path_is_whole_monotonic_and_cheapest(rows: int, frames: int, seed: int) -> None:
    cost = np.random.default_rng(seed).normal(size=(rows, frames))
    path = alignment._path(cost)
    assert path[0].tolist() == [0, 0]
    assert path[-1].tolist() == [rows - 1, frames - 1]
    assert {tuple(step) for step in np.diff(path, axis=0).tolist()} <= {(1, 1), (1, 0), (0, 1)}
    assert sum(cost[i, j] for i, j in path) == pytest.approx(slow_cost(cost))


def test_tokens_begin_where_the_heads_look() -> None:
    attention = np.full((3, 4, 100), 0.001, np.float32)
    for row, (first, last) in enumerate([(0, 20), (20, 55), (55, 80), (80, 100)]):
        attention[:, row, first:last] = 0.05
    assert alignment.token_starts(attention) == pytest.approx([0.0, 0.40, 1.10, 1.60], abs=0.03)


@pytest.mark.parametrize("shape", [(2, 1, 10), (2, 3, 1), (1, 2, 2), (2, 5, 3)])
def test_hardly_any_audio_or_text_is_no_error(shape: tuple[int, int, int]) -> None:
    found = alignment.token_starts(np.random.default_rng(1).random(shape, np.float32))
    assert len(found) == shape[1]
    assert found == sorted(found)
    assert all(0 <= value <= shape[2] * 0.02 for value in found)
