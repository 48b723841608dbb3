"""Runs user-data in cloud-init's stages, with its files, its order and its once-per-instance rule."""

from __future__ import annotations

import asyncio
import base64
import gzip
import os
import shlex
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import cast

import yaml

from .processes import Processes
from .system import System
from .userdata import Part, parts

_KNOWN = {"bootcmd", "runcmd", "ssh_authorized_keys", "ssh_keys", "write_files"}
_ROOT_SCRIPT_MODE = 0o700


class CloudInit:
    """The user-data of one instance.

    Args:
        say: writes a line on the console.
        output: takes what the scripts print; it goes to the console and to cloud-init-output.log.
    """

    def __init__(
        self,
        system: System,
        processes: Processes,
        user_data: bytes,
        *,
        say: Callable[[str], None],
        output: Callable[[bytes], None],
    ) -> None:
        self._system = system
        self._processes = processes
        self._say = say
        self._output = output
        self._state = system.path(f"/var/lib/cloud/instances/{system.instance_id}")
        (self._state / "sem").mkdir(parents=True, exist_ok=True)
        (self._state / "scripts").mkdir(exist_ok=True)
        (self._state / "user-data.txt").write_bytes(user_data)
        current = self._state.parent.parent / "instance"
        current.unlink(missing_ok=True)
        current.symlink_to(self._state)
        self._parts = self._read(user_data)
        self.config = self._merge()

    async def early(self) -> None:
        """What comes before sshd: boot hooks and ``bootcmd`` at each boot, ``write_files`` at the first."""
        for part in self._of_kind("boothook"):
            body = part.content.lstrip().removeprefix(b"#cloud-boothook").lstrip(b"\r\n")
            await self._run(self._script(f"boothook-{part.name}", body), "boothook")
        if commands := self._list("bootcmd"):
            await self._run(self._script("bootcmd", _shell_script(commands)), "bootcmd")
        if self.once("config_write_files"):
            for entry in self._list("write_files"):
                self._write_file(entry)

    async def final(self) -> None:
        """What runs while people log in already: scripts and ``runcmd``, once per instance."""
        if not self.once("config_scripts_user"):
            return
        scripts = {part.name: part.content for part in self._of_kind("script")}
        if commands := self._list("runcmd"):
            scripts["runcmd"] = _shell_script(commands)
        # run-parts goes by name, which is why runcmd comes after part-001
        for name in sorted(scripts):
            await self._run(self._script(name, scripts[name]), "script")

    @property
    def host_key(self) -> str | None:
        """The private ed25519 host key that user-data brings, if any."""
        keys = self.config.get("ssh_keys")
        key = keys.get("ed25519_private") if isinstance(keys, Mapping) else None
        return key if isinstance(key, str) else None

    @property
    def authorized_keys(self) -> tuple[str, ...]:
        return tuple(key for key in self._list("ssh_authorized_keys") if isinstance(key, str))

    def once(self, name: str) -> bool:
        """Whether this is the first time for this instance that ``name`` is done."""
        mark = self._state / "sem" / name
        if mark.exists():
            return False
        mark.touch()
        return True

    def _read(self, user_data: bytes) -> tuple[Part, ...]:
        try:
            found = parts(user_data)
        except ValueError as error:
            self._warn(str(error))
            return ()
        for part in found:
            if part.kind == "unknown":
                self._warn(f"Unhandled non-multipart (text/x-not-multipart) userdata: {part.content[:24]!r}...")
        return found

    def _merge(self) -> dict[str, object]:
        merged: dict[str, object] = {}
        for part in self._of_kind("config"):
            try:
                config = yaml.safe_load(part.content)
            except yaml.YAMLError as error:
                self._warn(f"Failed loading yaml blob in {part.name}: {error}")
                continue
            if isinstance(config, Mapping):
                merged |= {str(key): value for key, value in config.items()}
            elif config is not None:
                self._warn(f"Failed loading yaml blob in {part.name}: not a mapping")
        for key in sorted(merged.keys() - _KNOWN):
            self._warn(f"cloud-config key {key!r} is not known to this guest and was ignored")
        return merged

    def _of_kind(self, kind: str) -> list[Part]:
        return [part for part in self._parts if part.kind == kind]

    def _list(self, key: str) -> list[object]:
        value = self.config.get(key, [])
        if isinstance(value, list):
            return value
        self._warn(f"{key} should be a list")
        return []

    def _script(self, name: str, body: bytes) -> Path:
        path = self._state / "scripts" / Path(name).name
        path.write_bytes(body)
        path.chmod(_ROOT_SCRIPT_MODE)
        return path

    async def _run(self, script: Path, what: str) -> None:
        environment = self._system.environment(user="root") | {"INSTANCE_ID": self._system.instance_id}
        receiving, sending = os.pipe()
        try:
            _, exited = self._processes.spawn(
                [str(script)],
                environment=environment,
                directory=self._system.root,
                stdout=sending,
                stderr=subprocess.STDOUT,
            )
        except OSError as error:
            os.close(receiving)
            self._warn(f"Failed to run {what} {script.name}: {error.strerror}")
            return
        finally:
            os.close(sending)
        await asyncio.get_running_loop().connect_read_pipe(
            lambda: _Output(self._output), os.fdopen(receiving, "rb", buffering=0)
        )
        if status := await exited:
            self._warn(f"Failed running {script} [{status}]")

    def _write_file(self, entry: object) -> None:
        try:
            fields = cast(Mapping[str, object], entry)
            content = _decoded(str(fields.get("content", "")), str(fields.get("encoding", "text/plain")))
            path = self._system.path(str(fields["path"]))
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("ab" if fields.get("append") else "wb") as file:
                file.write(content)
            path.chmod(int(str(fields.get("permissions", "0644")), 8))
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            self._warn(f"write_files: entry not written: {error!r}")

    def _warn(self, text: str) -> None:
        self._say(f"cloud-init[1]: [WARNING]: {text}")


class _Output(asyncio.Protocol):
    def __init__(self, sink: Callable[[bytes], None]) -> None:
        self._sink = sink

    def data_received(self, data: bytes) -> None:
        self._sink(data)


def _shell_script(commands: Sequence[object]) -> bytes:
    lines = [
        shlex.join(str(word) for word in command) if isinstance(command, list) else str(command) for command in commands
    ]
    return "\n".join(["#!/bin/sh", *lines, ""]).encode("utf-8")


def _decoded(content: str, encoding: str) -> bytes:
    match encoding.lower():
        case "text/plain":
            return content.encode("utf-8")
        case "b64" | "base64":
            return base64.b64decode(content)
        case "gz+b64" | "gzip+base64" | "gz+base64" | "gzip+b64":
            return gzip.decompress(base64.b64decode(content))
    raise ValueError(f"encoding {encoding} is not known")
