"""Checkpoints as CTranslate2 reads them: the same as its own converter's, made once, never half."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from gputx_remote.decoders import ctranslate2_conversion as conversion
from gputx_remote.decoders import ctranslate2_format as form
from gputx_remote.errors import ModelUnavailableError
from gputx_remote.weights import ModelLocation

# Of model.bin as TransformersConverter of CTranslate2 4.8.5 writes it for the tiny model.
THEIRS = "f14ea40152a281f268d7c583e37219320f51cdc220324674b0768ca2080ce87b"


@pytest.fixture(scope="module")
def tiny(model_path: Path) -> ModelLocation:
    return ModelLocation(model_path, "tiny", "r1")


def copied(location: ModelLocation, directory: Path, revision: str = "r1") -> ModelLocation:
    shutil.copytree(location.path, directory, dirs_exist_ok=True)
    return ModelLocation(directory, "copy", revision)


def variables(model: bytes) -> Iterator[tuple[str, tuple[int, ...], int, bytes]]:
    """What a model.bin holds, read by its format: (name, shape, type, bytes)."""
    at = 0

    def take(layout: str) -> tuple[Any, ...]:
        nonlocal at
        values = struct.unpack_from("<" + layout, model, at)
        at += struct.calcsize("<" + layout)
        return values

    def text() -> str:
        (length,) = take("H")
        (raw,) = take(f"{length}s")
        return str(raw[:-1].decode())

    assert take("I") == (6,)
    assert text() == "WhisperSpec"
    _, count = take("II")
    for _ in range(count):
        name, (rank,) = text(), take("B")
        shape = take(f"{rank}I")
        kind, size = take("BI")
        yield name, shape, kind, take(f"{size}s")[0]


def test_it_is_byte_for_byte_what_their_converter_writes(tiny: ModelLocation) -> None:
    model = conversion.in_memory(tiny).files["model.bin"]
    assert hashlib.sha256(model).hexdigest() == THEIRS


def test_it_is_made_once(tiny: ModelLocation, tmp_path: Path) -> None:
    notes: list[str] = []
    first = conversion.ready(tiny, tmp_path, notes.append)
    made = (first.path / "model.bin").stat()
    again = conversion.ready(tiny, tmp_path, notes.append)
    assert again == first
    assert (again.path / "model.bin").stat() == made
    assert notes == ["model tiny: converting it for CTranslate2, once"]
    assert [path.name for path in tmp_path.iterdir()] == [first.path.name]
    settings = json.loads((first.path / "config.json").read_text())
    assert settings["alignment_heads"] == [[1, 0], [2, 0], [3, 0]]
    assert settings["suppress_ids"] == [901, 1001, 1002, 1003, 1004, 1005]
    assert len(settings["lang_ids"]) == 99
    assert len(json.loads((first.path / "vocabulary.json").read_text())) == 2508


def test_of_the_text_decoder_alone_matrices_are_int8(tiny: ModelLocation, tmp_path: Path) -> None:
    notes: list[str] = []
    made = conversion.ready(tiny, tmp_path, notes.append, "text-int8")
    assert conversion.ready(tiny, tmp_path, notes.append, "text-int8") == made
    assert notes == ["model tiny: converting its text decoder for draws, once"]
    stored = {name: (shape, kind, raw) for name, shape, kind, raw in variables((made.path / "model.bin").read_bytes())}
    whole = {name: (shape, kind, raw) for name, shape, kind, raw in variables(model_of(tiny))}
    layers = {name.split("/")[1] for name in stored if name.startswith("encoder/layer_")}
    # CTranslate2 does not load a Whisper whose encoder has no layer.
    assert layers == {"layer_0", "layer_norm"}
    name = "decoder/layer_3/ffn/linear_0/weight"
    shape, _, raw = whole[name]
    weight = np.frombuffer(raw, np.float16).reshape(shape).astype(np.float32)
    assert stored[name][:2] == (shape, 1)
    scale = np.frombuffer(stored[f"{name}_scale"][2], np.float32)
    whole_numbers = np.frombuffer(stored[name][2], np.int8).reshape(shape)
    assert abs(whole_numbers).max(axis=1).tolist() == [127] * shape[0]
    np.testing.assert_allclose(whole_numbers / scale[:, None], weight, atol=float(abs(weight).max()) / 254 * 1.01)
    for same in ("decoder/layer_3/ffn/linear_0/bias", "decoder/position_encodings/encodings", "encoder/conv1/weight"):
        assert stored[same] == whole[same]
    wanted = {name for name in whole if not name.startswith("encoder/layer_") or name.split("/")[1] in layers}
    assert {name for name in stored if not name.endswith("_scale")} == wanted


def test_one_beside_the_checkpoint_comes_first(tiny: ModelLocation, tmp_path: Path) -> None:
    baked = copied(tiny, tmp_path / "baked")
    beside = conversion.convert(baked, baked.path / conversion.BESIDE)
    notes: list[str] = []
    assert conversion.ready(baked, tmp_path / "cache", notes.append).path == beside
    assert notes == []
    assert not (tmp_path / "cache").exists()


def test_another_checkpoint_has_another_name(tiny: ModelLocation, tmp_path: Path) -> None:
    same = copied(tiny, tmp_path / "same")
    assert conversion.fingerprint(same) == conversion.fingerprint(tiny)
    assert conversion.fingerprint(ModelLocation(same.path, "x", "r2")) != conversion.fingerprint(tiny)
    weights = load_file(same.path / "model.safetensors")
    trained = {name: (array * 1.01).astype(array.dtype) for name, array in weights.items()}
    save_file(trained, same.path / "model.safetensors", {"format": "pt"})
    assert conversion.fingerprint(same) != conversion.fingerprint(tiny)
    other = copied(tiny, tmp_path / "other")
    (other.path / "generation_config.json").write_text("{}")
    assert conversion.fingerprint(other) != conversion.fingerprint(tiny)


@pytest.mark.parametrize("damage", ["cut", "gone", "unsealed"])
def test_a_damaged_conversion_is_never_used(tiny: ModelLocation, tmp_path: Path, damage: str) -> None:
    made = conversion.convert(tiny, tmp_path)
    whole = (made / "model.bin").read_bytes()
    if damage == "cut":
        (made / "model.bin").write_bytes(whole[:-1])
    else:
        (made / ("vocabulary.json" if damage == "gone" else "gputx.json")).unlink()
    notes: list[str] = []
    again = conversion.ready(tiny, tmp_path, notes.append)
    assert len(notes) == 1
    assert again.path == made
    assert (made / "model.bin").read_bytes() == whole
    assert [path.name for path in tmp_path.iterdir()] == [made.name]


def test_several_at_once_agree(tiny: ModelLocation, tmp_path: Path) -> None:
    start = threading.Barrier(4)
    found: list[conversion.Conversion] = []

    def run() -> None:
        start.wait()
        found.append(conversion.ready(tiny, tmp_path, lambda _: None))

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert len({one.path for one in found}) == 1
    assert [path.name for path in tmp_path.iterdir()] == [found[0].path.name]


def test_a_full_disk_is_said_and_gone_round(
    tiny: ModelLocation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    notes: list[str] = []
    made = conversion.ready(tiny, tmp_path / "cache", notes.append)
    assert set(made.files) == {"model.bin", "config.json", "vocabulary.json"}
    assert len(notes) == 2
    assert "the disk is full" in notes[1]
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_cache_that_cannot_be_made(tiny: ModelLocation, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    notes: list[str] = []
    assert conversion.ready(tiny, tmp_path / "file" / "cache", notes.append).files
    assert "can't be kept" in notes[1]


def test_what_killed_processes_left_is_swept(tiny: ModelLocation, tmp_path: Path) -> None:
    for name, age in (("old", 2 * 24 * 3600), ("new", 60)):
        left = tmp_path / f".making-{name}"
        left.mkdir()
        (left / "model.bin").touch()
        then = left.stat().st_mtime - age
        os.utime(left, (then, then))
    conversion.convert(tiny, tmp_path)
    assert not (tmp_path / ".making-old").exists()
    assert (tmp_path / ".making-new").exists()


def test_bfloat16_is_carried_bit_for_bit(tiny: ModelLocation, tmp_path: Path) -> None:
    halves = {name: tensor.float32().array for name, tensor in read(tiny).items()}
    narrow = {name: (array.view(np.uint32) >> 16).astype(np.uint16) for name, array in halves.items()}
    location = copied(tiny, tmp_path)
    write_safetensors(location.path / "model.safetensors", narrow, "BF16")
    stored = {name: (shape, kind, raw) for name, shape, kind, raw in variables(model_of(location))}
    shape, kind, raw = stored["decoder/layer_0/attention/linear_1/weight"]
    parts = [narrow[f"model.decoder.layers.0.encoder_attn.{part}_proj.weight"] for part in "kv"]
    assert (shape, kind) == ((256, 128), 5)
    assert raw == np.concatenate(parts).tobytes()
    widened = form.Tensor("bfloat16", parts[0]).float32().array
    np.testing.assert_allclose(widened, halves["model.decoder.layers.0.encoder_attn.k_proj.weight"], rtol=2**-7)


def test_shards_and_mixed_precision_make_one_model(tiny: ModelLocation, tmp_path: Path) -> None:
    location = copied(tiny, tmp_path)
    weights = load_file(location.path / "model.safetensors")
    key = "model.encoder.layers.0.self_attn.k_proj.weight"
    weights[key] = weights[key].astype(np.float32)
    (location.path / "model.safetensors").unlink()
    names = sorted(weights)
    for number, part in enumerate((names[:60], names[60:]), 1):
        save_file({name: weights[name] for name in part}, location.path / f"model-0000{number}-of-00002.safetensors")
    ours = {name: (kind, raw) for name, _, kind, raw in variables(model_of(location))}
    theirs = {name: (kind, raw) for name, _, kind, raw in variables(model_of(tiny))}
    joined = "encoder/layer_0/self_attention/linear_0/weight"
    assert ours.pop(joined)[0] == 0
    assert theirs.pop(joined)[0] == 4
    ours.pop("encoder/layer_0/self_attention/linear_0/bias")
    theirs.pop("encoder/layer_0/self_attention/linear_0/bias")
    assert ours == theirs


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ("cut", "can't be read"),
        ("text", "can't be read"),
        ("double", "is stored as F64"),
        ("missing", "has no weight model.encoder.conv1.bias"),
        ("relu", "no activation 'relu'"),
    ],
)
def test_a_broken_checkpoint_is_refused(tiny: ModelLocation, tmp_path: Path, change: str, complaint: str) -> None:
    location = copied(tiny, tmp_path / "model")
    file = location.path / "model.safetensors"
    if change == "cut":
        file.write_bytes(file.read_bytes()[:-5000])
    elif change == "text":
        file.write_text("version https://git-lfs.github.com/spec/v1")
    elif change == "relu":
        config = json.loads((location.path / "config.json").read_text()) | {"activation_function": "relu"}
        (location.path / "config.json").write_text(json.dumps(config))
    else:
        weights = load_file(file)
        bias = weights.pop("model.encoder.conv1.bias")
        if change == "double":
            weights["model.encoder.conv1.bias"] = bias.astype(np.float64)
        save_file(weights, file)
    with pytest.raises(ModelUnavailableError, match=complaint):
        conversion.ready(location, tmp_path / "cache", lambda _: None)
    assert list((tmp_path / "cache").iterdir()) == []


def test_where_conversions_are_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GPUTX_CACHE_DIR", str(tmp_path))
    assert conversion.cache_directory() == tmp_path / "ctranslate2"
    monkeypatch.delenv("GPUTX_CACHE_DIR")
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert conversion.cache_directory() == tmp_path / "xdg" / "gputx" / "ctranslate2"


def read(location: ModelLocation) -> dict[str, form.Tensor]:
    return form.read_safetensors([location.path / "model.safetensors"])


def model_of(location: ModelLocation) -> bytes:
    return conversion.in_memory(location).files["model.bin"]


def write_safetensors(path: Path, arrays: dict[str, np.ndarray], kind: str) -> None:
    """By hand, because numpy has no bfloat16 to give to the library."""
    header: dict[str, Any] = {}
    at = 0
    for name, array in arrays.items():
        header[name] = {"dtype": kind, "shape": array.shape, "data_offsets": [at, at + array.nbytes]}
        at += array.nbytes
    encoded = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(encoded)) + encoded)
        for array in arrays.values():
            file.write(array.tobytes())
