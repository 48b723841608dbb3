"""What a server was asked for with comes back as it was stored, and a running one changes only where that is said."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from gputx.models import Market
from gputx.workflows.api.request import UpRequest, over, restored, stored
from gputx.workflows.hosts.survey import LaunchOptions
from gputx.workflows.model import Engine, ModelChoice
from gputx_remote.engine.choice import Choice

OPTIONS = LaunchOptions(
    instance_types=("g4dn.xlarge", "g5.xlarge"),
    zones=(),
    markets=(Market.SPOT, Market.ON_DEMAND),
    ttl=7200.0,
    max_cost=1.5,
    grace=600.0,
    boot_timeout=300.0,
    subnet=None,
    cidrs=("203.0.113.0/24",),
    volume_rate=None,
)
ENGINE = Engine(Choice("vad", "torch", "int8"), 4)
ASKED = UpRequest(
    options=OPTIONS,
    image="ami-1",
    model=ModelChoice("mine", "gputx/models/mine", None, upload=Path("models/mine"), engine=ENGINE),
    engine=ENGINE,
    idle_timeout=3600.0,
    public=True,
    port=8000,
    cidrs=("198.51.100.0/24",),
    spent=0.25,
)


@pytest.mark.parametrize("asked", [ASKED, replace(ASKED, model=None, engine=Engine(), image=None)])
def test_it_comes_back_as_it_was(asked: UpRequest) -> None:
    secret = replace(asked, token="a-token-of-somebody", chosen=frozenset({"model"}))
    text = json.dumps(stored(secret))
    assert "a-token" not in text
    assert restored(json.loads(text)) == asked


@pytest.mark.parametrize("written", [{}, {"options": {}}, stored(ASKED) | {"unknown": 1}])
def test_another_gputx_s_is_known_for_that(written: dict[str, object]) -> None:
    with pytest.raises((KeyError, TypeError, ValueError)):
        restored(written)


def test_a_server_that_runs_keeps_what_nobody_chose_anew() -> None:
    plain = UpRequest(
        options=replace(OPTIONS, ttl=43200.0, max_cost=None),
        image=None,
        model=None,
        engine=Engine(),
        idle_timeout=1800.0,
        public=False,
        port=8000,
    )
    assert over(plain, ASKED) == ASKED
    assert over(replace(plain, chosen=frozenset({"idle_timeout"})), ASKED) == replace(ASKED, idle_timeout=1800.0)
    another = replace(plain, model=ModelChoice("other", "org/other", "1"), chosen=frozenset({"model"}))
    changed = over(another, ASKED).model
    assert changed is not None
    assert (changed.name, changed.engine) == ("other", ENGINE)
    engine = Engine(Choice("vad", "ctranslate2"))
    chosen = over(replace(plain, engine=engine, chosen=frozenset({"engine"})), ASKED)
    assert chosen.model is not None
    assert chosen.engine == chosen.model.engine == engine
