"""What is brought up again in place of a server that is gone, and what is not: EC2 says how it ended."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from clocks import ManualClock
from test_api_requests import ASKED

from gputx.clock import Stop
from gputx.errors import CapacityError, GputxError, InterruptedBySignal
from gputx.events import EventStream
from gputx.lease.journal import Journal
from gputx.models import Instance, Market
from gputx.workflows.api import tunnel
from gputx.workflows.api.request import UpRequest, stored
from gputx.workflows.api.servers import Server, Servers
from gputx.workflows.api.tunnel import Keeping, ServerEndedError
from gputx.workflows.story import Story

NOW = 1_800_000_000.0
TAKEN = "Server.SpotInstanceTermination"
LOST = GputxError("the session was lost")

SERVER = Server(
    run_id="r1",
    account="123456789012",
    region="eu-north-1",
    instance_id="i-1",
    address="192.0.2.1",
    ssh_port=22,
    ssh_user="ubuntu",
    port=8000,
    token="the-token-of-the-first",
    model="tiny",
    image_model="tiny",
    image_revision="1",
    market="spot",
    instance_type="g4dn.xlarge",
    zone="eu-north-1a",
    hourly=0.2,
    started=NOW - 3600,
    until=NOW + 3600,
    idle_timeout=1800.0,
    public=False,
    certificate=None,
    version="v",
    user_private="",
    user_public="",
    host_private="",
    host_public="",
    asked=json.loads(json.dumps(stored(ASKED))),
)
ANOTHER = replace(SERVER, run_id="r2", instance_id="i-2", started=NOW)


class Patient(Stop):
    """Never waits; is requested after so many waits."""

    def __init__(self, waits: int = 20) -> None:
        super().__init__()
        self.waits: list[float] = []
        self._most = waits

    def wait(self, seconds: float) -> bool:
        self.waits.append(seconds)
        if len(self.waits) >= self._most:
            self.request(2)
        return self.requested


class Stage:
    """An account with one instance, and what was brought up in it."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch, server: Server = SERVER) -> None:
        self.clock = ManualClock(NOW)
        self.journal = Journal(directory, self.clock)
        self.servers = Servers(self.journal)
        self.servers.add(server)
        self.stop = Patient()
        self.requests: list[UpRequest] = []
        self.refusals: list[Exception] = []
        self.seen: Instance | None = None
        self.said: list[str] = []
        monkeypatch.setattr(tunnel.instances, "describe", lambda _session, _id: self.seen)
        monkeypatch.setattr(tunnel, "Up", self._up)

    def ended(self, reason: str) -> None:
        self.seen = Instance("i-1", "terminated", "g4dn.xlarge", "eu-north-1a", Market.SPOT, NOW - 3600, reason=reason)

    def keeping(self, *, keep_alive: bool = False) -> Keeping:
        session = SimpleNamespace(clock=self.clock)
        place: Any = SimpleNamespace(journal=self.journal, session=session)
        story = Story(EventStream([lambda event: self.said.append(getattr(event, "text", ""))]), self.clock)
        return Keeping(place, story, self.stop, keep_alive, lambda *_: None)

    def _up(self, request: UpRequest, *_: object) -> Any:
        self.requests.append(request)

        def run() -> Server:
            if self.refusals:
                raise self.refusals.pop(0)
            return ANOTHER

        return SimpleNamespace(run=run)


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stage:
    return Stage(tmp_path, monkeypatch)


def test_what_aws_took_is_replaced_by_one_like_it_within_its_bounds(stage: Stage) -> None:
    stage.ended(TAKEN)
    assert stage.keeping()._again(SERVER, LOST) == ANOTHER
    (request,) = stage.requests
    assert (request.model, request.engine, request.image) == (ASKED.model, ASKED.engine, ASKED.image)
    assert request.token == SERVER.token
    # An hour is left of its time, and of its money what this one has not cost.
    assert request.options.ttl == 3600
    assert request.options.max_cost == ASKED.options.max_cost
    assert request.spent == pytest.approx(ASKED.spent + 0.2)


@pytest.mark.parametrize("keep_alive", [False, True])
@pytest.mark.parametrize("reason", ["Client.InstanceInitiatedShutdown", "Client.UserInitiatedShutdown", ""])
def test_an_end_that_somebody_meant_stays(stage: Stage, reason: str, keep_alive: bool) -> None:
    stage.ended(reason)
    with pytest.raises(ServerEndedError):
        stage.keeping(keep_alive=keep_alive)._again(SERVER, LOST)
    assert not stage.requests


@pytest.mark.parametrize(
    "known",
    [
        replace(SERVER, until=NOW),  # `gputx api down` is at it
        replace(SERVER, until=NOW + 20),  # no time is left
        replace(SERVER, market="on-demand"),
    ],
)
def test_one_that_nobody_wants_stays_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, known: Server) -> None:
    stage = Stage(tmp_path, monkeypatch, known)
    stage.ended(TAKEN)
    with pytest.raises(ServerEndedError):
        stage.keeping()._again(known, LOST)
    assert not stage.requests


def test_one_that_was_taken_down_is_forgotten_and_stays_away(stage: Stage) -> None:
    stage.ended(TAKEN)
    stage.servers.forget("r1")
    with pytest.raises(ServerEndedError):
        stage.keeping()._again(SERVER, LOST)


def test_kept_alive_it_is_replaced_whatever_its_market(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = replace(SERVER, market="on-demand")
    stage = Stage(tmp_path, monkeypatch, known)
    stage.ended("Server.InternalError")
    assert stage.keeping(keep_alive=True)._again(known, LOST) == ANOTHER


def test_another_client_s_replacement_is_used(stage: Stage) -> None:
    stage.ended(TAKEN)
    stage.servers.forget("r1")
    stage.servers.add(ANOTHER)
    assert stage.keeping()._again(SERVER, LOST) == ANOTHER
    assert not stage.requests


def test_a_pool_that_is_empty_is_asked_again_ever_more_slowly(stage: Stage) -> None:
    stage.ended(TAKEN)
    stage.refusals = [CapacityError("no capacity in any pool")] * 7
    assert stage.keeping()._again(SERVER, LOST) == ANOTHER
    assert stage.stop.waits == [2, 4, 8, 16, 32, 60, 60]
    assert sum("taken by AWS" in line for line in stage.said) == 1


def test_while_it_runs_or_can_not_be_seen_its_session_is_opened_again(stage: Stage) -> None:
    stage.seen = Instance("i-1", "running", "g4dn.xlarge", "eu-north-1a", Market.SPOT, NOW)
    assert stage.keeping()._again(SERVER, LOST) == SERVER
    stage.seen = None
    new = replace(SERVER, started=NOW - 5)
    assert stage.keeping()._again(new, LOST) == new
    with pytest.raises(ServerEndedError):  # EC2 has forgotten it, and nobody knows how it ended
        stage.keeping()._again(SERVER, LOST)
    assert not stage.requests


def test_a_stop_ends_the_waiting(stage: Stage) -> None:
    stage.ended(TAKEN)
    stage.refusals = [CapacityError("no capacity in any pool")] * 99
    with pytest.raises(InterruptedBySignal):
        stage.keeping()._again(SERVER, LOST)
