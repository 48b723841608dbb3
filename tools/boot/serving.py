"""The server's units and its keeper on a real systemd: with a stand-in for the payload, as the image has no model."""

from __future__ import annotations

import time

from machine import Machine
from room import SLOW_SECONDS, Launch, Room, armed, client, expect, living, off_within, root

from gputx.aws.userdata import WATCH_SECONDS
from gputx.ssh.connection import Connection
from gputx.workflows.api import scripts
from gputx.workflows.model import ModelChoice

GRACE = 45.0
IDLE = 40.0
PORT = 8000
USED_SECONDS = 90.0
"""How long the stand-in is used: longer than the grace, so that the keeper alone keeps the machine on."""

_PAYLOAD = f"""\
import http.server, os, pathlib, signal, sys, threading, time

words = sys.argv[1:]
use, state = (words[words.index(name) + 1] for name in ("--idle-file", "--state"))


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = f"{{os.getpid()}} {{os.getuid()}}".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def drain(*_):
    with open(state + "/drained", "a") as file:
        print(os.getpid(), file=file)
    sys.exit(0)


def be_used():
    begun = pathlib.Path(state + "/begun")
    first = float(begun.read_text()) if begun.exists() else time.time()
    begun.write_text(str(first))
    while time.time() < first + {USED_SECONDS}:
        pathlib.Path(use).touch()
        time.sleep(2)


signal.signal(signal.SIGTERM, drain)
try:
    pathlib.Path("/etc/gputx-was-here").touch()
    print("wrote to /etc", flush=True)
except OSError as error:
    print("may not write to /etc:", error, flush=True)
threading.Thread(target=be_used, daemon=True).start()
http.server.HTTPServer(("127.0.0.1", int(words[words.index("--port") + 1])), Handler).serve_forever()
"""

_ASK = f'import urllib.request; print(urllib.request.urlopen("http://127.0.0.1:{PORT}/", timeout=5).read().decode())'


def serving(room: Room) -> list[str]:
    """A server is installed, killed, upgraded, kept while it is used and ended when it is not; nobody is connected."""
    launch = Launch.now("i-serving", ttl=3600.0, grace=GRACE)
    with room.boot(room.disk("serving"), launch) as machine:
        armed(machine, launch)
        with living(machine, launch) as (connection, _):
            begun = time.time()
            first = _installed(connection, launch)
            seen = [f"installed: answers as user {first[1]} {time.time() - begun:.0f} s later"]

            root(connection, f"kill -9 {first[0]}")
            second = _answers(connection, other_than=first)
            seen.append(f"killed: {second[0]} in place of {first[0]}")

            third = _installed(connection, launch, other_than=second)
            drained = connection.run(f"cat {scripts.HOME}/state/drained").stdout.decode().split()
            expect(drained == [second[0]], f"told to drain: {drained}, not {second[0]}: {machine.console_path}")
            seen.append(f"installed again: {second[0]} was told to end and drained, {third[0]} in its place")

            said = connection.run(f"sh {scripts.CONTROL} log -n 50", timeout=SLOW_SECONDS).stdout.decode()
            expect("may not write to /etc" in said and "wrote to /etc" not in said, f"its log: {said}")
            seen.append("its log is to be read; it may not write outside its home")
            _control(connection, "keep")
        return [*seen, _kept(machine, launch)]


def _kept(machine: Machine, launch: Launch) -> str:
    """From here on nobody is connected but to ask the time of the server's last use, and that gives no sign of life."""
    silent = time.time()
    time.sleep(USED_SECONDS)
    expect(machine.on, f"off although the server was used: {machine.console_path}")
    with client(machine, launch) as connection:
        last = float(connection.run(f"stat -c %.Y {scripts.USE_FILE}", timeout=SLOW_SECONDS).stdout)
    every = scripts.KEEPER_SECONDS
    on = f"on for {time.time() - silent:.0f} s without a client, with a grace of {GRACE:.0f} s"
    return f"{on}; from its last use: " + off_within(machine, last, IDLE, IDLE + 2 * every + WATCH_SECONDS)


def _installed(connection: Connection, launch: Launch, other_than: tuple[str, str] | None = None) -> tuple[str, str]:
    plan = scripts.ServerPlan(
        payload="payload-check.pyz",
        model=ModelChoice("check", "/opt/transcribe/model", None),
        port=PORT,
        public=False,
        until=launch.deadline,
        idle_timeout=IDLE,
        spot=True,
    )
    connection.upload_bytes(_PAYLOAD.encode(), f"gputx/{plan.payload}")
    for path, data in (scripts.files(plan) | {scripts.TOKENS: b"check\n"}).items():
        connection.upload_bytes(data, path)
    _control(connection, "install")
    return _answers(connection, other_than=other_than)


def _control(connection: Connection, verb: str) -> None:
    done = connection.run(f"sh {scripts.CONTROL} {verb}", timeout=scripts.STOP_SECONDS + SLOW_SECONDS)
    expect(done.exit_status == 0, f"control {verb}: {done.exit_status} {done.stderr!r}")


def _answers(connection: Connection, *, other_than: tuple[str, str] | None = None) -> tuple[str, str]:
    """(process id, user id) of what answers, once that is not the same process any more. Raises BootError."""
    until = time.monotonic() + 2 * SLOW_SECONDS
    while time.monotonic() < until:
        done = connection.run(f"python3 -c '{_ASK}'", timeout=SLOW_SECONDS)
        process, _, user = done.stdout.decode().strip().partition(" ")
        if done.exit_status == 0 and (process, user) != other_than:
            return process, user
        time.sleep(1)
    status = root(connection, "systemctl status --no-pager gputx-api || true")
    expect(False, f"nothing answers: {status}")
    raise AssertionError("unreachable: expect raises")
