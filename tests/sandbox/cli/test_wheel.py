"""The built wheel, in a new environment and an empty directory: nothing of the checkout is needed to run."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest
from product import HELD_OUT, REFERENCES, wer

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]


def test_an_installed_wheel_runs_the_sandbox_from_an_empty_directory(tmp_path: Path) -> None:
    source = tmp_path / "source"
    ignored = shutil.ignore_patterns(".git", ".venv", "build", "dist", "held-out", "__pycache__", ".*_cache")
    shutil.copytree(ROOT, source, ignore=ignored)
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", tmp_path / "dist", source]
    subprocess.run(build, check=True, capture_output=True, text=True)
    (wheel,) = (tmp_path / "dist").glob("gputx-*.whl")

    environment = tmp_path / "venv"
    venv.create(environment, with_pip=True)
    python = environment / "bin" / "python"
    give_dependencies(python)
    pip = [python, "-m", "pip", "install", "--no-index", "--no-deps", "--quiet", wheel]
    subprocess.run(pip, check=True, capture_output=True, text=True, env={"PATH": os.environ["PATH"]})

    empty = tmp_path / "empty"
    empty.mkdir()
    environ = {"PATH": os.environ["PATH"], "HOME": str(empty), "LANG": "C.UTF-8", "HF_HUB_OFFLINE": "1"}
    command = [environment / "bin" / "gputx", "run", "--on", "sandbox", HELD_OUT / "clip03.flac"]
    ended = subprocess.run(command, cwd=empty, env=environ, capture_output=True, text=True, check=False, timeout=240)

    assert ended.returncode == 0, ended.stderr
    assert wer(REFERENCES["clip03.flac"], ended.stdout) <= 0.10
    assert (empty / "clip03.txt").read_text(encoding="utf-8") == ended.stdout
    where = subprocess.run(
        [python, "-c", "import gputx, gputx_remote; print(gputx.__file__, gputx_remote.__file__)"],
        cwd=empty,
        env=environ,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert all(Path(path).is_relative_to(environment) for path in where)


def give_dependencies(python: Path) -> None:
    """Put everything this environment has, but gputx, into the new one: hard links, as no registry may be asked."""
    here = Path(sysconfig.get_path("purelib"))
    query = [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    there = Path(subprocess.run(query, check=True, capture_output=True, text=True).stdout.strip())
    for item in here.iterdir():
        if "gputx" in item.name.lower() or item.name.startswith(("pip", "setuptools", "__")):
            continue
        if item.is_dir():
            shutil.copytree(item, there / item.name, copy_function=link_or_copy, dirs_exist_ok=True)
        else:
            link_or_copy(str(item), str(there / item.name))


def link_or_copy(source: str, target: str) -> str:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
    return target
