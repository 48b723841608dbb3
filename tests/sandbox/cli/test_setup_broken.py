"""``gputx setup`` broken off at every call that changes something, and resumed: it ends as if nothing had happened."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
from bare import EMAIL, PARTS, as_others_see_it, mutating, numbered, parts
from product import Cli

from gputx import sandbox
from gputx.clock import Stop
from gputx.errors import GputxError
from gputx.events import EventStream
from gputx.models import Market
from gputx.workflows.reap import Where
from gputx.workflows.setup import SetupRequest, setup
from gputx.workflows.setup_report import SetupReport, Verdict
from gputx.workflows.teardown import TeardownRequest, teardown

pytestmark = pytest.mark.slow

WHERE = Where("sandbox", "eu-north-1", None)
REQUEST = SetupRequest(
    dry_run=False,
    bucket=None,
    instance_role="transcription-ec2-role",
    instance_types=("g4dn.xlarge",),
    markets=tuple(Market),
    email=EMAIL,
)
SLICE = 1
AWAY = TeardownRequest(dry_run=False, bucket=None, instance_role="transcription-ec2-role", with_bucket=True)


@pytest.fixture(scope="module")
def account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sandbox.Account]:
    """A bare account, for all tests of this module: each leaves it bare."""
    account = sandbox.up(tmp_path_factory.mktemp("bare"), pending_seconds=0.3, linger=False, bare=True)
    yield account
    account.stop()


@pytest.fixture(autouse=True)
def in_this_process(account: sandbox.Account, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPUTX_SANDBOX_DIR", str(account.state_dir))


def made(*, dry_run: bool = False) -> SetupReport:
    return setup(replace(REQUEST, dry_run=dry_run), WHERE, EventStream(), Stop())


def unmade() -> SetupReport:
    return teardown(AWAY, WHERE, EventStream(), Stop())


@dataclass(frozen=True)
class Break:
    """The ``nth`` call of an action, from 0."""

    service: str
    action: str
    nth: int

    def rule(self, fault: str) -> str:
        return f"{self.service}:{self.action} {fault} skip={self.nth} times=1"


def breaks(calls: list[tuple[str, str]]) -> list[Break]:
    return [Break(*call, nth=calls[:index].count(call)) for index, call in enumerate(calls)]


Drawn = Callable[[list[Break]], list[Break]]


@pytest.fixture(params=["some", pytest.param("all", marks=pytest.mark.long)])
def drawn(request: pytest.FixtureRequest) -> Drawn:
    """Of all places to break, every one takes minutes: a few drawn from a seed, and the first and the last."""
    if request.param == "all":
        return lambda calls: calls
    return lambda calls: [calls[0], *random.Random(5).sample(calls[1:-1], SLICE), calls[-1]]


@contextlib.contextmanager
def broken(cli: Cli, at: Break, fault: str) -> Iterator[None]:
    cli.account.add_rule(at.rule(fault))
    try:
        yield
        assert [rule["hits"] for rule in cli.account.rules()] == [1], f"{at} was never called"
    finally:
        cli.account.clear_rules()


def whole(cli: Cli) -> tuple[dict[str, Any], list[Break], list[Break]]:
    """An account that was set up without a hitch, and every call that changed it: setup's, and teardown's."""
    before = numbered(cli)
    assert made().ending is None
    up, seen = breaks(mutating(cli, before)), as_others_see_it(cli)
    before = numbered(cli)
    assert unmade().ending is None
    down = breaks(mutating(cli, before))
    assert parts(cli) == {}
    return seen, up, down


def test_refused_at_every_call_and_resumed(cli: Cli, drawn: Drawn) -> None:
    """What was made before the break is found again; no second of anything, nothing missing."""
    seen, calls, _ = whole(cli)
    assert len(calls) >= 20
    for at in drawn(calls):
        with broken(cli, at, "error=AccessDenied"):
            ending = made().ending
        assert isinstance(ending, GputxError), at
        assert "goes on from here" in str(ending.hint), at
        assert made().ending is None
        assert as_others_see_it(cli) == seen, at
        before = numbered(cli)
        assert {row.verdict for row in made().rows} == {Verdict.THERE}, at
        assert mutating(cli, before) == [], at
        unmade()
        assert parts(cli) == {}, at


def test_an_answer_that_is_lost_at_any_call_is_no_second_thing(cli: Cli, drawn: Drawn) -> None:
    """It took effect; botocore asks again, and AWS says that it is there."""
    seen, calls, _ = whole(cli)
    for at in drawn(calls):
        with broken(cli, at, "drop=after"):
            report = made()
        if report.ending is not None:
            report = made()
        assert report.ending is None, at
        assert as_others_see_it(cli) == seen, at
        unmade()
        assert parts(cli) == {}, at


def test_teardown_broken_at_every_call_and_resumed(cli: Cli, drawn: Drawn) -> None:
    _, _, calls = whole(cli)
    assert len(calls) >= len(PARTS)
    for at in drawn(calls):
        made()
        with broken(cli, at, "error=AccessDenied"):
            assert unmade().ending is not None, at
        assert parts(cli) != {}, at
        assert unmade().ending is None, at
        assert parts(cli) == {}, at


def test_killed_at_a_call_and_resumed(cli: Cli) -> None:
    """The process itself is gone: where a thing has just come into being, and where its tag is all that says whose."""
    seen, _, _ = whole(cli)
    for action in ("CreateBucket", "CreateServiceLinkedRole"):
        process = None

        def strike(line: str, started: Any, action: str = action) -> None:
            nonlocal process
            if process is None:
                process = started
                cli.account.add_rule(f"{action} signal=KILL pid={started.pid} at=after times=1")

        ended = cli.watch("setup", "--yes", "--email", EMAIL, on=strike)
        assert ended.code == -9, action
        cli.account.clear_rules()
        assert parts(cli) != {}, action
        assert made().ending is None
        assert as_others_see_it(cli) == seen, action
        # What it made before it was killed is known to be ours.
        assert unmade().ending is None
        assert parts(cli) == {}, action
