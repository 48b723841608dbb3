"""The locks: whole, hashed, at the versions that the tests run with, and one CUDA for all."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

import pytest

from gputx.ami.recipe import load, recipe_root

ROOT = Path(__file__).parents[3]
LOCKS = sorted((recipe_root() / "lock").glob("*.txt"))
PACKAGES = [lock for lock in LOCKS if lock.name != "python.txt"]
# What a module is called where the package is called otherwise.
MODULE_OF = {"huggingface-hub": "huggingface_hub", "llvmlite": "llvmlite"}


def pins(lock: Path) -> dict[str, str]:
    return dict(re.findall(r"(?m)^([a-z0-9.\-]+)==([^ ;\\]+)", lock.read_text(encoding="utf-8")))


def constraints() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pairs = (line.split("==") for line in lines if "==" in line and not line.startswith("#"))
    return {name.lower().replace("_", "-"): version for name, version in pairs}


@pytest.mark.parametrize("lock", PACKAGES, ids=lambda lock: lock.name)
def test_every_package_has_a_hash(lock: Path) -> None:
    text = lock.read_text(encoding="utf-8")
    entries = re.split(r"(?m)^(?=[a-z0-9])", text)[1:]
    assert len(entries) == len(pins(lock)) > 40
    assert [entry.splitlines()[0] for entry in entries if "--hash=sha256:" not in entry] == []


@pytest.mark.parametrize("lock", PACKAGES, ids=lambda lock: lock.name)
def test_versions_are_those_that_the_tests_run_with(lock: Path) -> None:
    known = constraints()
    other = {
        name: (version, known[name]) for name, version in pins(lock).items() if name in known and version != known[name]
    }
    # The last torch for CUDA 12, which CTranslate2 is built for: ami/lock/gpu-cu128.in says why.
    other.pop("torch", None) if lock.name.startswith("gpu-") else None
    assert other == {}


@pytest.mark.parametrize("lock", PACKAGES, ids=lambda lock: lock.name)
def test_the_lock_has_all_that_the_payload_imports(lock: Path) -> None:
    imported = set()
    for file in (ROOT / "remote" / "gputx_remote").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) and node.module and not node.level else []
            imported |= {name.split(".")[0] for name in names}
    foreign = {name for name in imported if name not in sys.stdlib_module_names and name != "gputx_remote"}
    assert foreign - {name.replace("-", "_") for name in pins(lock)} == set()


def test_one_cuda_for_all_on_a_gpu() -> None:
    (lock,) = (lock for lock in PACKAGES if lock.name.startswith("gpu-"))
    names = {name for name in pins(lock) if name.startswith("nvidia-")}
    assert names
    assert {name for name in names if not name.endswith("-cu12")} == set()
    # A build of its own, with CUDA libraries of its own.
    assert "onnxruntime-gpu" not in pins(lock)


def test_no_cuda_without_a_gpu() -> None:
    assert not [
        name for name in pins(recipe_root() / "lock" / "cpu.txt") if name.startswith(("nvidia-", "cuda-", "triton"))
    ]


def test_what_must_import_is_in_the_lock() -> None:
    for profile in ("t4", "cpu"):
        recipe = load(profile)
        locked = {name.replace("-", "_") for name in pins(recipe.root / "lock" / recipe.profile.lock)}
        assert set(recipe.profile.environment["MODULES"].split()) - locked == set()


def test_the_python_is_pinned() -> None:
    lines = (recipe_root() / "lock" / "python.txt").read_text(encoding="utf-8").splitlines()
    (line,) = (line for line in lines if not line.startswith("#"))
    version, sha256, *urls = line.split()
    assert version.startswith(load().profile.environment["PYTHON_VERSION"] + ".")
    assert re.fullmatch(r"[0-9a-f]{64}", sha256)
    assert urls
    assert all(url.startswith("https://") and version in url for url in urls)
