"""``gputx api tunnel`` and ``up --keep-alive``: a way in that is made anew when it breaks, and a server likewise.

A session that is lost is opened again. Where AWS itself has taken the instance, a spot server is replaced, because
somebody asks for it here. Any other end was meant: by its idle time, its deadline, ``gputx api down``, ``gputx reap``
or a hand in the console; EC2 says which it was.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from gputx.aws import instances
from gputx.aws.errors import AwsError
from gputx.clock import Stop
from gputx.errors import CapacityError, GputxError, InterruptedBySignal
from gputx.models import Instance, Market
from gputx.ssh.tunnel import Tunnel
from gputx.units import duration
from gputx.workflows.api import door as doors
from gputx.workflows.api.ending import AnotherAtWorkError
from gputx.workflows.api.report import ApiReport
from gputx.workflows.api.request import restored
from gputx.workflows.api.scripts import USE_FILE
from gputx.workflows.api.servers import Server, Servers
from gputx.workflows.api.up import Up
from gputx.workflows.naming import run_id
from gputx.workflows.place import Place
from gputx.workflows.story import Story

_BEAT_SECONDS = 2.0
_PAUSE_SECONDS = 2.0
_LONGEST_PAUSE_SECONDS = 60.0
_CLOCKS_DIFFER_SECONDS = 30.0
_SHOWN_SECONDS = 600.0


class ServerEndedError(GputxError):
    """The server has ended and is not to be replaced."""


@dataclass
class Keeping:
    """One tunnel for as long as it is wanted.

    Attributes:
        keep_alive: the server counts as used as long as this lasts, and is replaced whatever its market.
        opened: told the address each time that there is a way.
    """

    place: Place
    story: Story
    stop: Stop
    keep_alive: bool
    opened: Callable[[Server, str], None]

    def hold(self, server: Server, port: int) -> None:
        """Hold a tunnel open from this port until a stop is requested.

        Raises:
            InterruptedBySignal: that is how it ends.
            ServerEndedError: the server has ended, and nobody wants another.
            ConfigurationError: the port is taken.
        """
        with Tunnel(port) as tunnel:
            while True:
                try:
                    self._through(server, tunnel)
                except InterruptedBySignal:
                    raise
                except GputxError as error:
                    tunnel.blocked()
                    server = self._again(server, error)

    def _through(self, server: Server, tunnel: Tunnel) -> None:
        """One session, until it is lost."""
        with doors.enter(server, clock=self.story.clock, stop=self.stop) as connection:
            tunnel.through(connection, server.port)
            self.opened(server, f"{'https' if server.public else 'http'}://127.0.0.1:{tunnel.port}")
            used = f"touch {USE_FILE}" if self.keep_alive else ":"
            while True:
                connection.run(used)
                if self.stop.wait(_BEAT_SECONDS):  # real time: a cable is not cut by turning the sandbox's clock
                    self.stop.check()

    def _again(self, server: Server, error: GputxError) -> Server:
        """What to hold on to after a session was lost: the same server, or the one in its place."""
        pause, told = _PAUSE_SECONDS, False
        while True:
            seen = self._seen(server)
            if seen is None or seen.live:
                self.story.note(f"{error.message}; opening it again")
                self._wait(_PAUSE_SECONDS)
                return server
            if stands_in := self._stands_in(server):
                return stands_in
            if not self._wanted(server, seen):
                raise ServerEndedError(f"{server.instance_id} has ended", hint="gputx api up brings up another")
            if not told:
                self.story.warn(f"{server.instance_id} was taken by AWS; bringing up another in its place")
                told = True
            try:
                return self._replaced(server)
            except (CapacityError, AwsError, AnotherAtWorkError) as refused:
                if isinstance(refused, AwsError) and refused.denied:
                    raise
                self.story.warn(f"{refused.message}; trying again in {duration(pause)}")
            self._wait(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)

    def _wait(self, seconds: float) -> None:
        self.stop.wait(seconds)
        self.stop.check()

    def _seen(self, server: Server) -> Instance | None:
        """Its instance as the account shows it; None where that says nothing, and it is taken for alive."""
        try:
            instance = instances.describe(self.place.session, server.instance_id)
        except InterruptedBySignal:
            raise
        except GputxError:
            return None
        if instance is None and self.story.clock.time() - server.started > _SHOWN_SECONDS:
            # It ended an hour ago or more, and nobody knows how.
            raise ServerEndedError(f"{server.instance_id} has ended", hint="gputx api up brings up another")
        return instance

    def _stands_in(self, server: Server) -> Server | None:
        """The server that somebody else has brought up in its place by now: under its token."""
        known = Servers(self.place.journal).known(region=server.region, account=server.account)
        newest = next((one for one in known if one.token == server.token), None)
        return newest if newest is not None and newest.started > server.started else None

    def _wanted(self, server: Server, seen: Instance) -> bool:
        """Whether there is to be another. `gputx api down` writes down that its end is meant."""
        known = next((k for k in Servers(self.place.journal).known() if k.run_id == server.run_id), None)
        in_time = known is not None and self.story.clock.time() < known.until - _CLOCKS_DIFFER_SECONDS
        return seen.taken and in_time and (self.keep_alive or server.market == Market.SPOT)

    def _replaced(self, server: Server) -> Server:
        """Another server like it, under the same token, with what is left of its time and money. Raises as ``up``."""
        now = self.story.clock.time()
        asked = restored(server.asked)
        request = replace(
            asked,
            options=replace(asked.options, ttl=server.until - now),
            spent=asked.spent + (server.hourly or 0.0) * (now - server.started) / 3600,
            token=server.token,
            another=True,
        )
        report = ApiReport(run_id(self.story.clock), "")
        return Up(request, self.place, report, self.story, self.stop).run()
