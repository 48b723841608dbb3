"""What the settings ask of the engine, refused here where it can't be: before anything is launched."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import click

from gputx.config import Configuration
from gputx.errors import ConfigurationError, InputError

THRESHOLDS = {
    "compression_ratio": "compression_ratio_threshold",
    "logprob": "logprob_threshold",
    "no_speech": "no_speech_threshold",
    "repeats": "repeats_threshold",
}
"""Setting by field of ``Thresholds``."""

SPEECH = {
    "detector": "vad",
    "threshold": "vad_threshold",
    "hysteresis": "vad_hysteresis",
    "min_speech_ms": "vad_min_speech_ms",
    "min_silence_ms": "vad_min_silence_ms",
    "padding_before_ms": "vad_padding_before_ms",
    "padding_after_ms": "vad_padding_after_ms",
    "max_window_seconds": "max_window_seconds",
    "max_silence_seconds": "max_silence_seconds",
}
"""Setting by field of ``SpeechOptions``."""


def decoding(settings: Configuration) -> dict[str, Any]:
    """The fields ``temperatures``, ``thresholds`` and ``speech`` of ``Asked``; None for each that nobody gave.

    Raises:
        InputError: the worker would not take one, and a flag said it.
        ConfigurationError: the same of a settings file or a variable.
    """
    from gputx_remote.engine.transcriber import Thresholds, TranscribeOptions  # noqa: PLC0415 - only run needs them
    from gputx_remote.speech.plan import SpeechOptions  # noqa: PLC0415

    temperatures = settings.numbers("temperatures")
    thresholds, speech = _given(settings, THRESHOLDS), _given(settings, SPEECH)
    names = {"temperatures": "temperatures"}
    try:
        if temperatures is not None:
            TranscribeOptions(temperatures=temperatures)
        names = THRESHOLDS
        Thresholds(**thresholds)
        names = SPEECH
        SpeechOptions(**speech)
    except ValueError as error:
        raise _refused(str(error), names, settings) from None
    return {"temperatures": temperatures, "thresholds": thresholds or None, "speech": speech or None}


def engine(settings: Configuration, *, word_timestamps: bool) -> Any:
    """The :class:`gputx.workflows.model.Engine` that serves. Raises UsageError where there is none."""
    from gputx.workflows.model import Engine  # noqa: PLC0415 - commands load what they need when they run
    from gputx_remote.engine.choice import Choice  # noqa: PLC0415

    choice = Choice(settings.text("algorithm"), settings.text("decoder"), settings.text("compute_type"))
    wishes = [name for name in ("initial_prompt", "hotwords", "condition_on_previous_text") if settings.values[name]]
    tuned = ("temperatures", *THRESHOLDS.values(), *SPEECH.values())
    wishes += [name for name in tuned if settings.values[name] is not None]
    if word_timestamps:
        wishes.append("word_timestamps")
    try:
        choice.check()
        choice = choice.able(wishes)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    return Engine(choice, settings.integer("batch_size"))


_OF_A_SERVER = ("algorithm", "decoder", "compute_type", "batch_size", "condition_on_previous_text")
"""What is settled where a server is started, or that its API has no word for."""


def for_servers(settings: Configuration) -> None:
    """Refuse what a server takes from nobody, where servers are named. Raises InputError, ConfigurationError."""
    if settings.text("on").startswith(("http://", "https://")) and (names := _of_a_server(settings)):
        by_flag = any(settings.origins[name].startswith("flag ") for name in names)
        raise (InputError if by_flag else ConfigurationError)(
            f"a server takes no {', '.join(settings.said(name) for name in names)}",
            hint="leave it away, or --on aws or --on local",
        )


def not_for_servers(settings: Configuration) -> tuple[str, ...]:
    """What was chosen that a server takes from nobody, as it was written."""
    return tuple(settings.said(name) for name in _of_a_server(settings))


def _of_a_server(settings: Configuration) -> list[str]:
    return [name for name in (*_OF_A_SERVER, *THRESHOLDS.values(), *SPEECH.values()) if settings.chosen(name)]


def _given(settings: Configuration, names: Mapping[str, str]) -> dict[str, Any]:
    return {field: settings.values[name] for field, name in names.items() if settings.values[name] is not None}


def _refused(why: str, names: Mapping[str, str], settings: Configuration) -> InputError | ConfigurationError:
    """The worker's own line, with its fields as the person wrote them."""
    field = re.compile(rf"\b({'|'.join(names)})\b")
    named = {names[found] for found in field.findall(why)}
    line = field.sub(lambda match: settings.said(names[match.group()]), why)
    by_flag = any(settings.origins[name].startswith("flag ") for name in named)
    return (InputError if by_flag else ConfigurationError)(line, hint="gputx run --help")
