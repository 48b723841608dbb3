"""What a machine says of itself, and what a process has needed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from gputx_remote import machine
from gputx_remote.engine import loading
from gputx_remote.engine.choice import BY_SPEED, Choice


def test_the_peak_stays_after_the_memory_is_given_back() -> None:
    before = machine.peak_memory()
    held = bytearray(os.urandom(1 << 20)) * 200
    assert machine.peak_memory() >= before - (8 << 20)
    grown = machine.peak_memory()
    assert grown >= 200 << 20
    del held
    assert machine.peak_memory() == pytest.approx(grown, rel=0.05)


def test_a_process_does_not_count_what_started_it(payload: Path) -> None:
    held = bytearray(os.urandom(1 << 20)) * 300
    code = "import gputx_remote.machine as machine; print(machine.peak_memory())"
    done = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": str(payload)}, capture_output=True, text=True, check=True
    )
    assert 1 << 20 < int(done.stdout) < 100 << 20 < len(held)


def test_where_the_kernel_does_not_say_getrusage_does(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(*_: Any, **__: Any) -> str:
        raise FileNotFoundError

    monkeypatch.setattr(Path, "read_text", absent)
    usage = SimpleNamespace(ru_maxrss=5000)
    monkeypatch.setattr(machine.resource, "getrusage", lambda _: usage)
    monkeypatch.setattr(sys, "platform", "linux")
    assert machine.peak_memory() == 5000 * 1024
    monkeypatch.setattr(sys, "platform", "darwin")
    assert machine.peak_memory() == 5000


def test_gpu_memory_is_what_torch_counted_where_it_used_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = SimpleNamespace(is_initialized=lambda: False, max_memory_allocated=lambda: 1 << 30)
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))
    assert machine.peak_gpu_memory() is None
    cuda.is_initialized = lambda: True
    assert machine.peak_gpu_memory() == 1 << 30
    monkeypatch.delitem(sys.modules, "torch")
    assert machine.peak_gpu_memory() is None


def test_a_gpu_is_named_by_its_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    said = SimpleNamespace(returncode=0, stdout="Tesla T4\nTesla T4\n")
    monkeypatch.setattr(machine.subprocess, "run", lambda *_, **__: said)
    assert machine.describe("cuda")["gpu"] == "Tesla T4"
    assert machine.describe("cpu")["gpu"] is None
    said.returncode = 9
    assert machine.describe("cuda")["gpu"] is None


def test_a_processor_that_multiplies_bytes_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    said = "flags\t\t: fpu avx512f avx512_vnni avx512_bf16\n"
    monkeypatch.setattr(machine.Path, "read_text", lambda *_, **__: said)
    assert machine.multiplies_bytes()
    said = "flags\t\t: fpu avx2 avx_vnni\nmodel name\t: avx512_vnni\n"
    assert not machine.multiplies_bytes()


def test_an_offer_names_what_is_missing_and_what_then_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "_cuda", lambda: False)
    monkeypatch.setattr(loading, "_missing", lambda name: ["ctranslate2"] if name == "ctranslate2" else [])
    monkeypatch.setattr(loading, "_pays", lambda model, importing: False)
    found = loading.offer()
    assert (found.device, found.missing) == ("cpu", {"ctranslate2": ["ctranslate2"]})
    assert found.default is not None
    assert found.default.decoder != "ctranslate2"
    monkeypatch.setattr(loading, "_missing", lambda name: ["tokenizers"])
    assert loading.offer().default is None
    assert set(loading.offer().missing) == set(loading.NEEDS)


def test_engines_are_said_as_one_event_by_the_zip(payload: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-I", str(payload), "engines"], capture_output=True, text=True, check=True, timeout=60
    )
    hello, engines = (json.loads(line) for line in done.stdout.splitlines())
    assert hello["event"] == "hello"
    assert engines["event"] == "engines"
    default = Choice(**engines["default"])
    assert default == default.on(engines["device"])
    assert default.decoder in BY_SPEED
    assert engines["machine"]["cores"] >= 1
    assert engines["machine"]["memory"] > 1 << 28
