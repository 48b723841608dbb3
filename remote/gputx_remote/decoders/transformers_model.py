"""A Whisper checkpoint as transformers loads it, for everything that runs transformers' own code."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import transformers
from safetensors import SafetensorError
from transformers import WhisperForConditionalGeneration, WhisperProcessor

from gputx_remote.errors import ModelUnavailableError
from gputx_remote.weights import ModelLocation

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


@dataclass
class Checkpoint:
    """A model on its device, and what prepares audio and reads tokens for it."""

    model: Any
    processor: Any

    @property
    def device(self) -> str:
        return str(self.model.device.type)

    @property
    def dtype(self) -> str:
        return str(self.model.dtype).removeprefix("torch.")

    def retreat(self) -> None:
        """Go on with the CPU, in full precision."""
        self.model.to("cpu", torch.float32)


def load(location: ModelLocation, *, device: str, dtype: str, note: Callable[[str], None]) -> Checkpoint:
    """Load a model from local files; on the CPU where GPU memory is too small for it.

    Args:
        location: what :func:`gputx_remote.weights.resolve` found.
        device: "cuda" or "cpu".
        dtype: of :data:`DTYPES`.
        note: told in one line when a fallback is taken.

    Raises:
        ModelUnavailableError: the files are no Whisper model that transformers can load.
    """
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    try:
        return _load(location, device, dtype)
    except torch.OutOfMemoryError:
        note("GPU memory too small for the model: using the CPU")
    return _load(location, "cpu", "float32")


def _load(location: ModelLocation, device: str, dtype: str) -> Checkpoint:
    if device == "cuda":
        # The windows all have one shape, so the time spent on picking convolution kernels comes back.
        torch.backends.cudnn.benchmark = True
    try:
        model = WhisperForConditionalGeneration.from_pretrained(
            location.path,
            dtype=DTYPES[dtype],
            attn_implementation="sdpa",
            use_safetensors=True,
            local_files_only=True,
        )
        processor = WhisperProcessor.from_pretrained(location.path, local_files_only=True)
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        if isinstance(error, torch.OutOfMemoryError):
            raise
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ModelUnavailableError(f"model {location.id}: it can't be loaded: {reason}") from error
    return Checkpoint(model.eval().to(device), processor)
