"""The tiny model, loaded once, and a server over it for each module that asks."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from surface import MODEL, Surface, serving

from gputx_remote.server.engine import SharedEngine
from gputx_remote.worker import ModelOptions


@pytest.fixture(scope="session")
def engine() -> Iterator[SharedEngine]:
    engine = SharedEngine.load(ModelOptions(str(MODEL), "tiny", device="cpu"), lambda _: None)
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def surface(engine: SharedEngine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Surface]:
    with serving(engine, tmp_path_factory.mktemp("state")) as surface:
        yield surface
