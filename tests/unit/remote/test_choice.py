"""What serves for what was asked, and what is refused before anything is launched."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gputx_remote.decoders import torch_linear
from gputx_remote.engine import loading
from gputx_remote.engine.choice import ALGORITHMS, COMPUTE_TYPES, DECODERS, SUPPORTED, Choice
from gputx_remote.errors import EngineUnavailableError
from gputx_remote.weights import ModelLocation


@pytest.mark.parametrize(
    ("asked", "device", "serves"),
    [
        (Choice(), "cpu", Choice("vad", "ctranslate2", "int8")),
        (Choice(), "cuda", Choice("chunked", "transformers", "float16")),
        (Choice("vad"), "cuda", Choice("vad", "transformers", "float16")),
        (Choice("sequential"), "cpu", Choice("sequential", "transformers", "float32")),
        (Choice(decoder="transformers"), "cpu", Choice("chunked", "transformers", "float32")),
        (Choice("vad", "transformers"), "cpu", Choice("vad", "transformers", "float32")),
        (Choice(decoder="torch"), "cuda", Choice("vad", "torch", "float16")),
        (
            Choice(decoder="ctranslate2", compute_type="int8_float16"),
            "cuda",
            Choice("vad", "ctranslate2", "int8_float16"),
        ),
        (Choice(compute_type="bfloat16"), "cpu", Choice("vad", "torch", "bfloat16")),
    ],
)
def test_every_auto_is_decided(asked: Choice, device: str, serves: Choice) -> None:
    assert asked.on(device) == serves


def test_what_the_stock_pipeline_can_not_do_takes_another_algorithm() -> None:
    assert Choice().able([]) == Choice()
    assert Choice().able(["hotwords"]) == Choice("vad")
    assert Choice("sequential").able(["initial_prompt", "hotwords"]) == Choice("sequential")
    with pytest.raises(ValueError, match=r"^--word-timestamps can't be had with --algorithm chunked; it can with"):
        Choice("chunked").able(["word_timestamps"])


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        (Choice("chunked", "torch"), "--algorithm chunked is done by transformers itself"),
        (Choice("sequential", "ctranslate2"), "--algorithm sequential is done by transformers itself"),
        (Choice(decoder="torch", compute_type="int8_float32"), "torch does not compute in int8_float32"),
        (Choice(decoder="transformers", compute_type="int8"), "transformers does not compute in int8"),
    ],
)
def test_what_can_not_be_is_refused_at_once(asked: Choice, why: str) -> None:
    with pytest.raises(ValueError, match=why) as caught:
        asked.check()
    assert "\n" not in str(caught.value)


def test_what_this_device_can_not_do_is_said_with_what_it_can() -> None:
    with pytest.raises(ValueError, match=r"ctranslate2 does not compute in float16 on the CPU; it does in int8,"):
        Choice("vad", "ctranslate2", "float16").on("cpu")


def test_whatever_is_asked_is_decided_or_refused_in_a_line() -> None:
    for device in ("cpu", "cuda"):
        for algorithm in ALGORITHMS:
            for decoder in DECODERS:
                for kind in COMPUTE_TYPES:
                    try:
                        serves = Choice(algorithm, decoder, kind).on(device)
                    except ValueError:
                        continue
                    assert serves.algorithm == "vad" or serves.decoder == "transformers"
                    assert serves.compute_type in SUPPORTED[serves.decoder, device]
                    assert algorithm in ("auto", serves.algorithm)
                    assert decoder in ("auto", serves.decoder)
                    assert kind in ("auto", serves.compute_type)


def test_a_decoder_that_is_not_installed_gives_way_if_nobody_asked_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "_missing", lambda name: ["ctranslate2"] if name == "ctranslate2" else [])
    notes: list[str] = []
    asked = Choice()
    assert loading._installed(asked.on("cpu"), asked, "cpu", notes.append).decoder == "torch"
    assert notes == ["ctranslate2 is not installed: decoding with torch"]
    asked = Choice(decoder="ctranslate2")
    with pytest.raises(
        EngineUnavailableError, match=r"^the decoder ctranslate2 needs ctranslate2, not installed here$"
    ):
        loading._installed(asked.on("cpu"), asked, "cpu", notes.append)


def model_of(directory: Path, width: object) -> ModelLocation:
    (directory / "config.json").write_text(json.dumps({"d_model": width}), encoding="utf-8")
    return ModelLocation(directory, "m", "r")


@pytest.mark.parametrize(
    ("width", "bytes_multiplied", "missing", "asked", "serves"),
    [
        (768, True, (), Choice(), Choice("vad", "torch", "int8")),
        (1280, True, (), Choice("vad"), Choice("vad", "torch", "int8")),
        (512, True, (), Choice(), Choice("vad", "ctranslate2", "int8")),  # it would not have back what torch costs
        ("wide", True, (), Choice(), Choice("vad", "ctranslate2", "int8")),
        (768, False, (), Choice(), Choice("vad", "ctranslate2", "int8")),
        (768, True, ("torch",), Choice(), Choice("vad", "ctranslate2", "int8")),
        (768, True, (), Choice(decoder="ctranslate2"), Choice("vad", "ctranslate2", "int8")),
        (768, True, (), Choice(compute_type="float32"), Choice("vad", "ctranslate2", "float32")),
        (768, True, (), Choice("sequential"), Choice("sequential", "transformers", "float32")),
    ],
)
def test_torch_serves_by_default_where_it_pays(
    width: object,
    bytes_multiplied: bool,
    missing: tuple[str, ...],
    asked: Choice,
    serves: Choice,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(loading.machine, "multiplies_bytes", lambda: bytes_multiplied)
    monkeypatch.setattr(torch_linear, "int8_works", lambda: True)
    monkeypatch.setattr(loading, "_missing", lambda name: ["torch"] if name in missing else [])
    notes: list[str] = []
    model = model_of(tmp_path, width)
    assert loading._decided(asked, "cpu", model.path, notes.append) == serves
    assert loading._decided(asked, "cuda", model.path, notes.append).decoder != "torch"
    assert notes == []


def test_a_torch_that_has_lost_its_int8_does_not_serve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading.machine, "multiplies_bytes", lambda: True)
    monkeypatch.setattr(torch_linear, "int8_works", lambda: False)
    assert loading._decided(Choice(), "cpu", model_of(tmp_path, 768).path, print).decoder == "ctranslate2"
