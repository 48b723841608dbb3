"""A checkpoint as CTranslate2 wants it: made once, kept in a cache, shared by processes, never seen half-written.

A conversion is looked for beside the checkpoint first (where baking an image puts it), then in the cache directory.
"""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gputx_remote.decoders import ctranslate2_format as form
from gputx_remote.errors import ModelUnavailableError
from gputx_remote.rules import TokenRules
from gputx_remote.vocabulary import Vocabulary, read_json
from gputx_remote.weights import ModelLocation

CONVERTER_VERSION = 1
"""Part of a conversion's name: raise it when what is written changes, and nobody reads the old one again."""

BESIDE = "ctranslate2"
"""Folder in a checkpoint's directory where a conversion may lie."""

_MODEL, _CONFIG, _VOCABULARY, _SEAL = "model.bin", "config.json", "vocabulary.json", "gputx.json"
_SAMPLES, _SAMPLE_BYTES = 64, 4096
_ABANDONED_SECONDS = 24 * 3600


@dataclass(frozen=True)
class Conversion:
    """A model CTranslate2 can load: a directory, or files in memory where no disk had room."""

    path: Path
    files: dict[str, bytes] = field(default_factory=dict)


def cache_directory() -> Path:
    """``$GPUTX_CACHE_DIR``, or the platform's place for caches, and there a folder of our own."""
    chosen = os.environ.get("GPUTX_CACHE_DIR")
    if chosen:
        return Path(chosen).expanduser() / BESIDE
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "gputx" / BESIDE
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gputx" / BESIDE


def ready(location: ModelLocation, cache: Path, note: Callable[[str], None], part: form.Part = "whole") -> Conversion:
    """The conversion of a checkpoint: one that is there, or a new one.

    Args:
        location: the checkpoint.
        cache: where a new one is kept.
        note: told in one line that one is made, and where it can't be kept.
        part: what of it.

    Raises:
        ModelUnavailableError: the checkpoint is broken, or no model CTranslate2 has a place for.
    """
    name = _name(location, part)
    for place in (location.path / BESIDE, cache):
        if _is_whole(place / name):
            return Conversion(place / name)
    what = "it for CTranslate2" if part == "whole" else "its text decoder for draws"
    note(f"model {location.id}: converting {what}, once")
    try:
        return Conversion(convert(location, cache, part))
    except OSError as error:
        reason = "the disk is full" if error.errno == errno.ENOSPC else error.strerror or type(error).__name__
        note(f"the converted model can't be kept in {cache} ({reason}): it is made again at every start")
    return in_memory(location, part=part)


def convert(location: ModelLocation, into: Path, part: form.Part = "whole") -> Path:
    """Write the conversion of a checkpoint into a directory; what is there and whole stays.

    Several processes may do so at once: each writes a folder of its own, and the first to finish gives it its name.

    Returns:
        The folder of the conversion in ``into``, named by :func:`fingerprint` and the part.

    Raises:
        ModelUnavailableError: as :func:`ready`.
        OSError: it can't be written; nothing of it is left.
    """
    target = into / _name(location, part)
    if _is_whole(target):
        return target
    into.mkdir(parents=True, exist_ok=True)
    _sweep(into)
    workshop = Path(tempfile.mkdtemp(prefix=".making-", dir=into))
    try:
        finished = workshop / target.name
        finished.mkdir()
        _write(location, finished, part)
        _publish(finished, target, workshop)
    finally:
        shutil.rmtree(workshop, ignore_errors=True)
    return target


def in_memory(location: ModelLocation, *, rows: int = 0, part: form.Part = "whole") -> Conversion:
    """The conversion without a disk; ``rows`` and ``part`` as in :func:`ctranslate2_format.write_model`."""
    weights, config = _checkpoint(location)
    model = io.BytesIO()
    form.write_model(model, weights, config, rows=rows, part=part)
    texts = {name: text.encode() for name, text in _texts(location, config, rows)}
    return Conversion(location.path, {_MODEL: model.getvalue(), **texts})


def fingerprint(location: ModelLocation) -> str:
    """The name of a checkpoint's conversion: another checkpoint or another converter has another one.

    The revision pins the content by contract. What can be had without reading every byte is hashed with it, because a
    directory's revision may be what its maker called it: all headers, sizes and JSON files, and 64 samples of 4 KiB
    from each weight file. Training touches every part of a model, so a changed one is found by them.
    """
    digest = hashlib.sha256(f"{CONVERTER_VERSION}\0{location.revision}\0".encode())
    for name in ("config.json", "generation_config.json", "tokenizer.json", "vocab.json", "added_tokens.json"):
        path = location.path / name
        digest.update(path.read_bytes() if path.is_file() else b"-")
    for path in _weight_files(location):
        size = path.stat().st_size
        digest.update(f"{path.name}\0{size}\0".encode())
        with path.open("rb") as file:
            digest.update(file.read(int.from_bytes(file.read(8), "little") % (size + 1)))
            for index in range(_SAMPLES):
                file.seek(size * index // _SAMPLES)
                digest.update(file.read(_SAMPLE_BYTES))
    return f"whisper-{digest.hexdigest()[:24]}"


def _name(location: ModelLocation, part: form.Part) -> str:
    return fingerprint(location) if part == "whole" else f"{fingerprint(location)}-{part}"


def _weight_files(location: ModelLocation) -> list[Path]:
    whole = location.path / "model.safetensors"
    files = [whole] if whole.is_file() else sorted(location.path.glob("model-*-of-*.safetensors"))
    if not files:
        raise ModelUnavailableError(f"model {location.id}: no safetensors weights in its directory")
    return files


def _checkpoint(location: ModelLocation) -> tuple[dict[str, form.Tensor], dict[str, Any]]:
    return form.read_safetensors(_weight_files(location)), read_json(location.path / "config.json")


def _texts(location: ModelLocation, config: dict[str, Any], rows: int = 0) -> Iterator[tuple[str, str]]:
    """The files beside ``model.bin``: (name, content)."""
    vocabulary = Vocabulary.load(location.path)
    rules = TokenRules.load(location.path, vocabulary)
    generation = read_json(location.path / "generation_config.json", missing_ok=True)
    settings = {
        "suppress_ids": list(rules.suppress),
        "suppress_ids_begin": list(rules.begin_suppress),
        "lang_ids": sorted(vocabulary.languages.values()),
        "alignment_heads": generation.get("alignment_heads") or _upper_heads(config),
    }
    yield _CONFIG, json.dumps(settings)
    names = vocabulary.names(max(rows, vocabulary.size))
    if rows > vocabulary.size and "" not in names:
        names[-1] = ""  # CTranslate2 4.8 takes a model with a token of this name for a multilingual one
    yield _VOCABULARY, json.dumps(names)


def _upper_heads(config: dict[str, Any]) -> list[list[int]]:
    """Every head of the upper half of the layers: what Whisper aligns by where nobody has picked better ones."""
    layers, heads = int(config["decoder_layers"]), int(config["decoder_attention_heads"])
    return [[layer, head] for layer in range(layers // 2, layers) for head in range(heads)]


def _write(location: ModelLocation, directory: Path, part: form.Part) -> None:
    weights, config = _checkpoint(location)
    with (directory / _MODEL).open("wb") as file:
        form.write_model(file, weights, config, part=part)
        size = _to_disk(file)
    seal = {"model": location.id, "revision": location.revision, "bytes": size}
    for name, text in (*_texts(location, config), (_SEAL, json.dumps(seal))):
        with (directory / name).open("wb") as file:
            file.write(text.encode())
            _to_disk(file)


def _to_disk(file: Any) -> int:
    """Make sure that a file outlives a power cut, and say how long it is."""
    file.flush()
    os.fsync(file.fileno())
    return int(file.tell())


def _publish(finished: Path, target: Path, workshop: Path) -> None:
    try:
        finished.rename(target)
    except OSError as error:
        if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
            raise
        if not _is_whole(target):  # else another process was faster
            # What is there was damaged after it was made. Whoever has it open keeps it.
            target.rename(workshop / "damaged")
            finished.rename(target)


def _is_whole(directory: Path) -> bool:
    try:
        seal = json.loads((directory / _SEAL).read_text(encoding="utf-8"))
        others = all((directory / name).stat().st_size for name in (_CONFIG, _VOCABULARY))
        return others and (directory / _MODEL).stat().st_size == seal["bytes"]
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _sweep(directory: Path) -> None:
    """Remove what processes that were killed left behind."""
    for left in directory.glob(".making-*"):
        try:
            if time.time() - left.stat().st_mtime > _ABANDONED_SECONDS:
                shutil.rmtree(left, ignore_errors=True)
        except FileNotFoundError:
            continue  # its maker has just tidied up
