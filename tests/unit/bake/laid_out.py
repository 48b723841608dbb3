"""The recipe's CPU profile run in a directory instead of on a machine, as whoever runs the tests.

As in a sandbox's guest: the image's paths are below a directory, and the Python whose packages are used is this one.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from gputx.ami.recipe import Recipe, Step
from gputx.ssh.payload import build_payload

# `sudo`, as far as testinfra and the steps use it: whoever runs the tests owns the directory.
SUDO = """#!/bin/sh
while [ $# -gt 0 ]; do
    case $1 in
    -*) shift ;;
    *) break ;;
    esac
done
exec "$@"
"""


@dataclass(frozen=True)
class Machine:
    """A directory that an image is laid out in."""

    place: Path

    @classmethod
    def make(cls, place: Path, recipe: Recipe) -> Machine:
        """With what a plain system of the sandbox has, and the recipe's files."""
        for folder in (
            "bin",
            "disk/etc",
            "disk/home/ubuntu/.ssh",
            "disk/root",
            "disk/tmp",
            "disk/var/log",
            "disk/var/tmp",
        ):
            (place / folder).mkdir(parents=True)
        (place / "bin/sudo").write_text(SUDO, encoding="utf-8")
        (place / "bin/sudo").chmod(0o755)
        interpreter = place / "disk/opt/python/bin/python3"
        interpreter.parent.mkdir(parents=True)
        words = f'unset PYTHONPATH PYTHONHOME\nPYTHONNOUSERSITE=1 exec {shlex.quote(sys.executable)} "$@"\n'
        interpreter.write_text(f"#!/bin/sh\n{words}", encoding="utf-8")
        interpreter.chmod(0o755)
        # What a sealed image must not have.
        (place / "disk/home/ubuntu/.ssh/authorized_keys").write_text("ssh-ed25519 AAAA builder\n", encoding="utf-8")
        (place / "disk/var/log/cloud-init.log").write_text("said at the builder's boot\n", encoding="utf-8")
        (place / "disk/etc/machine-id").write_text("0123456789abcdef0123456789abcdef\n", encoding="utf-8")
        machine = cls(place)
        machine.upload(recipe)
        return machine

    def upload(self, recipe: Recipe) -> None:
        for file in recipe.files(build_payload().data):
            target = self.place / "ami" / file.path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(file.data)

    def copy(self, place: Path) -> Machine:
        subprocess.run(["cp", "-a", "--reflink=auto", str(self.place), str(place)], check=True)
        return Machine(place)

    @property
    def root(self) -> Path:
        return self.place / "disk/opt/transcribe"

    @property
    def environment(self) -> dict[str, str]:
        return {
            "PATH": f"{self.place / 'bin'}:{os.environ['PATH']}",
            "TRANSCRIBE_ROOT": str(self.root),
            "HOME": str(self.place / "disk/home/ubuntu"),
            "LANG": "C.UTF-8",
            # The modules are this checkout's; nothing is to be fetched.
            "PIP_NO_INDEX": "1",
            "PIP_CONFIG_FILE": os.devnull,
        }

    def run(self, step: Step) -> subprocess.CompletedProcess[str]:
        """One step, as a builder does it."""
        command = step.command(str(self.place / "ami"))
        return subprocess.run(
            ["bash", "-c", command],
            check=False,
            capture_output=True,
            text=True,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            cwd="/",
        )

    def check(self, recipe: Recipe, *arguments: str) -> subprocess.CompletedProcess[str]:
        """The recipe's checks, here, as `gputx build-ami` runs them on a builder."""
        command = [
            sys.executable,
            "-P",
            "-m",
            "pytest",
            "-c",
            os.devnull,
            "-p",
            "no:cacheprovider",
            "-q",
            "--no-header",
        ]
        command += ["--rootdir", str(recipe.checks), "--hosts", "local://", "--tb=short", *arguments]
        environment = {
            **self.environment,
            **recipe.environment(),
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
            "PYTHONDONTWRITEBYTECODE": "1",
            "GPUTX_CHECKED": "builder",
        }
        return subprocess.run(
            command,
            check=False,
            capture_output=True,
            text=True,
            env=environment,
            cwd=recipe.checks,
            stdin=subprocess.DEVNULL,
        )
