"""Which of the servers that are written down here ``gputx api up`` takes for its own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from clocks import ManualClock
from test_api_requests import ASKED
from test_keeping import NOW, SERVER, TAKEN

from gputx.aws.identity import Identity
from gputx.clock import Stop
from gputx.errors import GputxError
from gputx.events import EventStream
from gputx.lease.journal import Journal, State
from gputx.models import Instance, Kind, Market
from gputx.workflows.api import up as module
from gputx.workflows.api.others import Other
from gputx.workflows.api.report import ApiReport
from gputx.workflows.api.servers import Server, Servers
from gputx.workflows.api.up import Up
from gputx.workflows.story import Story

RUNS = Instance("i-1", "running", "g4dn.xlarge", "eu-north-1a", Market.SPOT, NOW - 3600)
GONE = replace(RUNS, state="terminated", reason="Client.InstanceInitiatedShutdown")
WAS_TAKEN = replace(GONE, reason=TAKEN)


class Stage:
    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.clock = ManualClock(NOW)
        self.journal = Journal(directory, self.clock)
        self.servers = Servers(self.journal)
        self.servers.add(SERVER)
        self.seen: Instance | None = RUNS
        self.cleared: list[str] = []
        self.others: list[Other] = []
        who = Identity(SERVER.account, "arn:aws:iam::123456789012:user/anna")
        monkeypatch.setattr(module.identity, "whoami", lambda _session: who)
        monkeypatch.setattr(module.instances, "describe", lambda _session, _id: self.seen)
        monkeypatch.setattr(module, "clear_away", lambda _place, server, _story: self.cleared.append(server.run_id))
        monkeypatch.setattr(module, "elsewhere", lambda _place, _who: self.others)
        monkeypatch.setattr(Up, "_as_asked", lambda _self, server: server)

    def journalled(self, *, kept: bool) -> None:
        things = [("token-1", Kind.INSTANCE, None)]
        self.journal.intend(
            things, account=SERVER.account, region=SERVER.region, run_id="r1", deadline=SERVER.until, state=State.KNOWN
        )
        if kept:
            self.journal.keep("r1", SERVER.until)

    def up(self, **wishes: Any) -> Up:
        place: Any = SimpleNamespace(
            journal=self.journal,
            session=SimpleNamespace(clock=self.clock, region=SERVER.region, single_minded=lambda: None),
        )
        story = Story(EventStream([]), self.clock)
        return Up(replace(ASKED, **wishes), place, ApiReport("r2", "aws"), story, Stop())


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stage:
    return Stage(tmp_path, monkeypatch)


def found(up: Up) -> Server | None:
    return up._found()


def test_one_that_is_kept_and_runs_is_used(stage: Stage) -> None:
    stage.journalled(kept=True)
    assert found(stage.up()) == Servers(stage.journal).known()[0]
    assert not stage.cleared


def test_one_whose_command_died_before_it_was_kept_is_on_its_way_out(stage: Stage) -> None:
    """What settles beside this ends it: its address is not handed out."""
    stage.journalled(kept=False)
    assert found(stage.up()) is None
    assert stage.cleared == ["r1"]


def test_one_that_aws_took_leaves_its_token_to_the_next(stage: Stage) -> None:
    stage.journalled(kept=True)
    stage.seen = WAS_TAKEN
    up = stage.up()
    assert found(up) is None
    assert up._token == SERVER.token
    assert not stage.cleared, "it is forgotten only once there is another"


@pytest.mark.parametrize("seen", [GONE, None])
def test_one_that_ended_otherwise_leaves_nothing(stage: Stage, seen: Instance | None) -> None:
    stage.journalled(kept=True)
    stage.seen = seen
    up = stage.up()
    assert found(up) is None
    assert up._token is None
    assert stage.cleared == ["r1"]


def test_one_under_another_token_is_not_taken_in_place_of_a_lost_one(stage: Stage) -> None:
    stage.journalled(kept=True)
    assert found(stage.up(token="of-somebody-else", another=True)) is None
    assert not stage.cleared


def test_one_that_can_not_be_reached_from_here_is_not_doubled_unless_that_is_said(stage: Stage) -> None:
    stage.servers.forget("r1")
    stage.others = [Other("i-9 is a server of yours, brought up from another machine", "work from there")]
    with pytest.raises(GputxError, match="brought up from another machine in account"):
        found(stage.up())
    assert found(stage.up(another=True)) is None
