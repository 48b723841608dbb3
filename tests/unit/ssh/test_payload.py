"""The zip that an instance runs: the same bytes from the same files, and it runs."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from io import BytesIO
from pathlib import Path

import pytest

from gputx.ssh.payload import Payload, build_payload

MAIN = """
import sys

from gputx_remote.words import GREETING


def main() -> int:
    print(GREETING, *sys.argv[1:])
    return 7
"""


@pytest.fixture
def package(tmp_path: Path) -> Path:
    root = tmp_path / "gputx_remote"
    (root / "deep").mkdir(parents=True)
    (root / "__init__.py").write_text("")
    (root / "__main__.py").write_text(MAIN)
    (root / "words.py").write_text("GREETING = 'hej'\n")
    (root / "deep" / "__init__.py").write_text("")
    return root


def names(payload: Payload) -> list[str]:
    with zipfile.ZipFile(BytesIO(payload.data)) as archive:
        return archive.namelist()


def test_the_same_files_give_the_same_bytes(package: Path, tmp_path: Path) -> None:
    first = build_payload(package)
    elsewhere = tmp_path / "another" / "gputx_remote"
    shutil.copytree(package, elsewhere)
    for file in elsewhere.rglob("*.py"):
        os.utime(file, (0, 0))
    (elsewhere / "__pycache__").mkdir()
    (elsewhere / "__pycache__" / "words.cpython-311.pyc").write_bytes(b"\0")
    (elsewhere / ".hidden").write_text("")
    assert build_payload(elsewhere) == first


def test_it_is_named_by_its_content(package: Path) -> None:
    before = build_payload(package)
    assert before.sha256 == hashlib.sha256(before.data).hexdigest()
    assert before.name == f"payload-{before.sha256[:16]}.pyz"
    (package / "words.py").write_text("GREETING = 'hallå'\n")
    assert build_payload(package).name != before.name


def test_python_runs_it_and_gets_its_exit_status(package: Path, tmp_path: Path) -> None:
    payload = build_payload(package)
    file = tmp_path / payload.name
    file.write_bytes(payload.data)
    ran = subprocess.run(
        [sys.executable, "-I", str(file), "worker"], check=False, capture_output=True, text=True, cwd="/"
    )
    assert (ran.returncode, ran.stdout, ran.stderr) == (7, "hej worker\n", "")


def test_the_installed_package_is_found_without_importing_it() -> None:
    script = (
        "import sys\n"
        "from gputx.ssh.payload import build_payload\n"
        "build_payload()\n"
        "print([name for name in ('gputx_remote', 'torch', 'paramiko') if name in sys.modules])\n"
    )
    ran = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert ran.stdout == "[]\n"


def test_the_real_one_holds_the_whole_package_and_explains_itself(tmp_path: Path) -> None:
    payload = build_payload()
    assert {"__main__.py", "gputx_remote/__init__.py", "gputx_remote/transcript.py"} <= set(names(payload))
    assert not [name for name in names(payload) if "__pycache__" in name]
    file = tmp_path / payload.name
    file.write_bytes(payload.data)
    ran = subprocess.run([sys.executable, "-I", str(file), "--help"], check=False, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert "worker" in ran.stdout
