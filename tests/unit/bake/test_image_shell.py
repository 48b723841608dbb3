"""The steps as shell: what shellcheck and bashate say, and what a step says when something fails."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from gputx.ami.recipe import load, recipe_root

ROOT = recipe_root()
SCRIPTS = sorted(ROOT.rglob("*.sh"))
UNREACHABLE, FULL, CHANGED, UNFIT, MISSING = 10, 11, 12, 13, 14


BIN = Path(sys.executable).parent
BIN = Path(sys.executable).parent
CHECKERS = {
    "shellcheck": [str(BIN / "shellcheck")],
    "bashate": [str(BIN / "bashate"), "-i", "E006"],
}


@pytest.mark.parametrize("checker", CHECKERS.values(), ids=CHECKERS.keys())
def test_no_checker_of_shell_complains(checker: list[str]) -> None:
    # E006 is a line of 80 characters; ours have 120.
    checked = subprocess.run([*checker, *map(str, SCRIPTS)], check=False, capture_output=True, text=True, cwd=ROOT)
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")


@pytest.mark.parametrize(
    "script", [path for path in SCRIPTS if path.parent.name == "steps"], ids=lambda path: path.stem
)
def test_a_step_says_what_it_is_and_begins_and_ends_alike(script: Path) -> None:
    lines = script.read_text(encoding="utf-8").splitlines()
    assert lines[0] == "#!/usr/bin/env bash"
    assert lines[1].startswith("# ")
    code = [line for line in lines if line and not line.startswith("#")]
    assert code[0] == 'source "${AMI_ROOT:?}/lib.sh"'
    assert code[-1] == "main"
    assert max(map(len, lines)) <= 120


class Place:
    """Somewhere that steps can be run with programs of the system replaced."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "disk/opt/transcribe"
        self.root.mkdir(parents=True)
        self.ami = folder / "ami"
        self.programs = folder / "bin"
        self.programs.mkdir()
        for file in load("cpu").files(b""):
            target = self.ami / file.path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(file.data)

    def program(self, name: str, text: str) -> None:
        (self.programs / name).write_text(f"#!/bin/bash\n{text}\n", encoding="utf-8")
        (self.programs / name).chmod(0o755)

    def set(self, **values: str) -> None:
        with (self.ami / "profile.env").open("a", encoding="utf-8") as file:
            file.writelines(f"{name}='{value}'\n" for name, value in values.items())

    def run(self, script: str) -> subprocess.CompletedProcess[str]:
        """Some shell after lib.sh, or a step by its name."""
        step = self.ami / "steps" / f"{script}.sh"
        if not step.exists():
            step = self.ami / "trial.sh"
            step.write_text(f'source "${{AMI_ROOT:?}}/lib.sh"\n{script}\n', encoding="utf-8")
        environment = {
            "PATH": f"{self.programs}:{os.environ['PATH']}",
            "AMI_ROOT": str(self.ami),
            "TRANSCRIBE_ROOT": str(self.root),
        }
        return subprocess.run(
            ["bash", str(step)], check=False, capture_output=True, text=True, env=environment, stdin=subprocess.DEVNULL
        )


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def last(done: subprocess.CompletedProcess[str]) -> str:
    return done.stderr.strip().splitlines()[-1]


def test_another_architecture_is_refused(place: Place) -> None:
    place.program("uname", "echo aarch64")
    done = place.run("10-base")
    assert (done.returncode, last(done)) == (UNFIT, "10-base: this is a aarch64 machine, and the profile is for x86_64")


def test_a_mirror_that_is_down_is_the_mirror_s_fault(place: Place) -> None:
    place.set(NEEDS="/nowhere/at/all:xz-utils")
    place.program("dpkg-query", "exit 1")
    place.program("apt-get", "exit 100")
    done = place.run("10-base")
    assert done.returncode == UNREACHABLE
    assert "apt's mirror can't be reached" in last(done)


def test_a_package_that_the_archive_has_not_is_said_by_name(place: Place) -> None:
    place.set(NEEDS="/nowhere/at/all:no-such-package")
    place.program("dpkg-query", "exit 1")
    place.program("apt-get", "exit 0")
    place.program("apt-cache", "exit 100")
    done = place.run("10-base")
    assert (done.returncode, last(done)) == (UNFIT, "10-base: this system's archive has no package no-such-package")


def test_what_is_there_is_not_asked_for(place: Place) -> None:
    place.set(NEEDS="/nowhere/at/all|/bin/s?:dash /etc/passwd:passwd")
    place.program("apt-get", "exit 100")
    done = place.run("10-base")
    assert done.returncode == 0, done.stderr
    assert "all that is needed is there" in done.stdout


def test_a_full_disk_is_what_is_said_whatever_failed(place: Place) -> None:
    place.program("df", "echo Avail; echo 1024")
    done = place.run('false "writing something"')
    assert (done.returncode, last(done)) == (FULL, "trial: the disk is full: 1 MiB left")


def test_what_failed_is_said_with_its_line(place: Place) -> None:
    done = place.run("one() {\n    ls /nowhere/at/all\n}\none")
    assert done.returncode == 2
    assert "ls /nowhere/at/all" in last(done)


def test_nothing_of_the_caller_s_python_reaches_a_step(place: Place) -> None:
    place.ami.joinpath("profile.env").write_text("PYTHONHOME=/nowhere\nPYTHONPATH=/nowhere\n", encoding="utf-8")
    done = place.run('echo "[${PYTHONHOME-}${PYTHONPATH-}]"')
    assert done.returncode == 0


def test_no_python_that_will_do(place: Place) -> None:
    place.set(PYTHON_FROM="shared:/nowhere/at/all", PYTHON_VERSION="3.11")
    done = place.run("30-python")
    assert done.returncode == UNFIT
    assert "no Python 3.11 here" in last(done)


@pytest.mark.parametrize("step", ["40-packages", "50-model", "80-preread", "85-manifest", "90-seal"])
def test_a_step_that_misses_another_s_work_names_what_is_missing(place: Place, step: str) -> None:
    done = place.run(step)
    assert done.returncode == MISSING
    assert f"there is no {place.root}/" in done.stderr


def test_put_leaves_alone_what_is_as_it_should_be(place: Place) -> None:
    target = place.root / "there/is/a/file"
    place.run(f"echo text | put {target} 0755")
    before = target.stat()
    assert (target.read_text(), before.st_mode & 0o777) == ("text\n", 0o755)
    place.run(f"echo text | put {target} 0755")
    assert target.stat().st_ino == before.st_ino
    place.run(f"echo text | put {target} 0644")
    assert target.stat().st_mode & 0o777 == 0o644
    assert list(target.parent.iterdir()) == [target]


# Downloads

CONTENT = bytes(range(256)) * 4096


class Mirror(BaseHTTPRequestHandler):
    """Cuts the first answers short, as it was told to, and knows ranges."""

    cuts: list[int]
    asked: list[str | None]

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        self.asked.append(wanted)
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted else 0
        self.send_response(206 if wanted else 200)
        self.send_header("Content-Length", str(len(CONTENT) - start))
        if wanted:
            self.send_header("Content-Range", f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}")
        self.end_headers()
        stop = self.cuts.pop(0) if self.cuts else len(CONTENT)
        self.wfile.write(CONTENT[start:stop])
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture
def mirror() -> Iterator[tuple[type[Mirror], str]]:
    handler = type("Cutting", (Mirror,), {"cuts": [], "asked": []})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield handler, f"http://127.0.0.1:{server.server_port}/python.tar.gz"
        server.shutdown()
        thread.join()


def test_a_download_that_is_cut_goes_on_where_it_stopped(place: Place, mirror: tuple[type[Mirror], str]) -> None:
    handler, url = mirror
    handler.cuts.append(400_000)
    target, digest = place.root / "file", hashlib.sha256(CONTENT).hexdigest()
    # The first attempt is given up, as a step is when its machine goes; the next finds what it left.
    first = place.run(f'curl() {{ command curl "$@" --retry 0; }}; fetch {target} {digest} {url}')
    assert (first.returncode, target.exists()) == (UNREACHABLE, False)
    done = place.run(f"fetch {target} {digest} {url}")
    assert done.returncode == 0, done.stderr
    assert target.read_bytes() == CONTENT
    assert handler.asked == [None, "bytes=400000-"]


def test_a_download_that_is_not_what_was_pinned_is_thrown_away(place: Place, mirror: tuple[type[Mirror], str]) -> None:
    target = place.root / "file"
    done = place.run(f"fetch {target} {'0' * 64} {mirror[1]}")
    assert done.returncode == CHANGED
    assert re.search(r"file is not what was pinned: its sha256 is [0-9a-f]{64}, not 0{64}", last(done))
    assert not target.exists()


def test_the_second_mirror_is_asked_where_the_first_does_not_answer(
    place: Place, mirror: tuple[type[Mirror], str]
) -> None:
    target = place.root / "file"
    digest = hashlib.sha256(CONTENT).hexdigest()
    quick = 'curl() { command curl "$@" --retry 0; }'
    done = place.run(f"{quick}; fetch {target} {digest} http://127.0.0.1:9/python.tar.gz {mirror[1]}")
    assert done.returncode == 0, done.stderr


def test_a_mirror_that_can_not_be_reached(place: Place) -> None:
    quick = 'curl() { command curl "$@" --retry 0; }'
    done = place.run(f"{quick}; fetch {place.root}/file {'0' * 64} http://127.0.0.1:9/python.tar.gz")
    assert (done.returncode, last(done)) == (UNREACHABLE, "trial: could not fetch http://127.0.0.1:9/python.tar.gz")


# The lock, against pip itself


def test_a_package_that_is_not_what_the_lock_pins(place: Place, tmp_path: Path) -> None:
    python = place.root / "venv/bin/python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n', encoding="utf-8")
    python.chmod(0o755)
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    make_wheel(wheels / "gputx_trial-1.0-py3-none-any.whl")
    place.set(PIP_NO_INDEX="1", PIP_FIND_LINKS=str(wheels), PIP_TARGET=str(tmp_path / "target"))
    (place.ami / "lock/cpu.txt").write_text(f"gputx-trial==1.0 --hash=sha256:{'0' * 64}\n", encoding="utf-8")
    done = place.run("40-packages")
    assert done.returncode == CHANGED, done.stdout + done.stderr
    assert "a package is not what the lock pins" in last(done)


def make_wheel(path: Path) -> None:
    folder = "gputx_trial-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr(f"{folder}/METADATA", "Metadata-Version: 2.1\nName: gputx-trial\nVersion: 1.0\n")
        wheel.writestr(
            f"{folder}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{folder}/RECORD", "")
