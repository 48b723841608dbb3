"""Where a model comes from, what pins it, and what is said when there is none."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from huggingface_hub import constants

from gputx_remote.errors import ModelUnavailableError
from gputx_remote.weights import resolve

COMMIT = "0123456789abcdef0123456789abcdef01234567"
ID = "KBLab/kb-whisper-small"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and a hub where nobody answers."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return tmp_path


def snapshot(cache: Path, model_path: Path, *, weights: bool = True) -> Path:
    """Put a model into the cache, as a download would have left it."""
    repository = cache / ("models--" + ID.replace("/", "--"))
    folder = repository / "snapshots" / COMMIT
    folder.parent.mkdir(parents=True)
    shutil.copytree(model_path, folder, ignore=None if weights else shutil.ignore_patterns("*.safetensors"))
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT)
    return folder


def test_a_directory_is_pinned_by_the_hash_of_its_weights(model_path: Path) -> None:
    notes: list[str] = []
    location = resolve(str(model_path), None, notes.append)
    digest = hashlib.sha256((model_path / "model.safetensors").read_bytes()).hexdigest()
    assert (location.path, location.id, location.revision) == (model_path, str(model_path), digest)
    assert notes == []


def test_a_directory_of_a_known_revision_keeps_it(model_path: Path) -> None:
    assert resolve(str(model_path), COMMIT, print).revision == COMMIT


@pytest.mark.parametrize("revision", [None, COMMIT])
def test_the_cache_is_asked_before_the_hub(cache: Path, model_path: Path, revision: str | None) -> None:
    folder = snapshot(cache, model_path)
    notes: list[str] = []
    location = resolve(ID, revision, notes.append)
    assert (location.path, location.id, location.revision) == (folder, ID, COMMIT)
    assert notes == []


def test_the_cache_is_read_without_importing_the_hub(
    cache: Path, model_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot(cache, model_path)
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert resolve(ID, None, print).revision == COMMIT


@pytest.mark.parametrize(
    ("variables", "place"),
    [
        ({"HF_HUB_CACHE": "~/here", "HF_HOME": "elsewhere"}, "here"),
        ({"HUGGINGFACE_HUB_CACHE": "$HOME/here", "HF_HOME": "elsewhere"}, "here"),
        ({"HF_HOME": "~/here"}, "here/hub"),
        ({"XDG_CACHE_HOME": "~/here"}, "here/huggingface/hub"),
        ({}, ".cache/huggingface/hub"),
    ],
)
def test_the_cache_is_where_the_hub_keeps_it(
    variables: dict[str, str], place: str, tmp_path: Path, model_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"HOME": str(tmp_path), **variables}.items():
        monkeypatch.setenv(name, value)
    # What the hub's own library makes of them.
    code = "from huggingface_hub import constants; print(constants.HF_HUB_CACHE)"
    theirs = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    assert theirs == str(tmp_path / place)
    folder = snapshot(tmp_path / place, model_path)
    assert resolve(ID, None, print).path == folder


def test_a_download_is_announced_and_its_failure_is_one_line(cache: Path) -> None:
    notes: list[str] = []
    with pytest.raises(ModelUnavailableError) as caught:
        resolve(ID, COMMIT, notes.append)
    assert notes == [f"model {ID} is not on this machine: downloading it from the Hugging Face hub"]
    assert str(caught.value) == f"model {ID}: not on this machine, and the Hugging Face hub can't be reached"


def test_a_download_that_was_cut_short_is_taken_up_again(cache: Path, model_path: Path) -> None:
    snapshot(cache, model_path, weights=False)
    notes: list[str] = []
    with pytest.raises(ModelUnavailableError):
        resolve(ID, COMMIT, notes.append)
    assert "downloading" in notes[0]


def test_a_revision_that_can_move_is_refused() -> None:
    with pytest.raises(ModelUnavailableError, match="'main' can move; pin it by its 40-digit commit hash"):
        resolve(ID, "main", print)


@pytest.mark.parametrize("model", ["/no/such/folder", "./nix", "whisper", "a/b/c", ""])
def test_what_is_neither_directory_nor_id(model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelUnavailableError):
        resolve(model, None, print)


def test_a_model_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(ModelUnavailableError, match="its type is 'bert', and gputx runs Whisper models"):
        resolve(str(tmp_path), None, print)


def test_pickled_weights_are_not_loaded(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "whisper"}))
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80\x02")
    with pytest.raises(ModelUnavailableError, match="no safetensors weights"):
        resolve(str(tmp_path), None, print)


@pytest.mark.parametrize("config", ["", "[]", "{"])
def test_a_broken_config_is_refused(tmp_path: Path, config: str) -> None:
    (tmp_path / "config.json").write_text(config)
    with pytest.raises(ModelUnavailableError):
        resolve(str(tmp_path), None, print)


def test_a_truncated_weight_file_is_one_line(tmp_path: Path, model_path: Path) -> None:
    from gputx_remote.decoders import transformers_model  # noqa: PLC0415 - seconds of imports, for this test only

    broken = tmp_path / "model"
    shutil.copytree(model_path, broken)
    weights = broken / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100_000])
    with pytest.raises(ModelUnavailableError, match="it can't be loaded") as caught:
        transformers_model.load(resolve(str(broken), None, print), device="cpu", dtype="float32", note=print)
    assert "\n" not in str(caught.value)
