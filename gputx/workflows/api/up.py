"""``gputx api up``, to be read from top to bottom: find ours, or launch; install; wait for health; let it be."""

from __future__ import annotations

import secrets
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING

from gputx.aws import identity, images, instances, network, tags
from gputx.clock import Stop
from gputx.errors import GputxError, InstanceLostError
from gputx.lease.guard import Guard
from gputx.lease.verdict import API
from gputx.models import Instance
from gputx.ssh.tunnel import Tunnel
from gputx.workflows.api import certificate as certificates
from gputx.workflows.api import door as doors
from gputx.workflows.api import results
from gputx.workflows.api.ending import alone, clear_away, lost
from gputx.workflows.api.installing import Installation, version
from gputx.workflows.api.others import elsewhere
from gputx.workflows.api.report import ApiReport
from gputx.workflows.api.request import FIXED, UpRequest, over, restored, stored
from gputx.workflows.api.results import Results
from gputx.workflows.api.scripts import ServerPlan
from gputx.workflows.api.servers import PUBLIC_PORT, Server, Servers
from gputx.workflows.hosts.allowance import allowance
from gputx.workflows.hosts.machine import Machine, Machines
from gputx.workflows.hosts.survey import Ground, interruptible, look_round
from gputx.workflows.lives import Lives
from gputx.workflows.place import Place
from gputx.workflows.settling import settle_earlier
from gputx.workflows.story import Story

if TYPE_CHECKING:
    from gputx.aws.tags import Stamp

NAME = "transcription-api"
_LIVES = 2
"""An instance that is lost before its server answers is replaced once."""


class ServerMachines(Machines):
    """Machines that are tagged as servers."""

    def stamp(self, ground: Ground, guard: Guard) -> Stamp:
        return replace(super().stamp(ground, guard), name=NAME)


class Up:
    """One ``up`` on one account."""

    def __init__(self, request: UpRequest, place: Place, report: ApiReport, story: Story, stop: Stop) -> None:
        self._request = request
        self._place = place
        self._session = place.session
        self._report = report
        self._story = story
        self._stop = stop
        self._servers = Servers(place.journal)
        self._machines = ServerMachines(place, request.options, story, stop)
        self._lives = Lives(report, story)
        self._installation = Installation(request, story, stop)
        self._account = ""
        self._token = request.token
        self._lost: list[Server] = []
        """Servers that AWS took: they are forgotten once there is another, which has their token."""
        self._results: Results | None = None

    def run(self) -> Server:
        """Bring a server up, or find it up.

        Raises:
            StillRunningError: something was launched whose end could not be confirmed.
            CapacityError, ConfigurationError, InputError, AwsError: as any launch.
            GputxError: it does not answer, or another machine's server is there.
        """
        with alone(self._place), ThreadPoolExecutor(1, thread_name_prefix="settle") as background:
            settled = background.submit(settle_earlier, self._place, self._story.note, self._stop)
            try:
                server = self._found() or self._launched()
            except Exception as error:
                # What may still run matters more than why nothing answers.
                if still_running := self._lives.still_running:
                    raise still_running from error
                raise
            finally:
                for line in settled.result():
                    self._story.warn(line)
        self._report.server = server
        for gone in self._lost:
            clear_away(self._place, gone, self._story)
        return server

    # One that runs

    def _found(self) -> Server | None:
        """Ours, where one runs and answers as it should; upgraded where it is not what is asked for."""
        with self._story.phase("server") as phase:
            who = identity.whoami(self._session)
            self._account = account = who.account
            now = self._story.clock.time()
            kept = {entry.run_id for entry in self._place.journal.unfinished(account) if entry.kept(now)}
            for server in self._servers.known(region=self._session.region, account=account):
                seen = instances.describe(self._session, server.instance_id)
                if lost(server, seen, now):
                    self._token = self._token or server.token
                    self._lost.append(server)
                    continue
                if seen is None or not seen.live or server.until <= now or server.run_id not in kept:
                    # The last: its command died before it was kept, so it is on its way out.
                    clear_away(self._place, server, self._story)
                    continue
                if self._request.token not in {None, server.token}:
                    continue  # another's; this one is to stand in for a server with that token
                phase.detail = f"{server.instance_id} at {server.address}"
                self._report.found, self._report.instance = True, seen
                return self._as_asked(server)
            if not self._request.another and (others := elsewhere(self._place, who)):
                raise GputxError(f"{others[0].words} in account {account}", hint=f"{others[0].hint}; or up --another")
            phase.detail = "none"
        return None

    def _as_asked(self, server: Server) -> Server:
        if self._request.public != server.public:
            raise GputxError(
                f"the server that runs, {server.instance_id}, is {'' if server.public else 'not '}public",
                hint="gputx api down, then gputx api up again",
            )
        if self._request.chosen & FIXED:
            self._story.warn(f"{server.instance_id} keeps the bounds it came up with; for others, first gputx api down")
        try:
            request = over(self._request, restored(server.asked))
        except (KeyError, TypeError, ValueError):
            request = self._request  # written down by another gputx
        installation = Installation(request, self._story, self._stop)
        inside = (server.image_model, server.image_revision)
        # Its machine has the role that it was launched with, or none, whatever the settings are now.
        place = (server.results, server.results_region)
        plan = installation.plan(inside, port=server.port, until=server.until, market=server.market, results=place)
        current = version(plan, self._token or server.token)
        upgrade = current != server.version
        with doors.opened(server, clock=self._story.clock, stop=self._stop) as door:
            if upgrade:
                token = self._token or server.token
                installation.install(door.connection, plan, token, certificate=None)
                installation.control(door.connection, "keep")
                server = replace(server, token=token, version=current, asked=stored(request))
                server = replace(server, idle_timeout=plan.idle_timeout, model=plan.model.name)
                self._servers.add(server)
                self._report.upgraded = True
            installation.await_healthy(replace(door, server=server))
        return server

    # One that is launched

    def _launched(self) -> Server:
        ground = interruptible(self._session, self._stop, self._look_round)
        for life in range(1, _LIVES + 1):
            try:
                return self._one_life(ground, life)
            except InstanceLostError as error:
                if life == _LIVES or self._lives.still_running:
                    raise
                self._story.warn(error.message)
                self._story.note("starting again in another pool")
        raise AssertionError("unreachable: the last life ends in its result or its error")

    def _look_round(self) -> Ground:
        request, session = self._request, self._session
        with ThreadPoolExecutor(1, thread_name_prefix="results") as beside:
            found = beside.submit(
                results.find, session, self._account, bucket=request.bucket, profile=request.instance_role
            )
            ground = look_round(
                session, request.options, self._story, find_image=lambda: images.find_image(session, request.image)
            )
        place = found.result()
        self._results = place if isinstance(place, Results) else None
        if isinstance(place, str) and place:
            self._story.note(place)
        return ground

    def _one_life(self, ground: Ground, life: int) -> Server:
        options = self._request.options
        lifetime = allowance(
            ttl=options.ttl,
            max_cost=options.max_cost,
            spent=self._request.spent + self._lives.spent,
            pools=ground.pools,
            on_demand=ground.on_demand,
        )
        run_id = self._report.id if life == 1 else f"{self._report.id}-{life}"
        guard = self._machines.guard(run_id, ground.who.account, lifetime=lifetime)
        kept = False
        try:
            with self._machines.machine(
                ground,
                guard,
                avoid=self._lives.used,
                attempted=self._lives.attempted,
                launched=self._lives.launched,
                profile=self._results.profile if self._results else None,
            ) as machine:
                server = self._serving(machine, ground, guard)
                self._let_be(machine, server, guard)
                kept = True
        finally:
            if kept:
                self._lives.bill(ground.on_demand)
            else:
                self._servers.forget(guard.run_id)
                self._lives.end(guard, ground.on_demand)
        return server

    def _serving(self, machine: Machine, ground: Ground, guard: Guard) -> Server:
        """The server on a machine that was just launched, answering."""
        request = self._request
        address = str(machine.instance.public_address)
        port = PUBLIC_PORT if request.public else request.port
        token = self._token or secrets.token_urlsafe(32)
        inside = (ground.image.model, ground.image.model_revision)
        plan = self._installation.plan(
            inside, port=port, until=guard.deadline, market=machine.instance.market, results=self._texts_of(machine)
        )
        certificate = None
        if request.public:
            certificate = certificates.make(address, run_id=guard.run_id, until=guard.deadline)
            network.open_port(self._session, run_id=guard.run_id, port=port, cidrs=request.cidrs)
        self._installation.install(machine.connection, plan, token, certificate=certificate)
        server = self._described(machine, guard, plan, token, certificate[0] if certificate else None)
        with Tunnel() as tunnel:
            tunnel.through(machine.connection, port)
            self._installation.await_healthy(doors.Door(server, machine.connection, tunnel), machine.look)
        return server

    def _texts_of(self, machine: Machine) -> tuple[str | None, str | None]:
        """Where a machine's role may put texts, and the region of that; Nones where it was launched without."""
        if self._results is None:
            return None, None
        if machine.instance.profile is None:
            self._story.note(f"texts stay on the server, and do not go to {self._results.address}")
            return None, None
        return self._results.address, self._results.region

    def _described(
        self, machine: Machine, guard: Guard, plan: ServerPlan, token: str, certificate: str | None
    ) -> Server:
        instance, keys = machine.instance, machine.keys
        return Server(
            run_id=guard.run_id,
            account=self._account,
            region=self._session.region,
            instance_id=instance.id,
            address=str(instance.public_address),
            ssh_port=machine.image.ssh_port,
            ssh_user=machine.image.ssh_user,
            port=plan.port,
            token=token,
            model=plan.model.name,
            image_model=machine.image.model,
            image_revision=machine.image.model_revision,
            market=str(instance.market),
            instance_type=instance.instance_type,
            zone=instance.zone,
            hourly=self._hourly(instance),
            started=instance.launched_at,
            until=guard.deadline,
            idle_timeout=plan.idle_timeout,
            public=plan.public,
            certificate=certificate,
            version=version(plan, token),
            user_private=keys.user.private_openssh,
            user_public=keys.user.public_openssh,
            host_private=keys.host.private_openssh,
            host_public=keys.host.public_openssh,
            asked=stored(self._request),
            results=plan.results,
            results_region=plan.results_region,
        )

    def _hourly(self, instance: Instance) -> float | None:
        pools = [attempt.pool for attempt in self._report.attempts if attempt.code is None]
        return pools[-1].hourly if pools and pools[-1].zone == instance.zone else None

    def _let_be(self, machine: Machine, server: Server, guard: Guard) -> None:
        """From here on it lives without us: written down first, so that what is kept can be reached."""
        self._stop.check()
        self._servers.add(server)
        machine.leave(guard.deadline)
        # What says so is protected from a plain reap; until now its client's signs of life were.
        try:
            instances.label(self._session, machine.instance.id, {tags.PURPOSE: API})
            self._installation.control(machine.connection, "keep")
            guard.keep(guard.deadline)
        except BaseException:
            machine.kept = False
            raise
