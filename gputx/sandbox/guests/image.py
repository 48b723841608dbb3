"""Images are directories: what a bake leaves behind, without gputx's own code."""

from __future__ import annotations

import hashlib
import json
import shlex
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path

CONTRACT = 1
LOGIN_USER = "ubuntu"


def make_base(directory: Path, *, python: Path) -> None:
    """Lay out the directory of a plain image, such as an operating system's maker publishes.

    Args:
        directory: made here; must not exist.
        python: an interpreter of this machine with torch and transformers, which nothing has to be installed for; the
            image has it as ``/opt/python/bin/python3``.

    Raises:
        FileExistsError: ``directory`` exists.
    """
    directory.mkdir(parents=True)
    _write_interpreter(directory / "opt" / "python" / "bin" / "python3", python)
    _make_folders(directory)


def make_image(directory: Path, *, model: Path, model_id: str, python: Path) -> str:
    """Lay out an image directory that keeps image contract 1 (docs/contracts.md).

    Args:
        directory: made here; must not exist.
        model: a Hugging Face model directory with ``model.safetensors``.
        model_id: the name the model goes by.
        python: an interpreter of this machine that has torch and transformers; the image refers to it.

    Returns:
        The model's revision: the SHA-256 of its weights, hexadecimal.

    Raises:
        FileExistsError: ``directory`` exists.
        FileNotFoundError: the model has no weights.
    """
    revision = hashlib.sha256((model / "model.safetensors").read_bytes()).hexdigest()
    root = directory / "opt" / "transcribe"
    (root / "cache").mkdir(parents=True)
    (root / "models").mkdir()
    shutil.copytree(model, root / "models" / "default", copy_function=shutil.copyfile)
    _write_interpreter(root / "venv" / "bin" / "python", python)
    manifest = {
        "contract": CONTRACT,
        "model": {"id": model_id, "revision": revision},
        "built_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    (root / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    (root / ".setup_complete").touch()
    _make_folders(directory)
    return revision


def _make_folders(directory: Path) -> None:
    for folder in (
        f"home/{LOGIN_USER}",
        "root",
        "run",
        "srv",
        "mnt",
        "etc",
        "var/log",
        "var/lib/cloud",
        "var/tmp",
    ):
        (directory / folder).mkdir(parents=True)
    (directory / "tmp").mkdir()
    for folder in ("tmp", "var/tmp"):
        (directory / folder).chmod(0o1777)


def copy_tree(source: Path, destination: Path) -> None:
    """Copy a directory with modes, times and links; blocks are shared where the file system can.

    Raises:
        subprocess.CalledProcessError: the copy failed half-way (disk full).
    """
    destination.mkdir(parents=True)
    sharing = ["--reflink=auto"] if _has_gnu_cp() else []
    subprocess.run(["cp", "-pPR", *sharing, f"{source}/.", f"{destination}/"], check=True, stdin=subprocess.DEVNULL)


def _has_gnu_cp() -> bool:
    version = subprocess.run(["cp", "--version"], capture_output=True, text=True, check=False)
    return version.returncode == 0 and "GNU" in version.stdout


def _write_interpreter(path: Path, python: Path) -> None:
    # The host's interpreter is the image's; nothing but its own site-packages may be on its path.
    text = f'#!/bin/sh\nunset PYTHONPATH PYTHONHOME\nPYTHONNOUSERSITE=1 exec {shlex.quote(str(python))} "$@"\n'
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    path.chmod(0o755)
