"""An emulated account for each test, emptied in between."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from gputx import sandbox

from .lab import LAG, PENDING, SHUTTING_DOWN, Lab


@pytest.fixture(scope="session")
def _session_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with sandbox.ephemeral(pending_seconds=PENDING, shutting_down_seconds=SHUTTING_DOWN, lag_seconds=LAG) as account:
        lab = Lab(account, tmp_path_factory.mktemp("lab"))
        lab.image = lab.ec2.describe_images(Owners=["self"])["Images"][0]["ImageId"]
        yield lab


@pytest.fixture
def lab(_session_lab: Lab) -> Iterator[Lab]:
    yield _session_lab
    _session_lab.empty()
