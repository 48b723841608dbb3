"""A pytest plugin: testinfra's commands go to the gputx that started this pytest, which has the connection.

Loaded with ``-p``; then ``--hosts gputx://machine`` is the machine that gputx is connected to.
"""

from __future__ import annotations

import base64
import json
import os
import socket
from typing import Any

from testinfra import backend
from testinfra.backend.base import BaseBackend, CommandResult


class GputxBackend(BaseBackend):  # type: ignore[misc]  # testinfra is untyped
    """Asks for one command after the other over the socket that the environment names."""

    NAME = "gputx"

    def __init__(self, hostspec: str, *args: Any, **kwargs: Any) -> None:
        super().__init__(hostspec, *args, **kwargs)
        from gputx.workflows.check_broker import SOCKET_VARIABLE  # noqa: PLC0415 - not for who only collects

        connected = socket.socket(socket.AF_UNIX)
        connected.connect(os.environ[SOCKET_VARIABLE])
        self._stream = connected.makefile("rwb")

    def run(self, command: str, *args: str, **_: Any) -> CommandResult:
        whole = self.get_command(command, *args)
        self._stream.write(json.dumps({"command": whole}).encode() + b"\n")
        self._stream.flush()
        answer = json.loads(self._stream.readline())
        out, err = (base64.b64decode(answer[name]) for name in ("stdout", "stderr"))
        return self.result(answer["status"], self.encode(whole), out, err)


backend.BACKENDS[GputxBackend.NAME] = f"{__name__}.{GputxBackend.__qualname__}"
