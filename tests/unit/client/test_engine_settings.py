"""Settings of decoding and of speech detection: that each reaches the worker as given, and what is refused before."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any, cast

import click
import pytest
from click.testing import CliRunner

from gputx import config
from gputx.cli import engine
from gputx.cli import run as command
from gputx.errors import ConfigurationError, InputError
from gputx.settings import BY_NAME
from gputx.workflows.worker import Asked, LineStream, Worker
from gputx_remote import protocol
from gputx_remote.engine.choice import Choice
from gputx_remote.engine.transcriber import Thresholds, TranscribeOptions
from gputx_remote.speech.plan import SpeechOptions


def load(tmp_path: Path, toml: str = "", environ: dict[str, str] | None = None, **flags: Any) -> config.Configuration:
    (tmp_path / "gputx.toml").write_text(toml)
    return config.load(flags, environ=environ or {}, cwd=tmp_path, user_file=tmp_path / "none.toml")


def asked(settings: config.Configuration) -> Asked:
    given: Asked = command._request(("a.mp3",), settings, dry_run=True).asked
    return given


class Heard:
    """Keeps what is written."""

    def __init__(self) -> None:
        self.written: list[str] = []

    def write_line(self, line: str) -> None:
        self.written.append(line)


def understood(settings: config.Configuration) -> TranscribeOptions:
    """What the worker makes of the command that these settings send."""
    heard = Heard()
    Worker(cast(LineStream, heard)).transcribe("f0", "a.flac", asked(settings))
    (read,) = protocol.commands(line.encode() for line in heard.written)
    assert isinstance(read, protocol.Transcribe)
    return read.options


GIVEN: dict[str, tuple[str, Any]] = {
    "detector": ("energy", "energy"),
    "threshold": ("0.4", 0.4),
    "hysteresis": ("0", 0),
    "min_speech_ms": ("96", 96),
    "min_silence_ms": ("0", 0),
    "padding_before_ms": ("0", 0),
    "padding_after_ms": ("500", 500),
    "max_window_seconds": ("12.5", 12.5),
    "max_silence_seconds": ("4", 4),
}


@pytest.mark.parametrize("field", [field.name for field in fields(SpeechOptions)])
def test_every_option_of_speech_detection_reaches_the_worker(tmp_path: Path, field: str) -> None:
    written, value = GIVEN[field]
    by_flag: dict[str, Any] = {engine.SPEECH[field]: written}
    for settings in (
        load(tmp_path, **by_flag),
        load(tmp_path, environ={BY_NAME[engine.SPEECH[field]].variable: written}),
        load(tmp_path, f"{engine.SPEECH[field]} = {json.dumps(value)}"),
    ):
        assert asked(settings).speech == {field: value}
        assert understood(settings).speech == SpeechOptions(**{field: value})


@pytest.mark.parametrize(
    ("field", "written", "value"),
    [("compression_ratio", "2", 2), ("logprob", "-0.5", -0.5), ("no_speech", "0", 0), ("repeats", "6", 6)],
)
def test_every_threshold_reaches_the_worker(tmp_path: Path, field: str, written: str, value: Any) -> None:
    by_flag: dict[str, Any] = {engine.THRESHOLDS[field]: written}
    settings = load(tmp_path, **by_flag)
    assert asked(settings).thresholds == {field: value}
    assert understood(settings).thresholds == Thresholds(**{field: value})


def test_no_threshold_was_forgotten() -> None:
    assert set(engine.THRESHOLDS) == {field.name for field in fields(Thresholds)}
    assert {"temperatures", *engine.THRESHOLDS.values(), *engine.SPEECH.values()} <= {
        parameter.name for parameter in command.run.params
    }


def test_temperatures_come_as_a_list_from_every_source(tmp_path: Path) -> None:
    for settings in (
        load(tmp_path, temperatures=("0,0.4", "1")),
        load(tmp_path, environ={"GPUTX_TEMPERATURES": "0, 0.4, 1"}),
        load(tmp_path, "temperatures = [0, 0.4, 1.0]"),
        load(tmp_path, 'temperatures = "0,0.4,1"'),
    ):
        assert understood(settings).temperatures == (0, 0.4, 1)
    assert understood(load(tmp_path, "temperatures = 0.2")).temperatures == (0.2,)


def test_what_nobody_gave_is_left_to_the_worker(tmp_path: Path) -> None:
    given = asked(load(tmp_path))
    assert (given.temperatures, given.thresholds, given.speech) == (None, None, None)
    assert understood(load(tmp_path)) == TranscribeOptions()


@pytest.mark.parametrize("value", ["", "wide", "0,5", "nan", "inf", "1_0", "٤", "1e999", "0x1"])
def test_a_number_is_a_number(tmp_path: Path, value: str) -> None:
    with pytest.raises(InputError, match=r"^--vad-threshold can't be"):
        load(tmp_path, vad_threshold=value)


@pytest.mark.parametrize("line", ["vad_threshold = true", "vad_threshold = [0.5]", "temperatures = [[0]]", "vad = 1"])
def test_a_settings_file_has_to_give_the_right_kind(tmp_path: Path, line: str) -> None:
    with pytest.raises(ConfigurationError):
        load(tmp_path, line)


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        ({"vad_threshold": "1"}, "--vad-threshold is between 0 and 1, not 1"),
        ({"vad_threshold": "0.1"}, "--vad-hysteresis is at least 0 and below the --vad-threshold (0.1): 0.15"),
        ({"vad_padding_before_ms": "1001"}, "--vad-padding-before-ms is 0 to 1000, not 1001: Whisper starts within"),
        ({"max_window_seconds": "31"}, "--max-window-seconds is 5 to 30, not 31"),
        ({"repeats_threshold": "1"}, "--repeats-threshold is a whole number, 2 or more, not 1"),
        ({"temperatures": ("0,3",)}, "--temperatures go from 0 to 2"),
        ({"temperatures": (",",)}, "--temperatures go from 0 to 2, and there is one at least"),
    ],
)
def test_what_the_worker_would_not_take_is_refused_here(tmp_path: Path, flags: dict[str, Any], line: str) -> None:
    with pytest.raises(InputError) as caught:
        asked(load(tmp_path, **flags))
    assert caught.value.message.startswith(line)
    assert "\n" not in caught.value.message


def test_a_refusal_names_what_was_written_where_it_was_written(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"^GPUTX_VAD_THRESHOLD is between 0 and 1, not 7$"):
        asked(load(tmp_path, environ={"GPUTX_VAD_THRESHOLD": "7"}))
    with pytest.raises(ConfigurationError) as caught:
        asked(load(tmp_path, "max_silence_seconds = 1"))
    assert caught.value.message == f"max_silence_seconds in {tmp_path / 'gputx.toml'} is 2 to 30, not 1"
    # A flag that does not go with what a file says is a mistake in usage.
    with pytest.raises(InputError) as mixed:
        asked(load(tmp_path, "vad_threshold = 0.3", vad_hysteresis="0.3"))
    assert f"below the vad_threshold in {tmp_path / 'gputx.toml'} (0.3): 0.3" in mixed.value.message


@pytest.mark.parametrize("arguments", [["--vad-threshold", "2"], ["--vad", "loud"], ["--temperatures", "warm"]])
def test_a_bad_value_ends_with_2_and_one_line(tmp_path: Path, arguments: list[str]) -> None:
    environ = {"HOME": str(tmp_path), "GPUTX_ON": "sandbox", "GPUTX_SANDBOX_DIR": str(tmp_path / "sandbox")}
    ended = subprocess.run(
        [sys.executable, "-m", "gputx", "run", "a.mp3", *arguments],
        cwd=tmp_path,
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 2
    first, second = ended.stderr.splitlines()
    assert first.startswith("error: ")
    assert arguments[0] in first
    assert second.startswith("  next: ")
    assert not (tmp_path / "sandbox").exists()


def choice(settings: config.Configuration) -> Choice:
    serving: Choice = engine.engine(settings, word_timestamps=False).choice
    return serving


def test_an_algorithm_that_is_left_open_is_one_that_listens(tmp_path: Path) -> None:
    assert choice(load(tmp_path)) == Choice()
    # Nought is a wish like any other.
    wishes: tuple[dict[str, Any], ...]
    wishes = ({"vad": "none"}, {"vad_hysteresis": "0"}, {"temperatures": ("0",)}, {"repeats_threshold": "3"})
    for wish in wishes:
        assert choice(load(tmp_path, **wish)) == Choice("vad")


@pytest.mark.parametrize(
    ("algorithm", "flags", "flag"),
    [
        ("chunked", {"vad_threshold": "0.4"}, "--vad-threshold"),
        ("chunked", {"temperatures": ("0",)}, "--temperatures"),
        ("sequential", {"max_window_seconds": "20"}, "--max-window-seconds"),
        ("sequential", {"repeats_threshold": "3"}, "--repeats-threshold"),
    ],
)
def test_what_an_algorithm_has_no_use_for_is_refused(
    tmp_path: Path, algorithm: str, flags: dict[str, Any], flag: str
) -> None:
    with pytest.raises(click.UsageError, match=f"^{flag} can't be had with --algorithm {algorithm}; it can with"):
        choice(load(tmp_path, algorithm=algorithm, **flags))


def test_whispers_long_form_falls_back_as_asked(tmp_path: Path) -> None:
    flags: dict[str, Any] = {"temperatures": ("0,1",), "compression_ratio_threshold": "2", "logprob_threshold": "-2"}
    assert choice(load(tmp_path, algorithm="sequential", no_speech_threshold="0.5", **flags)) == Choice("sequential")


def test_the_page_lists_every_setting_with_the_workers_default() -> None:
    page = (Path(__file__).parents[3] / "docs" / "configuration.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `(\w+)` \| (.+?) \|", page, re.MULTILINE))
    assert set(rows) == set(BY_NAME)
    for name in ("temperatures", *engine.THRESHOLDS.values(), *engine.SPEECH.values()):
        assert BY_NAME[name].help.endswith(f"[default: {rows[name].strip('`')}]"), name


def test_help_has_them_under_headings_of_their_own() -> None:
    told = CliRunner().invoke(command.run, ["--help"]).output
    first, rest = told.split("\nDecoding:\n")
    decoding, speech = rest.split("\nSpeech detection:\n")
    assert "--language" in first
    assert "--help" in first
    assert "--algorithm" in decoding
    assert "--logprob_threshold" in decoding
    assert "--vad-hysteresis" in speech
    assert "--vad" not in first
