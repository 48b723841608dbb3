"""A server on a machine: put there, started, and waited for; the same for a new machine and for one that serves."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import TYPE_CHECKING

from gputx.errors import GputxError
from gputx.models import Market
from gputx.ssh.payload import build_payload
from gputx.workflows.api import door as doors
from gputx.workflows.api import scripts
from gputx.workflows.api.scripts import ServerPlan
from gputx.workflows.hosts.instance import IMAGE_MODEL, ensure_payload, send_model
from gputx.workflows.model import ModelChoice

if TYPE_CHECKING:
    from gputx.clock import Stop
    from gputx.ssh.connection import Connection
    from gputx.workflows.api.request import UpRequest
    from gputx.workflows.api.servers import Server
    from gputx.workflows.story import Story


class Installation:
    """This gputx's server, as one ``up`` wants it."""

    def __init__(self, request: UpRequest, story: Story, stop: Stop) -> None:
        self._request = request
        self._story = story
        self._stop = stop
        self._payload = build_payload()

    def plan(
        self,
        inside: tuple[str, str],
        *,
        port: int,
        until: float,
        market: str,
        results: tuple[str | None, str | None],
    ) -> ServerPlan:
        """How it is to run.

        Args:
            inside: the name and revision of the model in the machine's image.
            port: where it listens.
            until: the machine's deadline, in seconds since the epoch.
            market: the machine's.
            results: where the machine may put texts, and the region of that; Nones for nowhere.
        """
        request = self._request
        return ServerPlan(
            payload=self._payload.name,
            model=self._model(*inside),
            port=port,
            public=request.public,
            until=until,
            idle_timeout=request.idle_timeout,
            spot=market == Market.SPOT,
            results=results[0],
            results_region=results[1],
        )

    def install(
        self, connection: Connection, plan: ServerPlan, token: str, *, certificate: tuple[str, str] | None
    ) -> None:
        """Send all that it needs, and have it started; what runs there already puts down what it has.

        Args:
            connection: to the machine.
            plan: how it is to run.
            token: what lets a client in.
            certificate: PEM, and its key; None where there is none, or where it lies there already.

        Raises:
            GputxError: it can't be started.
            ConnectionLostError: the machine is out of reach.
        """
        with self._story.phase("install", self._payload.name):
            ensure_payload(connection, self._payload)
            send_model(connection, plan.model)
            sent = scripts.files(plan) | {scripts.TOKENS: f"{token}\n".encode()}
            if certificate:
                sent |= {scripts.CERTIFICATE: certificate[0].encode(), scripts.KEY: certificate[1].encode()}
            for path, data in sent.items():
                connection.upload_bytes(data, path)
            self.control(connection, "install")

    @staticmethod
    def control(connection: Connection, verb: str) -> None:
        """Do what ``control`` of :mod:`gputx.workflows.api.scripts` can: install, keep. Raises GputxError."""
        done = connection.run(f"sh {scripts.CONTROL} {verb}", timeout=scripts.STOP_SECONDS + 60)
        if done.exit_status != 0:
            said = done.stderr.decode(errors="replace").strip().splitlines()
            raise GputxError(f"the server could not be installed: {said[-1] if said else done.exit_status}")

    def await_healthy(self, door: doors.Door, look: Callable[[], None] = lambda: None) -> None:
        """Wait until its model is loaded.

        Args:
            door: the way to it.
            look: raises where the machine is going, which explains better than its silence.

        Raises:
            GputxError: it does not get there.
        """
        with self._story.phase("health", door.server.model) as phase:
            try:
                said = doors.await_healthy(
                    door,
                    clock=self._story.clock,
                    stop=self._stop,
                    timeout=self._request.options.boot_timeout,
                    starts=scripts.STARTS,
                    log=f"sh {scripts.CONTROL} log -n 12",
                )
            except GputxError:
                look()
                raise
            self._look_from_outside(door.server)
            phase.detail = f"{door.server.model}, {'GPU' if said.get('gpu_available') else 'CPU'}"

    def _look_from_outside(self, server: Server) -> None:
        """A server that is public answers over SSH by now; whether it does from here is a question of the group."""
        if server.public_url is None:
            return
        with doors.client_of(server, server.public_url) as client:
            if doors.health(client) is None:
                self._story.warn(
                    f"it answers over SSH, but from here not at {server.public_url}: is your address in --allow-cidr?"
                )

    def _model(self, name: str, revision: str) -> ModelChoice:
        """The model that was asked for; the one in the image, of this name and revision, where that is the one."""
        inside = ModelChoice(name, IMAGE_MODEL, revision, engine=self._request.engine)
        asked = self._request.model
        if asked is None:
            return inside
        same = asked.from_hub and asked.name == name and asked.revision in {None, revision}
        return inside if same else asked


def version(plan: ServerPlan, token: str) -> str:
    """A name for exactly what runs: the payload, how it is started, who may use it."""
    digest = hashlib.sha256(token.encode())
    for path, data in sorted(scripts.files(plan).items()):
        digest.update(path.encode() + b"\0" + data)
    return f"{plan.payload}-{digest.hexdigest()[:16]}"
