"""The model of an image: fetched from a hub on loopback that cuts, lies and forgets; halved, converted, resumed."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from gputx.ami.recipe import load, recipe_root

pytestmark = pytest.mark.slow

COMMIT = "0123456789abcdef0123456789abcdef01234567"
ID = "KBLab/kb-whisper-small"
TINY = load("cpu").model_files
ROOT = Path(__file__).parents[3]
UNREACHABLE, CHANGED = 10, 12


@dataclass
class Hub:
    """What the hub has of one commit, and how it misbehaves."""

    files: dict[str, bytes]
    cut: dict[str, int] = field(default_factory=dict)
    """File → bytes after which its next answer ends."""

    lies: dict[str, bytes] = field(default_factory=dict)
    """File → what is sent instead."""

    commit: str = COMMIT
    asked: list[tuple[str, str | None]] = field(default_factory=list)

    def described(self) -> dict[str, Any]:
        return {"id": ID, "sha": self.commit, "siblings": [self._sibling(name) for name in self.files]}

    def _sibling(self, name: str) -> dict[str, Any]:
        data = self.files[name]
        blob = hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
        about: dict[str, Any] = {"rfilename": name, "size": len(data), "blobId": blob}
        if name.endswith(".safetensors"):
            about["lfs"] = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 134}
        return about


class Answers(BaseHTTPRequestHandler):
    hub: Hub

    def do_GET(self) -> None:
        if self.path.startswith("/api/models/"):
            self._json(self.hub.described())
        else:
            self._answer()

    def _json(self, value: object) -> None:
        data = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _answer(self) -> None:
        name = self.path.partition(f"/resolve/{COMMIT}/")[2].partition("?")[0]
        if name not in self.hub.files:
            self.send_response(404)
            self.send_header("X-Error-Code", "EntryNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        data = self.hub.lies.get(name, self.hub.files[name])
        wanted = self.headers.get("Range")
        start = int(wanted.removeprefix("bytes=").partition("-")[0]) if wanted else 0
        self.hub.asked.append((name, wanted))
        self.send_response(206 if wanted else 200)
        self.send_header("Content-Length", str(len(data) - start))
        if wanted:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", f'"{hashlib.sha256(self.hub.files[name]).hexdigest()}"')
        self.end_headers()
        self.wfile.write(data[start : self.hub.cut.pop(name, len(data))])
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[tuple[Hub, str]]:
    """A hub that has the tiny model in full precision."""
    whole = tmp_path / "full.safetensors"
    save_file({name: value.float() for name, value in load_file(TINY["model.safetensors"]).items()}, whole)
    files = {name: path.read_bytes() for name, path in TINY.items()} | {"model.safetensors": whole.read_bytes()}
    handler = type("Answers", (Answers,), {"hub": Hub(files)})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield handler.hub, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def make(target: Path, **values: str) -> subprocess.CompletedProcess[str]:
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT / "remote"),
        "HOME": str(target.parent),
        "HF_HOME": str(target.parent / "hub"),
        "MODEL": ID,
        "MODEL_REVISION": COMMIT,
        "MODEL_SOURCE": "hub",
        "MODEL_SHA256": "",
        **values,
    }
    command = [sys.executable, str(recipe_root() / "files/model.py"), str(target)]
    return subprocess.run(command, check=False, capture_output=True, text=True, env=environment)


def test_fetched_checked_halved_and_converted(hub: tuple[Hub, str], tmp_path: Path) -> None:
    target = tmp_path / "models/default"
    done = make(target, HF_ENDPOINT=hub[1])
    assert done.returncode == 0, done.stderr
    weights, before = load_file(target / "model.safetensors"), load_file(TINY["model.safetensors"])
    assert {value.dtype for value in weights.values()} == {torch.float16}
    assert all(torch.equal(value, before[name]) for name, value in weights.items())
    assert json.loads((target / "config.json").read_text())["dtype"] == "float16"
    origin = json.loads((target / "origin.json").read_text())
    assert origin["of"] == {"model": ID, "revision": COMMIT, "precision": "float16"}
    (conversion,) = (target / "ctranslate2").iterdir()
    assert json.loads((conversion / "gputx.json").read_text())["revision"] == COMMIT
    assert [path.name for path in target.parent.iterdir()] == ["default"]


def test_a_download_that_is_cut_goes_on_where_it_stopped(hub: tuple[Hub, str], tmp_path: Path) -> None:
    target = tmp_path / "models/default"
    hub[0].cut["model.safetensors"] = 3_000_000
    first = make(target, HF_ENDPOINT=hub[1], RETRIES="0")
    assert first.returncode == UNREACHABLE, first.stderr
    assert first.stderr.startswith("model.safetensors could not be fetched from the hub")
    assert not target.exists()
    done = make(target, HF_ENDPOINT=hub[1], RETRIES="0")
    assert done.returncode == 0, done.stderr
    assert [wanted for name, wanted in hub[0].asked if name == "model.safetensors"] == [None, "bytes=3000000-"]
    # And what was whole was not asked for again.
    assert len([name for name, _ in hub[0].asked if name == "config.json"]) == 1


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json"])
def test_a_file_that_is_not_the_commit_s(hub: tuple[Hub, str], tmp_path: Path, name: str) -> None:
    target = tmp_path / "models/default"
    wrong = bytearray(hub[0].files[name])
    wrong[-10] ^= 1
    hub[0].lies[name] = bytes(wrong)
    done = make(target, HF_ENDPOINT=hub[1])
    assert done.returncode == CHANGED, done.stderr
    assert f"{name} is not what was pinned" in done.stderr
    assert not target.exists()
    # The next time it is asked for again.
    hub[0].lies.clear()
    assert make(target, HF_ENDPOINT=hub[1]).returncode == 0


def test_weights_other_than_the_profile_pins(hub: tuple[Hub, str], tmp_path: Path) -> None:
    done = make(tmp_path / "models/default", HF_ENDPOINT=hub[1], MODEL_SHA256="0" * 64)
    assert done.returncode == CHANGED
    assert "model.safetensors is not what was pinned" in done.stderr


def test_a_hub_that_answers_with_another_commit(hub: tuple[Hub, str], tmp_path: Path) -> None:
    hub[0].commit = "f" * 40
    done = make(tmp_path / "models/default", HF_ENDPOINT=hub[1])
    assert done.returncode == CHANGED
    assert "answers with commit" in done.stderr


def test_no_hub(tmp_path: Path) -> None:
    done = make(tmp_path / "models/default", HF_ENDPOINT="http://127.0.0.1:9")
    assert done.returncode == UNREACHABLE, done.stderr
    assert "could not be fetched from the hub" in done.stderr.splitlines()[-1]


def test_what_is_made_is_not_made_again(hub: tuple[Hub, str], tmp_path: Path) -> None:
    target = tmp_path / "models/default"
    assert make(target, HF_ENDPOINT=hub[1]).returncode == 0
    asked = len(hub[0].asked)
    assert make(target, HF_ENDPOINT="http://127.0.0.1:9").returncode == 0
    assert len(hub[0].asked) == asked
    # Of another revision it is.
    assert make(target, HF_ENDPOINT="http://127.0.0.1:9", MODEL_REVISION="f" * 40).returncode == UNREACHABLE


def upload(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "ami/model").mkdir(parents=True)
    for name, path in TINY.items():
        shutil.copy(path, tmp_path / "ami/model" / name)
    recipe = load("cpu")
    return {
        "AMI_ROOT": str(tmp_path / "ami"),
        "MODEL_SOURCE": "upload",
        "MODEL": recipe.profile.model,
        "MODEL_REVISION": recipe.profile.model_revision,
        "MODEL_SHA256": recipe.environment()["MODEL_SHA256"],
    }


def test_the_model_that_travels_with_the_recipe(tmp_path: Path) -> None:
    values = upload(tmp_path)
    done = make(tmp_path / "models/default", **values)
    assert done.returncode == 0, done.stderr
    made = hashlib.sha256((tmp_path / "models/default/model.safetensors").read_bytes()).hexdigest()
    assert made == values["MODEL_SHA256"]


def test_an_upload_that_was_damaged(tmp_path: Path) -> None:
    values = upload(tmp_path)
    with (tmp_path / "ami/model/model.safetensors").open("ab") as file:
        file.write(b"\0")
    done = make(tmp_path / "models/default", **values)
    assert done.returncode == CHANGED
    assert not (tmp_path / "models/default").exists()
