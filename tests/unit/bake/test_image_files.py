"""What an image brings: pre-read and its list, the watchdog of the unarmed; and what is taken out of its venv."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from gputx.ami.recipe import load, recipe_root
from gputx.ssh.payload import build_payload

FILES = recipe_root() / "files"
MIB = 2**20


def preread(listed: Path, *arguments: str) -> str:
    command = [sys.executable, "-I", "-S", str(FILES / "preread.py"), str(listed), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@pytest.mark.parametrize("readers", ["1", "32"])
def test_the_preread_reads_every_part(tmp_path: Path, readers: str) -> None:
    big, small = tmp_path / "a big one", tmp_path / "small"
    big.write_bytes(os.urandom(5 * MIB + 17))
    small.write_bytes(b"x" * 100)
    listed = tmp_path / "list"
    listed.write_text(f"0\t{big.stat().st_size}\t{big}\n0\t100\t{small}\n{MIB}\t{MIB}\t{big}\n", encoding="utf-8")
    said = preread(listed, readers)
    assert said.startswith("read ahead 6 MiB in ")
    assert said.endswith(f"with {readers} readers; 0 parts could not be read\n")


def test_the_preread_goes_on_past_what_is_gone(tmp_path: Path) -> None:
    there = tmp_path / "there"
    there.write_bytes(b"x" * MIB)
    listed = tmp_path / "list"
    listed.write_text(f"0\t10\t/nowhere/at/all\n0\t{MIB}\t{there}\n", encoding="utf-8")
    assert preread(listed).startswith("read ahead 1 MiB")
    assert "; 1 parts could not be read" in preread(listed)


@pytest.mark.skipif(sys.platform != "linux", reason="inotify is Linux's")
def test_the_list_has_what_was_read_in_its_order_and_nothing_else(tmp_path: Path) -> None:
    """With a stand-in for the transcript that reads one file, then a part of another."""
    root = tmp_path / "opt/transcribe"
    (root / "models/default").mkdir(parents=True)
    (root / "venv/lib").mkdir(parents=True)
    for name in ("venv/lib/first", "models/default/second", "venv/lib/never"):
        (root / name).write_bytes(os.urandom(8 * MIB))
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "record.py").write_bytes((FILES / "record.py").read_bytes())
    (tools / "transcribe.py").write_text(
        "import os, sys\n"
        "root = os.path.dirname(os.path.dirname(sys.argv[1]))\n"
        "open(f'{root}/venv/lib/first', 'rb').read()\n"
        "file = os.open(f'{root}/models/default/second', os.O_RDONLY)\n"
        "os.posix_fadvise(file, 0, 0, os.POSIX_FADV_RANDOM)\n"
        "os.pread(file, 4096, 4 * 2**20)\n",
        encoding="utf-8",
    )
    done = subprocess.run(
        [sys.executable, str(tools / "record.py"), str(root), "sample.flac", "cpu"],
        check=True,
        capture_output=True,
        text=True,
    )
    lines = [line.split("\t") for line in done.stdout.splitlines()]
    assert [path for _, _, path in lines if path.startswith(str(root))] == []
    ours = [(path, int(start), int(length)) for start, length, path in lines if not path.startswith("/")]
    assert ours[0] == ("venv/lib/first", 0, 8 * MIB)
    parts = {name: (start, length) for name, start, length in ours}
    start, length = parts["models/default/second"]
    assert start <= 4 * MIB < start + length
    assert length < 8 * MIB
    assert "venv/lib/never" not in parts
    assert not [path.name for path in root.rglob(".gputx*")]


@pytest.mark.parametrize(
    ("armed", "kept", "logged_in", "off"),
    [
        (False, False, "", True),
        (True, False, "", False),
        (False, True, "", False),
        (False, False, "ubuntu pts/0", False),
    ],
)
def test_only_an_instance_that_nobody_armed_and_nobody_uses_is_ended(
    tmp_path: Path, armed: bool, kept: bool, logged_in: str, off: bool
) -> None:
    text = (FILES / "unarmed.sh").read_text(encoding="utf-8")
    assert "/var/lib/gputx/deadline-*" in text  # where user-data keeps it: gputx/aws/userdata.py
    script = text.replace("/run/gputx", f"{tmp_path}/run").replace("/var/lib/gputx", f"{tmp_path}/lib")
    for folder in ("run", "lib", "bin"):
        (tmp_path / folder).mkdir()
    if armed:
        (tmp_path / "lib/deadline-i-1").write_text("1")
    if kept:
        (tmp_path / "run/keep").touch()
    for name, does in (("who", f"printf '%s' '{logged_in}'"), ("systemctl", f"echo $1 > {tmp_path}/done")):
        (tmp_path / "bin" / name).write_text(f"#!/bin/sh\n{does}\n", encoding="utf-8")
        (tmp_path / "bin" / name).chmod(0o755)
    path = f"{tmp_path}/bin:{os.environ['PATH']}"
    subprocess.run(["sh", "-c", script], check=True, capture_output=True, env={"PATH": path})
    assert (tmp_path / "done").exists() == off


def test_user_data_keeps_its_deadline_where_the_watchdog_looks() -> None:
    from gputx.aws import userdata  # noqa: PLC0415

    built = userdata.build(ttl=60, deadline=0, grace=60, host_private="k", host_public="k", user="ubuntu", early=None)
    assert "/var/lib/gputx/deadline-" in built


def test_what_a_run_never_reads_is_taken_out(tmp_path: Path) -> None:
    keep = ("numpy/testing/a.py", "torch/lib/libtorch.so", "nvidia/cublas/lib/libcublas.so.12", "numpy/core.py")
    lose = (
        "numpy/tests/a.py",
        "torch/include/a.h",
        "torch/bin/protoc",
        "nvidia/cusolver/lib/libcusolverMg.so.11",
        "nvidia/cuda_nvrtc/lib/libnvrtc.alt.so.12",
        "nvidia/nvshmem/lib/libnvshmem_device.a",
    )
    for name in (*keep, *lose):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x" * MIB)
    said = subprocess.run(
        [sys.executable, str(FILES / "slim.py"), str(tmp_path)], check=True, capture_output=True, text=True
    )
    left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert left == set(keep)
    assert said.stdout.splitlines()[-1].split() == ["6.0", "MiB", "in", "all"]


def test_the_sample_is_transcribed_and_timed(tmp_path: Path) -> None:
    model = load("cpu").model_files["config.json"].parent
    payload = tmp_path / "payload.pyz"
    payload.write_bytes(build_payload().data)
    command = [sys.executable, str(FILES / "transcribe.py"), str(model), str(FILES / "sample.flac"), "cpu"]
    environment = {**os.environ, "PYTHONPATH": str(payload)}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    said = json.loads(done.stdout.splitlines()[-1])
    assert 0 < said["ready"] <= said["first"] <= said["whole"]
    assert "Ordföranden kan köpa cykeln" in said["text"]
    assert said["device"] == "cpu"
