"""From a choice to a loaded engine. Only what serves is imported."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from gputx_remote import machine
from gputx_remote.engine.choice import BY_SPEED, FASTEST_ON_CPU, SUPPORTED, WIDTH_WORTH_TORCH, Choice
from gputx_remote.errors import EngineUnavailableError

if TYPE_CHECKING:
    from pathlib import Path

    from gputx_remote.decoders.decoder import Decoder
    from gputx_remote.engine.transcriber import Transcriber
    from gputx_remote.weights import ModelLocation

Note = Callable[[str], None]

NEEDS = {
    "transformers": ("torch", "transformers"),
    "torch": ("torch", "safetensors", "tokenizers"),
    "ctranslate2": ("ctranslate2", "tokenizers", "safetensors"),
}
"""Packages by decoder."""


@dataclass(frozen=True)
class Offer:
    """What can be chosen on this machine."""

    device: str
    """"cuda" where a GPU can be used, else "cpu"."""
    default: Choice | None
    """What serves where nothing is asked for; None where no decoder is installed."""
    missing: dict[str, list[str]]
    """By decoder, the packages it needs that are not installed; decoders that lack none are not in it."""


def offer(model: Path | None = None) -> Offer:
    """Look round without loading anything.

    Args:
        model: the directory of the model that is to be loaded; None for one as wide as whisper-small.
    """
    device = _device("auto", lambda _: None)
    missing = {name: packages for name in NEEDS if (packages := _missing(name))}
    try:
        default = _decided(Choice(), device, model, lambda _: None, importing=False)
    except EngineUnavailableError:
        default = None
    return Offer(device, default, missing)


def load(
    location: ModelLocation, choice: Choice, *, device: str = "auto", batch_size: int | None = None, note: Note
) -> Transcriber:
    """Load a model from local files behind the engine that was chosen.

    Args:
        location: what :func:`gputx_remote.weights.resolve` found.
        choice: algorithm, decoder and arithmetic; "auto" for the defaults.
        device: "cuda", "cpu", or "auto" for CUDA where there is one.
        batch_size: windows at once; None to go by free memory.
        note: told in one line when a fallback is taken.

    Raises:
        ModelUnavailableError: the files are no Whisper model that can be loaded.
        EngineUnavailableError: the choice can't be on this machine.
    """
    device = _device(device, note)
    choice = _decided(choice, device, location.path, note)
    if choice.algorithm == "vad":
        # Imported here, because each algorithm brings a library of its own.
        from gputx_remote.engine.windowed import WindowedTranscriber  # noqa: PLC0415

        def retreat() -> Decoder:
            return _decoder(location, choice.decoder, "cpu", SUPPORTED[choice.decoder, "cpu"][0], note)

        decoder = _decoder(location, choice.decoder, device, choice.compute_type, note)
        return WindowedTranscriber(decoder, batch_size, retreat, note)

    from gputx_remote.decoders import transformers_model  # noqa: PLC0415

    checkpoint = transformers_model.load(location, device=device, dtype=choice.compute_type, note=note)
    if choice.algorithm == "sequential":
        from gputx_remote.engine.sequential import SequentialTranscriber  # noqa: PLC0415

        return SequentialTranscriber(checkpoint, note)
    from gputx_remote.engine.reference import ReferenceTranscriber  # noqa: PLC0415

    return ReferenceTranscriber(checkpoint, batch_size, note)


def _decoder(location: ModelLocation, name: str, device: str, compute_type: str, note: Note) -> Decoder:
    if name == "ctranslate2":
        from gputx_remote.decoders import ctranslate2_decoder  # noqa: PLC0415

        return ctranslate2_decoder.load(location, device=device, compute_type=compute_type, note=note)
    if name == "torch":
        from gputx_remote.decoders import torch_decoder  # noqa: PLC0415

        return torch_decoder.load(location, device=device, compute_type=compute_type, note=note)
    from gputx_remote.decoders import transformers_decoder  # noqa: PLC0415

    return transformers_decoder.load(location, device=device, compute_type=compute_type, note=note)


def _decided(wanted: Choice, device: str, model: Path | None, note: Note, *, importing: bool = True) -> Choice:
    """Every "auto" decided for this machine and this model; without ``importing`` torch is taken at its word."""
    try:
        choice = wanted.on(device)
    except ValueError as error:
        raise EngineUnavailableError(str(error)) from error
    decoder, compute_type = FASTEST_ON_CPU
    open_to = replace(wanted, algorithm="auto") if wanted.algorithm == "vad" else wanted
    if device == "cpu" and open_to == Choice() and not _missing(decoder) and _pays(model, importing=importing):
        return Choice("vad", decoder, compute_type)
    return _installed(choice, wanted, device, note)


def _pays(model: Path | None, *, importing: bool) -> bool:
    """Whether what is fastest on a CPU can be had, and a model is big enough to have back what it takes to start."""
    width = WIDTH_WORTH_TORCH if model is None else _width(model)
    if width < WIDTH_WORTH_TORCH or not machine.multiplies_bytes():
        return False
    if not importing:
        return True
    # Torch is asked last, when it is all but certain that it will be needed.
    from gputx_remote.decoders.torch_linear import int8_works  # noqa: PLC0415

    return int8_works()


def _width(model: Path) -> int:
    """Its ``d_model``; 0 where the file can't be read, which whoever loads the model will say better."""
    try:
        return int(json.loads((model / "config.json").read_text(encoding="utf-8"))["d_model"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0


def _installed(choice: Choice, wanted: Choice, device: str, note: Note) -> Choice:
    """The choice, or where nobody asked for its decoder, the next one whose packages are here."""
    missing = _missing(choice.decoder)
    if not missing:
        return choice
    if wanted.decoder == "auto" and wanted.algorithm in ("auto", "vad"):
        for name in BY_SPEED:
            able = wanted.compute_type in ("auto", *SUPPORTED[name, device])
            if able and not _missing(name):
                note(f"{missing[0]} is not installed: decoding with {name}")
                return Choice("vad", name, wanted.compute_type).on(device)
    raise EngineUnavailableError(f"the decoder {choice.decoder} needs {' and '.join(missing)}, not installed here")


def _missing(decoder: str) -> list[str]:
    return [package for package in NEEDS[decoder] if importlib.util.find_spec(package) is None]


def _device(wanted: str, note: Note) -> str:
    if wanted == "cpu":
        return "cpu"
    if _cuda():
        return "cuda"
    note("no usable CUDA GPU here: using the CPU")
    return "cpu"


def _cuda() -> bool:
    """Whether a GPU can be used. CTranslate2 answers in milliseconds, where importing torch takes a second."""
    if importlib.util.find_spec("ctranslate2") is not None:
        import ctranslate2  # noqa: PLC0415

        return bool(ctranslate2.get_cuda_device_count() > 0)
    if importlib.util.find_spec("torch") is None:
        return False
    import torch  # noqa: PLC0415

    return torch.cuda.is_available()
