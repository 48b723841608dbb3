"""The checks of an image, as a pytest of their own whose commands go over the connection that gputx has already.

A sealed builder lets nobody in who is not in yet, and testinfra's own way over SSH takes any host key. So pytest runs
here, in a process of its own, and asks us over a Unix socket to run each command (:mod:`gputx.workflows.check_plugin`).
"""

from __future__ import annotations

import base64
import importlib.util
import json
import os
import shutil
import socketserver
import subprocess
import sys
import tempfile
import threading
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gputx.clock import Stop
from gputx.errors import ConfigurationError, GputxError
from gputx.workflows.build_report import CheckReport, Fate

if TYPE_CHECKING:
    from gputx.ssh.connection import Connection

SOCKET_VARIABLE = "GPUTX_CHECK_SOCKET"
COMMAND_SECONDS = 900.0
"""The longest that one command of a check may take: on a fresh volume the first import reads from S3."""

_POLL_SECONDS = 0.2
_ENDED_WELL = (0, 1)
"""pytest's exit codes for "all passed" and "some failed"; any other means that it could not do its work."""


def need_checks() -> None:
    """See that the checks can be run, before anything is launched for them.

    Raises:
        ConfigurationError: what they need is not installed.
    """
    missing = [name for name in ("pytest", "testinfra") if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigurationError(
            f"the checks of an image need packages that are not installed: {', '.join(missing)}",
            hint="pip install 'gputx[bake]'",
        )


def run_checks(
    directory: Path,
    connection: Connection,
    *,
    environment: Mapping[str, str],
    junit: Path,
    log: Path,
    stop: Stop,
) -> tuple[CheckReport, ...]:
    """Run all checks of a directory on a machine.

    Args:
        environment: what the checks read of the recipe, beside this process's own environment; by it they know which of
            them do not apply.
        junit: written by pytest.
        log: what pytest says.

    Raises:
        GputxError: pytest could not do its work, or found no check.
        InterruptedBySignal: a stop was requested.
        InstanceLostError: the machine is gone.
    """
    command = [
        *(sys.executable, "-P", "-m", "pytest", str(directory), "-p", "gputx.workflows.check_plugin"),
        # Nothing of the person's own settings, and nothing left in the recipe's directory.
        *("-c", os.devnull, "--rootdir", str(directory), "-p", "no:cacheprovider", "-q", "--tb=short"),
        *("--hosts", "gputx://machine", f"--junitxml={junit}", "-o", "junit_family=xunit2"),
    ]
    with _broker(connection) as (socket, lost), log.open("wb") as said:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "AWS_"))}
        process = subprocess.Popen(
            command,
            env={**inherited, **environment, SOCKET_VARIABLE: socket, "PYTHONDONTWRITEBYTECODE": "1"},
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=subprocess.STDOUT,
            cwd=directory,
            process_group=0,
        )
        try:
            while process.poll() is None:
                stop.check()
                if lost:
                    raise lost[0]
                stop.wait(_POLL_SECONDS)
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()
        stop.check()
        if lost:
            raise lost[0]
    return _read(junit, log, process.returncode)


def _read(junit: Path, log: Path, status: int) -> tuple[CheckReport, ...]:
    if status not in _ENDED_WELL or not junit.is_file():
        last = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
        raise GputxError(
            f"the checks could not be run (pytest ended with {status}): {last[-1] if last else 'it said nothing'}",
            hint=f"what it said: {log}",
        )
    checks = tuple(_check(case) for case in ET.parse(junit).getroot().iter("testcase"))  # noqa: S314 - pytest's own
    if not any(check.fate is not Fate.NOT_RUN for check in checks):
        raise GputxError("no check was run, so nothing says that the image is good", hint=f"what pytest said: {log}")
    return checks


def _check(case: ET.Element) -> CheckReport:
    name = f"{case.get('classname', '').rpartition('.')[2]}::{case.get('name', '')}"
    name = name.replace("[gputx://machine]", "").replace("[gputx://machine-", "[")
    seconds = float(case.get("time", "0"))
    for tag, fate in (("failure", Fate.FAILED), ("error", Fate.FAILED), ("skipped", Fate.NOT_RUN)):
        if (told := case.find(tag)) is not None:
            why = (told.get("message") or "").strip().splitlines()
            return CheckReport(name, fate, seconds, why[0] if why else "")
    return CheckReport(name, Fate.PASSED, seconds)


class _Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True
    connection: Connection
    lost: list[GputxError]


class _Handler(socketserver.StreamRequestHandler):
    """One pytest process: a command a line, an answer a line."""

    server: _Server

    def handle(self) -> None:
        for line in self.rfile:
            self.wfile.write(json.dumps(self._answer(json.loads(line))).encode() + b"\n")

    def _answer(self, question: Mapping[str, Any]) -> dict[str, Any]:
        from gputx.ssh.errors import CommandTimeoutError  # noqa: PLC0415 - paramiko was imported while it booted

        try:
            done = self.server.connection.run(str(question["command"]), timeout=COMMAND_SECONDS)
        except CommandTimeoutError as error:
            return {"status": 124, "stdout": "", "stderr": _text(error.message.encode())}
        except GputxError as error:
            # No answer will come to any further command, so whoever waits for pytest has to know.
            self.server.lost.append(error)
            return {"status": 255, "stdout": "", "stderr": _text(error.message.encode())}
        return {"status": done.exit_status, "stdout": _text(done.stdout), "stderr": _text(done.stderr)}


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


@contextmanager
def _broker(connection: Connection) -> Iterator[tuple[str, list[GputxError]]]:
    """The socket that commands come in by, and a list of what ended the connection."""
    # Short: the path of a Unix socket may have about a hundred characters. And nobody else's to enter.
    directory = Path(tempfile.mkdtemp(prefix="gputx-"))
    try:
        with _Server(str(directory / "s"), _Handler) as server:
            server.connection, server.lost = connection, []
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, name="checks")
            thread.start()
            try:
                yield str(directory / "s"), server.lost
            finally:
                server.shutdown()
                thread.join()
    finally:
        shutil.rmtree(directory, ignore_errors=True)
