"""A pytest plugin: testinfra's commands run in a room; `--hosts room://` with ROOM_BASE and ROOM_PLACE."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import room as rooms
from testinfra import backend
from testinfra.backend.base import BaseBackend, CommandResult


class RoomBackend(BaseBackend):
    NAME = "room"

    def __init__(self, hostspec: str, *args: Any, **kwargs: Any) -> None:
        super().__init__(hostspec, *args, **kwargs)
        self._room = rooms.Room(Path(os.environ["ROOM_BASE"]), Path(os.environ["ROOM_PLACE"]))

    def run(self, command: str, *args: str, **_: Any) -> CommandResult:
        whole = self.get_command(command, *args)
        done = self._room.run(rooms.as_user(whole))
        return self.result(done.returncode, self.encode(whole), done.stdout, done.stderr)


backend.BACKENDS[RoomBackend.NAME] = f"{__name__}.{RoomBackend.__qualname__}"
