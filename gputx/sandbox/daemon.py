"""The process that is the sandbox: ``python -m gputx.sandbox.daemon --state-dir DIR``.

It serves on loopback until it is told to stop, gets a signal, or the process it belongs to (``--life-fd``) is
gone. However it ends, no guest outlives it.
"""

from __future__ import annotations

import argparse
import functools
import logging
import os
import secrets
import signal
import socket
import string
import sys
import threading
from email.utils import formatdate
from pathlib import Path
from typing import Any

from gputx.errors import ConfigurationError, GputxError
from gputx.sandbox import outside
from gputx.sandbox.state import StateDirectory

LOOPBACK = "127.0.0.1"
_SSH_PORTS = (22, 2222)
log = logging.getLogger(__name__)


def main(arguments: list[str] | None = None) -> int:
    """Run the daemon; returns its exit status. What goes wrong before it serves is told to ``--ready-fd``."""
    parser = argparse.ArgumentParser(prog="python -m gputx.sandbox.daemon", description=__doc__)
    parser.add_argument("--state-dir", type=Path, required=True)
    parser.add_argument("--region", default="eu-north-1")
    parser.add_argument("--pending-seconds", type=float, default=2.0)
    parser.add_argument("--shutting-down-seconds", type=float, default=3.0)
    parser.add_argument("--lag-seconds", type=float, default=0.3)
    parser.add_argument("--bare", action="store_true", help="an account in which nobody has set anything up")
    parser.add_argument("--life-fd", type=int, help="end when the other end of this pipe is closed")
    parser.add_argument("--ready-fd", type=int, help="write `ready`, or what went wrong, here")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s.%(msecs)03d %(name)s %(message)s", datefmt="%H:%M:%S")
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    try:
        serve(options)
    except GputxError as error:
        log.error("%s", error.message)  # noqa: TRY400 - a line for a person, not a trace
        _tell(options.ready_fd, f"{error.message}\n{error.hint or ''}")
        return int(error.exit_code)
    return 0


def serve(options: argparse.Namespace) -> None:
    """Own the state directory, serve until stopped, and leave nothing running.

    Raises:
        ConfigurationError: another daemon owns the directory, a package is missing, or guests can't be kept
            apart from this machine.
    """
    state = StateDirectory(options.state_dir)
    state.create()
    lock = state.lock()
    if lock is None:
        raise ConfigurationError("another sandbox is running in this state directory")
    with lock:
        state.clear()
        stopping = threading.Event()
        for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(signum, lambda *_: stopping.set())
        server, account, description = _build(state, options, stopping.set)
        # A short poll, because stopping waits for the next one.
        serve_forever = functools.partial(server.serve_forever, poll_interval=0.05)
        threading.Thread(target=serve_forever, name="server", daemon=True).start()
        account.timers.start()
        if options.life_fd is not None:
            threading.Thread(target=_watch, args=(options.life_fd, stopping), name="life", daemon=True).start()
        state.describe(description)
        log.info("serving %s", description["endpoint_url"])
        _tell(options.ready_fd, "ready")
        stopping.wait()
        log.info("stopping")
        state.description.unlink(missing_ok=True)
        account.close()
        server.shutdown()
        state.clear()


def _build(state: StateDirectory, options: argparse.Namespace, stop: Any) -> tuple[Any, Any, dict[str, Any]]:
    try:
        from werkzeug.serving import make_server  # noqa: PLC0415

        from gputx.sandbox.base import publish_base  # noqa: PLC0415
        from gputx.sandbox.furnish import MODEL, furnish  # noqa: PLC0415
        from gputx.sandbox.plane import emulator  # noqa: PLC0415
        from gputx.sandbox.plane.account import EmulatedAccount  # noqa: PLC0415
        from gputx.sandbox.plane.control import Control  # noqa: PLC0415
        from gputx.sandbox.plane.front import FrontDoor  # noqa: PLC0415

        settings = {
            "pending": options.pending_seconds,
            "shutting-down": options.shutting_down_seconds,
            "lag": options.lag_seconds,
        }
        account = EmulatedAccount(state, region=options.region, ssh_port=ssh_port(), settings=settings)
        from moto.moto_server.werkzeug_app import MotoRequestHandler  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"the sandbox needs the package {error.name}, which is not installed",
            hint="pip install 'gputx[sandbox]'",
        ) from error
    log.info("guests are kept apart by: %s", account.guests.isolation)
    publish_base(account, state.images)
    if not options.bare:
        furnish(account, state.images)
    description: dict[str, Any] = {
        "pid": os.getpid(),
        "region": options.region,
        "access_key": "SANDBOX" + _random(string.ascii_uppercase + string.digits, 13),
        "secret_key": _random(string.ascii_letters + string.digits, 40),
        "account_id": emulator.ACCOUNT_ID,
        "model": str(MODEL),
        "state_dir": str(state.path),
    }
    secret = secrets.token_urlsafe(32)
    control = Control(account, description, secret, stop)
    door = FrontDoor(account, control, description["access_key"])

    class Handler(MotoRequestHandler):  # type: ignore[misc]
        # Answers are small: without this the kernel may hold one back for 40 ms.
        disable_nagle_algorithm = True
        protocol_version = "HTTP/1.1"

        def date_time_string(self, timestamp: float | None = None) -> str:
            """Answers carry the time by the account's clock: clients may measure their own by it."""
            return formatdate(account.clock.time() if timestamp is None else timestamp, usegmt=True)

    # The address is no option on purpose: an emulated account must not be reachable from another machine.
    server = make_server(LOOPBACK, 0, door, threaded=True, request_handler=Handler)
    endpoint = f"http://{LOOPBACK}:{server.server_port}"
    description["endpoint_url"] = endpoint
    account.guests.lead_to((LOOPBACK, server.server_port))
    description["outside_ssh"] = outside.listen()
    description["checkip_url"] = f"{endpoint}/_sandbox/checkip"
    return server, account, {**description, "secret": secret}


def ssh_port() -> int:
    """22 where this process may bind it on loopback, else 2222: all guests' sshd listen on it."""
    for port in _SSH_PORTS:
        with socket.socket() as probe:
            try:
                probe.bind(("127.77.0.1", port))
            except OSError:
                continue
        return port
    return _SSH_PORTS[-1]


def _random(alphabet: str, length: int) -> str:
    return "".join(secrets.choice(alphabet) for _ in range(length))


def _tell(descriptor: int | None, text: str) -> None:
    if descriptor is not None:
        os.write(descriptor, text.encode())
        os.close(descriptor)


def _watch(descriptor: int, stopping: threading.Event) -> None:
    """Nobody writes to the pipe: reading it returns when the process that holds the other end is gone."""
    os.read(descriptor, 1)
    stopping.set()


if __name__ == "__main__":
    sys.exit(main())
