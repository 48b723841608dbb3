"""Where a model's files are: a directory, the local Hugging Face cache, or the hub, in this order.

Only safetensors, configuration and tokenizer are ever fetched; a model that needs code of its own is refused.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from gputx_remote.errors import ModelUnavailableError

PATTERNS = ("*.json", "*.txt", "model.safetensors", "model-*-of-*.safetensors")
COMMIT = re.compile(r"[0-9a-f]{40}")
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


@dataclass(frozen=True)
class ModelLocation:
    """A model on this machine.

    ``revision`` pins its content: a hub commit hash, or for a directory the SHA-256 of its weights unless its
    revision was given.
    """

    path: Path
    id: str
    revision: str


def resolve(model: str, revision: str | None, note: Callable[[str], None]) -> ModelLocation:
    """Find a model's files on this machine, fetching them if that is the only way.

    Args:
        model: a directory, or a hub id such as "KBLab/kb-whisper-small".
        revision: for a hub id a 40-digit commit hash, or None for what the cache or the hub calls "main". For
            a directory it is what to record, as its maker gave it; None has it computed.
        note: told in one line when a download is needed.

    Raises:
        ModelUnavailableError: no such model, or no way to fetch it, or not a Whisper model in safetensors.
    """
    directory = Path(model).expanduser()
    if directory.is_dir():
        weights = _checked(directory, model)
        return ModelLocation(directory, model, revision or _sha256(weights))
    snapshot = _cached(model, revision)
    if snapshot is None:
        if not _is_hub_id(model):
            raise ModelUnavailableError(f"model {model}: there is no such directory, and it is no Hugging Face id")
        if revision is not None and not COMMIT.fullmatch(revision):
            raise ModelUnavailableError(
                f"model {model}: revision {revision!r} can move; pin it by its 40-digit commit hash"
            )
        snapshot = _download(model, revision, note)
    _checked(snapshot, model)
    return ModelLocation(snapshot, model, snapshot.name)


def _is_hub_id(model: str) -> bool:
    from huggingface_hub.errors import HFValidationError  # noqa: PLC0415 - a model in a directory needs no hub
    from huggingface_hub.utils import validate_repo_id  # noqa: PLC0415

    try:
        validate_repo_id(model)
    except HFValidationError:
        return False
    return "/" in model


def _cached(model: str, revision: str | None) -> Path | None:
    """A snapshot in the hub's cache, None where it is not there or not whole.

    Its folders are looked into by hand, as huggingface.co/docs/huggingface_hub/guides/manage-cache describes them:
    importing huggingface_hub takes as long as all else that a worker does before its model is loaded.
    """
    if not HUB_ID.fullmatch(model):
        return None
    repository = _hub_cache() / f"models--{model.replace('/', '--')}"
    try:
        commit = revision or (repository / "refs" / "main").read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        return None
    snapshot = repository / "snapshots" / commit
    # A download that was cut short leaves a snapshot without its weights.
    whole = COMMIT.fullmatch(commit) and _weights(snapshot) and (snapshot / "config.json").is_file()
    return snapshot if whole else None


def _hub_cache() -> Path:
    """Where huggingface_hub keeps downloads: ``constants.py`` of huggingface_hub 1.x."""
    home = os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface"
    named = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE")
    return Path(os.path.expandvars(named or Path(home) / "hub")).expanduser()


def _download(model: str, revision: str | None, note: Callable[[str], None]) -> Path:
    from huggingface_hub import snapshot_download  # noqa: PLC0415 - a model in a directory needs no hub
    from huggingface_hub.errors import (  # noqa: PLC0415
        GatedRepoError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    note(f"model {model} is not on this machine: downloading it from the Hugging Face hub")
    try:
        return Path(snapshot_download(model, revision=revision, allow_patterns=PATTERNS))
    except GatedRepoError as error:
        raise ModelUnavailableError(f"model {model}: its owner asks you to accept terms on the hub first") from error
    except RepositoryNotFoundError as error:
        raise ModelUnavailableError(f"model {model}: the Hugging Face hub knows no such model") from error
    except RevisionNotFoundError as error:
        raise ModelUnavailableError(f"model {model}: it has no revision {revision}") from error
    except (LocalEntryNotFoundError, OfflineModeIsEnabled) as error:
        raise ModelUnavailableError(
            f"model {model}: not on this machine, and the Hugging Face hub can't be reached"
        ) from error
    except (HfHubHTTPError, OSError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ModelUnavailableError(f"model {model}: the download failed: {reason}") from error


def _weights(directory: Path) -> list[Path]:
    whole = directory / "model.safetensors"
    return [whole] if whole.is_file() else sorted(directory.glob("model-*-of-*.safetensors"))


def _checked(directory: Path, model: str) -> list[Path]:
    """The weight files of a directory that is a Whisper model."""
    try:
        config = json.loads((directory / "config.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelUnavailableError(f"model {model}: no config.json in its directory") from None
    except (OSError, ValueError) as error:
        raise ModelUnavailableError(f"model {model}: its config.json can't be read: {error}") from error
    kind = config.get("model_type") if isinstance(config, dict) else None
    if kind != "whisper":
        raise ModelUnavailableError(f"model {model}: its type is {kind!r}, and gputx runs Whisper models")
    weights = _weights(directory)
    if not weights:
        raise ModelUnavailableError(f"model {model}: no safetensors weights in its directory")
    return weights


def _sha256(files: list[Path]) -> str:
    """The hash of one file as it is; of several, over all of them in order of name."""
    digest = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()
