"""What is asked of a real Linux, one function each: it returns what was seen, or raises.

Every machine here has systemd and cloud-init, and user-data from ``gputx.aws.userdata``, as it would be launched.
"""

from __future__ import annotations

import hashlib
import http.server
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from room import (
    BOOT_SECONDS,
    LATE_SECONDS,
    LOGIN,
    OFF_SECONDS,
    SLOW_SECONDS,
    Launch,
    Room,
    armed,
    client,
    expect,
    leave,
    living,
    off_within,
    report,
    root,
)
from serving import serving

from gputx.aws.userdata import DONE_FILE, WATCH_SECONDS, EarlyWorker
from gputx.ssh.connection import Connection

HOUR = 3600.0
GRACE = 45.0
Seen = list[str]


def silence(room: Room) -> Seen:
    """Nobody ever connects: off after the grace, counted from boot."""
    launch = Launch.now("i-silence", ttl=HOUR, grace=GRACE)
    with room.boot(room.disk("silence"), launch) as machine:
        found = armed(machine, launch)
        return [
            *(line for line in found.lines if line.endswith(" is active") or "left" in line.split()),
            "from the watchdog's start: " + off_within(machine, found.since, GRACE, GRACE + WATCH_SECONDS),
        ]


def heartbeats(room: Room) -> Seen:
    """A client connects, shows signs of life for longer than the grace, then falls silent."""
    with payload_server() as (early, fetched):
        launch = Launch.now("i-beats", ttl=HOUR, grace=GRACE, early=early)
        with room.boot(room.disk("heartbeats"), launch) as machine:
            found = armed(machine, launch)
            with living(machine, launch) as (connection, beats):
                seen = [shows_only(launch, machine.port)]
                seen.append(began_early(connection, len(fetched)))
                time.sleep(max(0.0, found.since + 2.5 * GRACE - time.time()))
                expect(machine.on, f"off although the client was alive: {machine.console_path}")
                last = beats.end()
            seen.append(f"on {last - found.since:.0f} s after the watchdog's start, with a grace of {GRACE:.0f} s")
            return [*seen, "from the last beat: " + off_within(machine, last, GRACE, GRACE + 2 * WATCH_SECONDS)]


def done(room: Room) -> Seen:
    """The client has all it wanted."""
    launch = Launch.now("i-done", ttl=HOUR, grace=600)
    with room.boot(room.disk("done"), launch) as machine:
        armed(machine, launch)
        with living(machine, launch) as (connection, _):
            at = leave(connection, DONE_FILE, "")
            return ["from the word: " + off_within(machine, at, 0, WATCH_SECONDS)]


def deadline(room: Room) -> Seen:
    """The deadline passes while the client is alive, and the watchdog is not: the timer alone. Then what is left.

    The same disk under the same id must go off again at once; a copy of it under another id must not.
    """
    launch = Launch.now("i-first", ttl=room.short(), grace=600)
    disk = room.disk("deadline")
    with room.boot(disk, launch) as machine:
        armed(machine, launch)
        with living(machine, launch) as (connection, _):
            root(connection, "systemctl stop gputx-watchdog.service")
            seen = ["the timer alone, from the deadline: " + off_within(machine, launch.deadline, 0, 5)]
    with room.boot(disk, launch) as machine:
        machine.wait_off(BOOT_SECONDS)
        expect(not machine.said("boot-report: end"), f"came up past its deadline: {machine.console_path}")
        seen.append("started again past its deadline: off before it was up")

    second = Launch.now("i-second", ttl=room.short(), grace=600)
    with room.boot(room.disk("image", disk), second) as machine:
        found = armed(machine, second)
        expect(found.kept("i-first") == launch.deadline, "the copy has nothing of the first one's on its disk")
        seen.append("its copy under another id: up, with its own deadline beside the first one's")
        with living(machine, second):
            seen.append(shows_only(second, machine.port))
            ended = off_within(machine, second.deadline, 0, WATCH_SECONDS)
            seen.append("from the copy's own deadline: " + ended)

    third = Launch.now("i-third", ttl=HOUR, grace=GRACE)
    with room.boot(room.disk("foreign", disk), third, bare=True) as machine:
        found = report(machine)
        expect(not any(line.endswith(" is active") for line in found.lines), "something is armed without user-data")
        time.sleep(GRACE + 2 * WATCH_SECONDS)
        expect(machine.on, f"off without user-data: {machine.console_path}")
        return [*seen, f"its copy without our user-data: nothing armed, on for {GRACE + 2 * WATCH_SECONDS:.0f} s more"]


def reboot(room: Room) -> Seen:
    """A reboot keeps the deadline and starts the watchdog again; a killed watchdog comes back and ends it alone."""
    launch = Launch.now("i-reboot", ttl=2 * room.short(), grace=600)
    with room.boot(room.disk("reboot"), launch) as machine:
        before = armed(machine, launch)
        with client(machine, launch) as connection:
            root(connection, "systemd-run --quiet --on-active=1 systemctl reboot")
        after = armed(machine, launch, boot=2)
        expect(after.since > before.since, "the watchdog was not started again")
        seen = [f"deadline {launch.deadline - before.since:.0f} s off before and {launch.deadline - after.since:.0f} s"
                " after the reboot, the same instant; the watchdog runs again"]  # fmt: skip
        with living(machine, launch) as (connection, _):
            root(connection, "systemctl stop gputx-deadline.timer")
            killed = root(connection, "systemctl show --value -p MainPID gputx-watchdog.service")
            root(connection, f"kill -9 {killed}; sleep 2; systemctl is-active gputx-watchdog.service")
            now = root(connection, "systemctl show --value -p MainPID gputx-watchdog.service")
            expect(now not in {"0", killed}, f"the watchdog did not come back: {machine.console_path}")
            seen.append(f"watchdog {killed} killed, {now} in its place")
            ended = off_within(machine, launch.deadline, 0, WATCH_SECONDS)
            return [*seen, "the watchdog alone, from the deadline: " + ended]


def hanging_shutdown(room: Room) -> Seen:
    """A service that never stops holds the power-off up."""
    launch = Launch.now("i-hang", ttl=HOUR, grace=600)
    with room.boot(room.disk("hang"), launch, words="boot-check.hang") as machine:
        armed(machine, launch)
        with client(machine, launch) as connection:
            at = leave(connection, DONE_FILE, "")
        ended = machine.wait_off(90 + WATCH_SECONDS + OFF_SECONDS) - at
        held = machine.said("boot-hang.service/stop running")
        expect(bool(held), f"nothing held the power-off up: {machine.console_path}")
        expect(ended > 90, f"off after {ended:.0f} s: {machine.console_path}")
        return [f"off {ended:.0f} s after the word, with a service that never stops"]


def no_systemd_run(room: Room) -> Seen:
    """systemd is there and systemd-run fails: the boot goes on, and both locks hold by themselves."""
    seen = []
    launch = Launch.now("i-bare-silence", ttl=HOUR, grace=GRACE)
    with room.boot(room.disk("bare-silence"), launch, words="boot-check.no-systemd-run") as machine:
        hooked = machine.wait_for("Starting cloud-init.service", timeout=BOOT_SECONDS)[0] + machine.started
        found = report(machine)
        expect(not any(line.endswith(" is active") for line in found.lines), "systemd-run did not fail")
        seen.append("from cloud-init's start: " + off_within(machine, hooked, GRACE, GRACE + WATCH_SECONDS + 30))

    launch = Launch.now("i-bare-deadline", ttl=room.short(), grace=600)
    with room.boot(room.disk("bare-deadline"), launch, words="boot-check.no-systemd-run") as machine:
        report(machine)
        with living(machine, launch) as (connection, _):
            root(connection, "pkill -f [/]run/gputx-watchdog")
            ended = off_within(machine, launch.deadline, 0, 5)
            return [*seen, "the deadline alone, from it: " + ended]


def stuck_boot(room: Room) -> Seen:
    """The boot never gets past its first stage: no D-Bus, no logind, no sshd. Each lock must do without them."""
    seen = []
    launch = Launch.now("i-stuck-silence", ttl=HOUR, grace=GRACE)
    with room.boot(room.disk("stuck-silence"), launch, words="boot-check.stuck") as machine:
        hooked = machine.wait_for("Starting cloud-init.service", timeout=BOOT_SECONDS)[0] + machine.started
        seen.append("from cloud-init's start: " + off_within(machine, hooked, GRACE, GRACE + WATCH_SECONDS + 30))
        expect(not machine.said("Reached target sysinit.target"), f"was not stuck: {machine.console_path}")

    launch = Launch.now("i-stuck-deadline", ttl=room.short(), grace=600)
    with room.boot(room.disk("stuck-deadline"), launch, words="boot-check.stuck") as machine:
        ended = off_within(machine, launch.deadline, 0, WATCH_SECONDS)
        expect(bool(machine.said("Started gputx-deadline.service")), f"not by the timer: {machine.console_path}")
        return [*seen, "from the deadline: " + ended]


def clock_behind(room: Room) -> Seen:
    """The machine's clock is behind: the ttl counts from its first boot.

    systemd itself does not let it begin before its own release, so it is months, not a year.
    """
    launch = Launch.now("i-behind", ttl=room.short(), grace=600)
    year = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(time.time() - 365 * 86400))
    with room.boot(room.disk("behind"), launch, clock=year) as machine:
        found = report(machine)
        kept = found.kept(launch.instance_id)
        expect(kept is not None and kept < launch.deadline - 86400, f"keeps {kept}: {machine.console_path}")
        machine.wait_off(launch.ttl + OFF_SECONDS)
        at = time.time() - machine.started
        expect(at > launch.ttl, f"off {at:.0f} s after power-on: {machine.console_path}")
        return [f"off {at:.0f} s after power-on, with a ttl of {launch.ttl:.0f} s from first boot"]


def shows_only(launch: Launch, port: int) -> str:
    """See with OpenSSH's own tool that sshd has the launch's host key and no other. Raises BootError."""
    command = ["ssh-keyscan", "-T", "20", "-p", str(port), "127.0.0.1"]
    keys: set[str] = set()
    until = time.monotonic() + SLOW_SECONDS
    while not keys and time.monotonic() < until:
        scan = subprocess.run(command, capture_output=True, text=True, check=False)
        keys = {line.split(" ", 1)[1] for line in scan.stdout.splitlines() if not line.startswith("#")}
    expect(keys == {launch.host_key.public_openssh}, f"ssh-keyscan shows {keys}")
    return "ssh-keyscan shows the launch's host key and no other"


def began_early(connection: Connection, fetched: int) -> str:
    """See that the worker's stand-in ran once, as the login user, before sshd was started. Raises BootError."""
    began, user = connection.run("cat gputx/began").stdout.decode().split() or ("inf", "nobody")
    log = root(connection, "cat /var/log/gputx-early.log")
    expect(fetched == 1 and user == LOGIN, f"fetched {fetched} times, run by {user}: {log}")
    sshd = root(connection, "systemctl show --timestamp=unix --value -p ExecMainStartTimestamp ssh.service")
    ahead = float(sshd.lstrip("@")) - float(began)
    # Both wait for the one processor; sshd answers a second or more after its start.
    expect(ahead > -LATE_SECONDS, f"the worker was started {-ahead:.1f} s after sshd")
    return f"the payload was fetched once and run as {user}, {ahead:+.1f} s before sshd was started"


@contextmanager
def payload_server() -> Iterator[tuple[EarlyWorker, list[str]]]:
    """Serve a payload to guests; yields how to launch with it, and the paths that were asked for."""
    program = b"""import getpass, pathlib, time
pathlib.Path('gputx/began').write_text(f'{time.time()} {getpass.getuser()}')
"""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(program)

        def log_message(self, *_: object) -> None:
            return

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield (
            EarlyWorker(
                # qemu's name for this machine's loopback.
                url=f"http://10.0.2.2:{server.server_address[1]}/payload?signature=a%2Fb&expires=1",
                name="payload-check.pyz",
                sha256=hashlib.sha256(program).hexdigest(),
                command='"${TRANSCRIBE_ROOT:-/opt/transcribe}/venv/bin/python" gputx/payload-check.pyz serve',
            ),
            asked,
        )
    finally:
        server.shutdown()
        server.server_close()


ALL = (silence, heartbeats, done, deadline, reboot, hanging_shutdown, stuck_boot, no_systemd_run, clock_behind, serving)
CASES: dict[str, Callable[[Room], Seen]] = {case.__name__.replace("_", "-"): case for case in ALL}
