"""What can go wrong beside the GPU. Each message is one line, without the file's name."""

from __future__ import annotations


def one_line(error: BaseException) -> str:
    """The first line of what an exception says, or its class where it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


class AudioUnreadableError(Exception):
    """One input can't be turned into 16 kHz mono audio. The message says why, in one line."""


class ModelUnavailableError(Exception):
    """The model can't be found, fetched or loaded. The message names the model and says why, in one line."""


class EngineUnavailableError(Exception):
    """The engine that was chosen can't run on this machine. The message says why, in one line."""


class EngineError(Exception):
    """The model was loaded but could not transcribe this audio."""


class ProtocolError(Exception):
    """A command was not one of those in docs/contracts.md."""
