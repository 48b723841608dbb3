"""The commands of ``gputx api`` but ``serve``: each opens the account, does one thing, and reports."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from gputx.aws import costs, identity, instances
from gputx.clock import Stop
from gputx.errors import GputxError, InterruptedBySignal, StillRunningError
from gputx.events import EventStream
from gputx.units import duration
from gputx.workflows.api import door as doors
from gputx.workflows.api import scripts
from gputx.workflows.api.ending import alone, clear_away, end, lost
from gputx.workflows.api.others import elsewhere
from gputx.workflows.api.report import ApiReport, Standing
from gputx.workflows.api.request import UpRequest
from gputx.workflows.api.servers import Server, Servers
from gputx.workflows.api.tunnel import Keeping
from gputx.workflows.api.up import Up
from gputx.workflows.naming import run_id
from gputx.workflows.place import Place, open_place
from gputx.workflows.settling import settle_earlier
from gputx.workflows.story import Story


@dataclass(frozen=True)
class ApiPlace:
    """The account: ``on`` is "aws" or "sandbox"."""

    on: str
    region: str
    profile: str | None

    @contextmanager
    def opened(self) -> Iterator[Place]:
        with open_place(self.on, region=self.region, profile=self.profile) as place:
            yield place


class NoServerError(GputxError):
    """There is no server, or none that is known here."""


def bring_up(request: UpRequest, where: ApiPlace, events: EventStream, stop: Stop) -> ApiReport:
    """A server that answers: the one there is, or a new one. What went wrong is the report's ``ending``."""
    with where.opened() as place:
        story = Story(events, place.session.clock)
        report = ApiReport(run_id(story.clock), where.on)
        try:
            Up(request, place, report, story, stop).run()
        except GputxError as error:
            report.ending = error
        report.phases = story.phases
        return report


def take_down(where: ApiPlace, events: EventStream, stop: Stop, *, drain: float | None) -> ApiReport:
    """End every server of this region that was brought up from here, and see it ending.

    Args:
        drain: seconds to wait for the jobs that a server has; None to wait for none.

    One that can't be reached from here is the report's ``ending``.

    Raises:
        ConfigurationError: the journal can't be used, or there are no credentials.
        AnotherAtWorkError: another gputx is bringing a server up.
    """
    with where.opened() as place, alone(place):
        story = Story(events, place.session.clock)
        report = ApiReport(run_id(story.clock), where.on)
        for line in settle_earlier(place, story.note, stop):
            story.warn(line)
        who = identity.whoami(place.session)
        account = who.account
        problems: list[StillRunningError] = []
        for server in Servers(place.journal).known(region=where.region, account=account):
            report.server = server
            if drain is not None:
                _drained(server, story, stop, drain)
            with story.phase("terminate", server.instance_id) as phase:
                settled = end(place, server, story)
                report.ended += settled.instances
                problems += settled.open
                if settled.open:
                    phase.detail = settled.open[0].message
                else:
                    seen = "seen shutting-down" if settled.instances else "it had ended by itself"
                    phase.detail = f"{server.instance_id} ({seen})"
        others = elsewhere(place, who)
        if problems:
            first, *further = problems
            for problem in further:
                first = first.joined(problem)
            report.ending = first
        elif others:
            report.ending = GputxError(f"{others[0].words}, and still runs", hint=others[0].hint)
        report.phases = story.phases
        return report


def _drained(server: Server, story: Story, stop: Stop, patience: float) -> None:
    """Wait until no job is left, where the server answers."""
    with story.phase("drain", server.instance_id) as phase:
        give_up_at = story.clock.monotonic() + patience
        try:
            with doors.opened(server, clock=story.clock, stop=stop) as door, door.client() as client:
                # One that is started again just now does not answer, and has its jobs on its disk.
                while (left := _queued(client)) != 0 and story.clock.monotonic() < give_up_at:
                    phase.detail = "it does not answer yet" if left is None else f"{duration(left)} of audio left"
                    story.clock.sleep(1.0, stop)
        except InterruptedBySignal:
            raise
        except GputxError as error:
            phase.detail = error.message
            return
        if left == 0:
            phase.detail = "no work left"
        else:
            phase.detail = "it did not answer" if left is None else f"{duration(left)} of audio are lost"
            story.warn(f"{server.instance_id} is ended with work left: {phase.detail}")


def standing(where: ApiPlace, stop: Stop, note: Callable[[str], None]) -> list[Standing]:
    """How the servers of this region stand that were brought up from here; what has ended is cleared away.

    Raises:
        ConfigurationError, AwsError: the account does not answer.
    """
    with where.opened() as place:
        session = place.session
        story = Story(EventStream([lambda event: note(getattr(event, "text", ""))]), session.clock)
        for line in settle_earlier(place, note, stop):
            note(line)
        who = identity.whoami(session)
        found = []
        for server in Servers(place.journal).known(region=where.region, account=who.account):
            instance = instances.describe(session, server.instance_id)
            if lost(server, instance, session.clock.time()):
                note(f"{server.instance_id} was taken by AWS; gputx api up brings up another, with its token")
                continue
            if instance is None or not instance.live:
                clear_away(place, server, story)
                continue
            cost = costs.so_far(session, [instance]).get(instance.id)
            health, queued, trouble = _asked(server, place, stop)
            found.append(Standing(server, instance, session.clock.time(), cost, health, queued, trouble))
        for other in elsewhere(place, who):
            note(f"{other.words}; {other.hint}")
        return found


def _asked(server: Server, place: Place, stop: Stop) -> tuple[dict[str, Any] | None, float | None, str]:
    try:
        with (
            doors.opened(server, clock=place.session.clock, stop=stop, patience=5.0) as door,
            door.client() as client,
        ):
            return doors.health(client), _queued(client), ""
    except InterruptedBySignal:
        raise
    except GputxError as error:
        return None, None, error.message


def _queued(client: httpx.Client) -> float | None:
    """Seconds of audio that are queued or running, whoever waits for them; None where the server does not say."""
    try:
        answer = client.get("/jobs", params={"limit": 0}, timeout=5.0)
        return float(answer.json()["queue"]["seconds"]) if answer.status_code == 200 else None
    except (httpx.HTTPError, ValueError, LookupError, TypeError):
        return None


def newest(where: ApiPlace) -> Server:
    """The server of this region that was brought up last. Asks nobody.

    Raises:
        NoServerError: none is known here.
    """
    with where.opened() as place:
        return _newest(place)


def _newest(place: Place) -> Server:
    known = Servers(place.journal).known(region=place.session.region)
    if len({server.account for server in known}) > 1:  # only then does it matter whose credentials these are
        account = identity.whoami(place.session).account
        known = [server for server in known if server.account == account]
    if not known:
        raise NoServerError("no server is known here", hint="gputx api up")
    return known[0]


def show_log(where: ApiPlace, stop: Stop, write: Callable[[str], None], *, lines: int, follow: bool) -> None:
    """Write a server's log, a line at a time; with ``follow`` until a stop is requested.

    Raises:
        NoServerError: none is known here.
        SshUnavailableError: it can't be reached.
    """
    with where.opened() as place, doors.enter(_newest(place), clock=place.session.clock, stop=stop) as connection:
        asked = f"exec sh {scripts.CONTROL} log -n {lines}{' -f' if follow else ''}"
        with connection.open_stream(asked) as stream, contextlib.suppress(InterruptedBySignal):
            for line in stream.lines():
                write(line)
        if stop.requested and stop.signum != signal.SIGINT:
            stop.check()


def hold_tunnel(where: ApiPlace, events: EventStream, stop: Stop, *, port: int, keep_alive: bool) -> None:
    """Hold a tunnel to the newest server open until a stop is requested.

    Raises:
        NoServerError: none is known here.
        InterruptedBySignal: that is how it ends.
        ServerEndedError: the server has ended and is not to be replaced.
    """
    with where.opened() as place:
        server = _newest(place)
        story = Story(events, place.session.clock)

        def opened(reached: Server, url: str) -> None:
            story.note(f"{url} leads to {reached.instance_id}; Ctrl-C closes it")

        Keeping(place, story, stop, keep_alive=keep_alive, opened=opened).hold(server, port)
