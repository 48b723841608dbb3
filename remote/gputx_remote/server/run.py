"""A server, from its command line to its end."""

from __future__ import annotations

import argparse
import asyncio
import math
import os
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import FrameType

import uvicorn

from gputx_remote.errors import EngineUnavailableError, ModelUnavailableError
from gputx_remote.languages import code_of
from gputx_remote.server import arguments as command_line
from gputx_remote.server import auth, connection, logs, process
from gputx_remote.server.app import create_app
from gputx_remote.server.auth import Tokens
from gputx_remote.server.connection import LAST_SECONDS
from gputx_remote.server.decoding import AudioDecoder
from gputx_remote.server.engine import SharedEngine
from gputx_remote.server.jobs import Jobs
from gputx_remote.server.limits import Limits
from gputx_remote.server.logs import log
from gputx_remote.server.s3 import Signer
from gputx_remote.server.seized import TakenError, seized
from gputx_remote.server.service import Rooms, Service
from gputx_remote.server.settings import RequestLimits, ServerSettings
from gputx_remote.server.storing import Results
from gputx_remote.worker import ModelOptions

TOKEN_VARIABLE = "GPUTX_TOKEN"  # noqa: S105 - the name of one, not one
Loading = Callable[[], Rooms]

BROKEN, USAGE, UNAVAILABLE = 1, 2, 3
LAST_MOMENT_SECONDS = 1.0
"""For what is only a matter of threads, once nobody is waited for."""


def run(options: ModelOptions, arguments: argparse.Namespace) -> int:
    """Serve until a signal says to end.

    Returns:
        0 after a drain; 1 where the model broke; 2 where what it was told can't be; 3 where the model can't be loaded,
        or another server has the state directory.
    """
    logs.configure()
    process.prepare()
    with ExitStack() as held:
        try:
            settings = _settings(options, arguments)
            held.enter_context(seized(arguments.state))
            service = Service(settings, _tokens(arguments.tokens), _results(settings, arguments))
            listener = held.enter_context(_listener(arguments.host, arguments.port))
        except TakenError as error:
            print(f"error: {error}", file=sys.stderr)
            return UNAVAILABLE
        except (OSError, ValueError) as error:
            print(f"error: {_reason(error)}", file=sys.stderr)
            return USAGE
        try:
            config = connection.config(
                create_app(service), service.settings.limits, cert=arguments.tls_cert, key=arguments.tls_key
            )
            config.load()
        except (OSError, ValueError) as error:  # a certificate that is none; ssl.SSLError is an OSError
            print(f"error: the certificate or its key can't be used: {_reason(error)}", file=sys.stderr)
            return USAGE
        server = Server(config, service, lambda: _rooms(options, arguments.state, command_line.limits(arguments)))
        scheme = "https" if arguments.tls_cert else "http"
        host, port = listener.getsockname()[:2]
        log.info("listening", extra={"url": f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"})
        server.run(sockets=[listener])
        server.over()
    return server.status


def _settings(options: ModelOptions, arguments: argparse.Namespace) -> ServerSettings:
    language = None if arguments.language == "auto" else code_of(arguments.language)
    if language is None and arguments.language != "auto":
        raise ValueError(f"--language {arguments.language!r} is none that Whisper knows; a code such as sv, or auto")
    if bool(arguments.tls_cert) != bool(arguments.tls_key):
        raise ValueError("--tls-cert and --tls-key go together")
    if arguments.drain <= LAST_SECONDS:
        raise ValueError(f"--drain is more than {LAST_SECONDS:g} seconds")
    limits = RequestLimits(
        upload_bytes=round(arguments.max_upload * (1 << 20)), requests_per_token=arguments.requests_per_token
    )
    return ServerSettings(
        model=options.name or Path(options.model).name,
        limits=limits,
        language=language,
        drain_seconds=arguments.drain,
        idle_file=arguments.idle_file,
    )


def _results(settings: ServerSettings, arguments: argparse.Namespace) -> Results | None:
    if arguments.results is None:
        return None
    return Results(arguments.results, Signer(arguments.region), settings.model)


def _tokens(path: Path | None) -> Tokens:
    """Those of a file, of the environment, or one that is made and printed, once."""
    if path is not None:
        return Tokens.load(path)
    if token := os.environ.get(TOKEN_VARIABLE):
        return Tokens([(TOKEN_VARIABLE, token)])
    token = auth.make()
    print(f"token: {token}", file=sys.stderr, flush=True)
    return Tokens([("made", token)])


def _listener(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=2048)


def _rooms(options: ModelOptions, state: Path, limits: Limits) -> Rooms:
    """Raises ModelUnavailableError, EngineUnavailableError, OSError."""
    engine = SharedEngine.load(options, lambda text: log.info("note", extra={"note": text}))
    jobs = Jobs(engine, state, limits)
    decoder = AudioDecoder(jobs.incoming, limits)
    decoder.start()
    return Rooms(engine, jobs, decoder, limits)


class Server(uvicorn.Server):
    """uvicorn, which loads the model while it listens, and drains before it ends."""

    def __init__(self, config: uvicorn.Config, service: Service, load: Loading) -> None:
        super().__init__(config)
        self.status = 0
        self._service = service
        self._load = load
        self._loop: asyncio.AbstractEventLoop | None = None
        self._loading: threading.Thread | None = None
        self._until = math.inf
        """On the monotonic clock: then it is over, whatever is left to do."""
        self._timer: threading.Timer | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._loop = asyncio.get_running_loop()
        # A daemon: a model that is being loaded holds up no end.
        self._loading = threading.Thread(target=self._open, name="loading", daemon=True)
        self._loading.start()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 - as uvicorn calls it
        """The first signal drains, the second ends at once. Runs in the main thread, between two steps of the loop."""
        if self._service.draining or self._loop is None or self._service.rooms is None:
            self.should_exit = self.force_exit = True
            self._end_within(LAST_MOMENT_SECONDS)
            return
        self._leave(self._service.settings.drain_seconds)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        if self._service.results is not None and not self.force_exit:
            await self._service.results.settle(min(LAST_SECONDS, self._left / 2))
        self.config.timeout_graceful_shutdown = int(max(0.0, min(LAST_SECONDS, self._left - LAST_MOMENT_SECONDS)))
        await super().shutdown(sockets)
        if (rooms := self._service.rooms) is not None:
            await asyncio.to_thread(rooms.close)
        log.info("ended")

    def over(self) -> None:
        """Nothing is served any more. Does not return where a thread is left that only the process's end can stop."""
        if self._timer is not None:
            self._timer.cancel()
        if self._loading is not None:
            self._loading.join(LAST_MOMENT_SECONDS)
        loading = self._loading is not None and self._loading.is_alive()
        if loading or self._service.failing or (self._service.rooms and self._service.rooms.engine.at_work):
            self._cut()

    @property
    def _left(self) -> float:
        return max(0.0, self._until - time.monotonic())

    def _open(self) -> None:
        try:
            rooms = self._load()
        except Exception as error:  # noqa: BLE001 - whatever it is, a server that never gets a model must end
            self._unavailable(error)
            return
        assert self._loop is not None  # noqa: S101 - this thread was started by the loop
        self._loop.call_soon_threadsafe(self._opened, rooms)

    def _opened(self, rooms: Rooms) -> None:
        try:
            self._service.opened(rooms)
        except Exception as error:  # noqa: BLE001 - likewise
            self._unavailable(error)
            return
        engine = rooms.engine
        engine.when_broken(self._broken)
        facts = {"model": engine.model, "revision": engine.revision}
        log.info("ready", extra=facts | {"device": engine.device, "compute_type": engine.compute_type})

    def _unavailable(self, error: Exception) -> None:
        if not isinstance(error, (ModelUnavailableError, EngineUnavailableError, OSError)):
            log.error("the server can't start", exc_info=error)
        print(f"error: {_reason(error)}", file=sys.stderr, flush=True)
        self.status = UNAVAILABLE
        self.should_exit = True

    def _broken(self) -> None:
        """The model does no more what it once did. Called by its thread."""
        log.error("the model is broken: the server ends, to be started anew")
        self.status = BROKEN
        self._service.failing = True
        self._leave(2 * LAST_SECONDS)

    def _leave(self, seconds: float) -> None:
        assert self._loop is not None  # noqa: S101 - there are rooms, so it runs
        self._service.draining = True
        self._loop.call_soon_threadsafe(self._service.leaving.set)
        self._end_within(seconds)
        threading.Thread(target=self._drain, args=(seconds,), name="draining", daemon=True).start()

    def _drain(self, seconds: float) -> None:
        log.info("draining", extra={"seconds": seconds})
        assert self._loop is not None  # noqa: S101 - asked before
        assert self._service.rooms is not None  # noqa: S101 - likewise
        until = time.monotonic() + seconds - LAST_SECONDS
        try:
            # Of a broken model nothing is to be had by waiting.
            self._service.rooms.jobs.drain(0.0 if self._service.failing else seconds - LAST_SECONDS)
            # Sessions end a moment after they were told to.
            patience = until - time.monotonic() + LAST_MOMENT_SECONDS
            asyncio.run_coroutine_threadsafe(self._service.quiet(patience), self._loop).result()
        finally:
            self.should_exit = True

    def _end_within(self, seconds: float) -> None:
        """However things stand by then: a model in the middle of a turn can't be stopped, only left."""
        self._until = min(self._until, time.monotonic() + seconds)
        if self._timer is not None:
            self._timer.cancel()
        self._timer = threading.Timer(self._left, self._cut)
        self._timer.daemon = True
        self._timer.start()

    def _cut(self) -> None:
        log.info("cut off")
        sys.stderr.flush()
        os._exit(self.status)


def _reason(error: Exception) -> str:
    """What is wrong, in one line."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    if isinstance(error, (ModelUnavailableError, EngineUnavailableError, ValueError)):
        return str(error)
    said = str(error).strip().splitlines()
    return f"the server can't start: {type(error).__name__}{f': {said[0]}' if said else ''}"
