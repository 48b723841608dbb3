"""A seeded slice of the siege for every day; `make server-check` is the whole of it."""

from __future__ import annotations

from pathlib import Path

from .siege import besiege

SEED = 7
ACTS = 36
ENEMIES = 4
MOST_GROWTH = 200 << 20


def test_a_short_siege(tmp_path: Path) -> None:
    siege = besiege(tmp_path, seed=SEED, enemies=ENEMIES, total=ACTS)
    assert len(siege.outcomes) == ACTS + 1
    assert siege.faults == []
    assert siege.outcomes[-1].status == 200, "an honest request when all is over"
    assert siege.watch.left == []
    assert siege.growth <= MOST_GROWTH
    assert siege.watch.health
    assert siege.watch.unhealthy == 0
    assert siege.watch.files_after <= siege.watch.files_before + 8
    assert siege.status == 0
