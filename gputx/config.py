"""Settings and where each came from: flag, ``GPUTX_*``, project gputx.toml, user config, default."""

from __future__ import annotations

import difflib
import ipaddress
import math
import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import platformdirs

from gputx.errors import ConfigurationError, InputError
from gputx.models import DEFAULT_MODEL
from gputx.units import parse_duration
from gputx_remote.engine.choice import ALGORITHMS, COMPUTE_TYPES, DECODERS
from gputx_remote.writers import FORMATS

SHORTEST_SECONDS, LONGEST_SECONDS = 60.0, 24 * 3600.0
"""Of ``ttl``: the deadline on an instance counts in minutes, and nobody means days."""

SHORTEST_GRACE_SECONDS = 120.0
"""Of ``grace``: a client that is alive has to be heard several times in it, over a line that may be slow."""

Kind = Literal["text", "list", "cidrs", "duration", "choice", "path", "money", "integer", "flag"]


@dataclass(frozen=True)
class Setting:
    """One thing that can be configured. Durations are kept as the text that was written; integers are 1 or more."""

    name: str
    kind: Kind
    default: str | tuple[str, ...] | bool | None
    help: str
    choices: tuple[str, ...] = ()

    @property
    def variable(self) -> str:
        return f"GPUTX_{self.name.upper()}"


SETTINGS: tuple[Setting, ...] = (
    Setting("on", "choice", "aws", "where a job runs", ("aws", "sandbox", "local")),
    Setting("region", "text", "eu-north-1", "AWS region"),
    Setting("profile", "text", None, "AWS profile from your AWS config"),
    Setting("language", "text", "sv", "spoken language: a code, its English name, or auto"),
    Setting("model", "text", DEFAULT_MODEL, "Hugging Face id or directory of a Whisper model"),
    Setting("task", "choice", "transcribe", "what to do with speech", ("transcribe", "translate")),
    Setting("output_dir", "path", ".", "where transcripts are written"),
    Setting("output_format", "list", ("txt",), f"{', '.join(FORMATS)}, or all", (*FORMATS, "all")),
    Setting("max_line_width", "integer", None, "characters on a line of subtitles"),
    Setting("max_line_count", "integer", None, "lines in a subtitle; implies --word-timestamps"),
    Setting("max_words_per_line", "integer", None, "words on a line of subtitles; implies --word-timestamps"),
    Setting("highlight_words", "flag", False, "underline each word as it is spoken; implies --word-timestamps"),
    Setting("word_timestamps", "flag", False, "find when each word is spoken"),
    Setting("algorithm", "choice", "auto", "vad, chunked (the stock pipeline) or sequential", ALGORITHMS),
    Setting("decoder", "choice", "auto", "what runs the model (the fastest measured there)", DECODERS),
    Setting("compute_type", "choice", "auto", "the decoder's arithmetic", COMPUTE_TYPES),
    Setting("batch_size", "integer", None, "windows of 30 s at once (what memory has room for)"),
    Setting("initial_prompt", "text", None, "text to stand before the recording: names, spelling, style"),
    Setting("hotwords", "text", None, "words to expect"),
    Setting("condition_on_previous_text", "flag", False, "give each window the text before it: one by one, slower"),
    Setting("channel", "text", None, "the channel to hear: left, right or a number (all of them, mixed)"),
    Setting("market", "choice", "auto", "auto: spot, then on-demand", ("auto", "spot", "on-demand")),
    Setting("instance_type", "list", ("g4dn.xlarge",), "EC2 instance types that may be used"),
    Setting("zone", "list", (), "availability zones that may be used (all that offer the type)"),
    Setting("ttl", "duration", "2h", "an instance powers itself off after this, whatever happens"),
    Setting("max_cost", "money", None, "an instance powers itself off before it can have cost more than this, in USD"),
    Setting("grace", "duration", "10m", "an instance powers itself off when it has not heard from gputx for so long"),
    Setting("boot_timeout", "duration", "6m", "give up on an instance that does not answer by then"),
    Setting("bucket", "text", None, "S3 bucket for results (transcription-<account id>); none: no S3"),
    Setting("image", "text", None, "AMI to use (the newest gputx image of the account)"),
    Setting("subnet", "text", None, "subnet to launch in (the default VPC's)"),
    Setting("allow_cidr", "cidrs", (), "address ranges that may reach SSH (your own public address)"),
)
BY_NAME = {setting.name: setting for setting in SETTINGS}


@dataclass(frozen=True)
class Configuration:
    """The value of every setting, and its origin in words a person can act on."""

    values: Mapping[str, Any]
    origins: Mapping[str, str]

    def text(self, name: str) -> str:
        value = self.values[name]
        if not isinstance(value, str):
            raise TypeError(f"{name} is not set")
        return value

    def optional(self, name: str) -> str | None:
        value = self.values[name]
        return None if value is None else str(value)

    def items(self, name: str) -> tuple[str, ...]:
        return tuple(self.values[name])

    def seconds(self, name: str) -> float:
        return parse_duration(self.text(name))

    def dollars(self, name: str) -> float | None:
        """An amount in USD; None where none was given."""
        value = self.optional(name)
        return None if value is None else float(value)

    def integer(self, name: str) -> int | None:
        """A whole number; None where none was given."""
        value = self.values[name]
        return None if value is None else int(value)

    def flag(self, name: str) -> bool:
        return bool(self.values[name])

    def chosen(self, name: str) -> bool:
        """Whether anyone chose it: its origin is not the built-in default."""
        return self.origins[name] != "default"


def user_config_file() -> Path:
    return Path(platformdirs.user_config_dir("gputx", appauthor=False)) / "config.toml"


def state_directory(otherwise: Path | None = None) -> Path:
    """Where gputx keeps what it must remember between commands: the journal, pinned model revisions.

    ``GPUTX_STATE_DIR`` if set, else ``otherwise``, else the user's state directory.
    """
    if named := os.environ.get("GPUTX_STATE_DIR"):
        return Path(named).absolute()
    return otherwise or Path(platformdirs.user_state_dir("gputx", appauthor=False))


def project_config_file(start: Path) -> Path | None:
    """The nearest gputx.toml at or above ``start``."""
    for folder in (start, *start.parents):
        if (candidate := folder / "gputx.toml").is_file():
            return candidate
    return None


def load(
    flags: Mapping[str, Any] | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    user_file: Path | None = None,
) -> Configuration:
    """Merge all sources; the first that sets a value wins.

    Args:
        flags: values from the command line; None and empty tuples count as not given.

    Raises:
        ConfigurationError: a file is not TOML, or names a setting that does not exist or can't have that value.
        InputError: the same for a flag.
    """
    environ = os.environ if environ is None else environ
    user_file = user_file or user_config_file()
    project_file = project_config_file(cwd or Path.cwd())
    layers: list[tuple[str, Mapping[str, Any]]] = [
        ("flag", {k: v for k, v in (flags or {}).items() if v is not None and v != ()}),
        ("environment", {s.name: environ[s.variable] for s in SETTINGS if environ.get(s.variable)}),
        (str(project_file), _read(project_file) if project_file else {}),
        (str(user_file), _read(user_file) if user_file.is_file() else {}),
    ]
    _refuse_mistyped(environ)
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for setting in SETTINGS:
        values[setting.name], origins[setting.name] = setting.default, "default"
        for origin, layer in layers:
            if setting.name in layer:
                said_in = {"flag": "--" + setting.name.replace("_", "-"), "environment": setting.variable}
                where = said_in.get(origin, f"{setting.name} in {origin}")
                failure = InputError if origin == "flag" else ConfigurationError
                values[setting.name] = _check(setting, layer[setting.name], where, failure)
                origins[setting.name] = f"flag {where}" if origin == "flag" else said_in.get(origin, origin)
                break
    return Configuration(values, origins)


def _refuse_mistyped(environ: Mapping[str, str]) -> None:
    """A variable that is almost one of ours was meant to be it; one that is not may be anybody's."""
    known = [setting.variable for setting in SETTINGS]
    others = [
        n for n in environ if n.startswith("GPUTX_") and n not in (*known, "GPUTX_STATE_DIR", "GPUTX_SANDBOX_DIR")
    ]
    for name in others:
        if close := difflib.get_close_matches(name, known, n=1, cutoff=0.8):
            raise ConfigurationError(f"{name} is set, which gputx does not know", hint=f"did you mean {close[0]}?")


def _read(file: Path) -> Mapping[str, Any]:
    try:
        table = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigurationError(f"{file} can't be read: {error}", hint="docs/configuration.md shows one") from None
    for name in table:
        if name not in BY_NAME:
            close = difflib.get_close_matches(name, BY_NAME, n=1)
            hint = f"did you mean {close[0]}?" if close else "`gputx config show` lists every setting"
            raise ConfigurationError(f"{file} sets {name!r}, which gputx does not know", hint=hint)
    return table


def _check(setting: Setting, value: Any, where: str, failure: type[InputError | ConfigurationError]) -> Any:
    """Bring a raw value to the setting's kind, or say what is wrong with it."""
    if setting.kind in {"list", "cidrs"}:
        pieces = value.split(",") if isinstance(value, str) else value
        if not isinstance(pieces, list | tuple) or not all(isinstance(piece, str) for piece in pieces):
            raise failure(f"{where} has to be a list of words", hint=setting.help)
        words = tuple(word.strip() for piece in pieces for word in piece.split(",") if word.strip())
        for word in words:
            if setting.choices and word.lower() not in setting.choices:
                raise failure(f"{where} can't be {word!r}", hint=f"one or more of: {', '.join(setting.choices)}")
        if setting.kind == "cidrs":
            for word in words:
                _check_cidr(word, where, failure)
        return words
    if setting.kind == "flag":
        return _check_flag(value, where, failure)
    if not isinstance(value, str | int | float | Path) or isinstance(value, bool):
        raise failure(f"{where} has to be a word, not {value!r}", hint=setting.help)
    text = str(value)
    if setting.kind == "choice" and text not in setting.choices:
        raise failure(f"{where} can't be {text!r}", hint=f"one of: {', '.join(setting.choices)}")
    if setting.kind == "duration":
        _check_duration(setting, text, where, failure)
    if setting.kind == "money":
        _check_money(text, where, failure)
    if setting.kind == "integer":
        return _check_integer(text, where, failure)
    return text


def _check_duration(setting: Setting, text: str, where: str, failure: type[InputError | ConfigurationError]) -> None:
    try:
        seconds = parse_duration(text)
    except InputError as error:
        raise failure(f"{where}: {error.message}", hint=error.hint) from None
    if not SHORTEST_SECONDS <= seconds <= LONGEST_SECONDS and setting.name == "ttl":
        raise failure(f"{where} can't be {text}", hint="from 1m to 24h: an instance that outlives it ends itself")
    if seconds < SHORTEST_GRACE_SECONDS and setting.name == "grace":
        raise failure(f"{where} can't be {text}", hint="2m at least: gputx is heard every eighth of it")
    if seconds <= 0:
        raise failure(f"{where} has to be longer than nothing", hint="write it like 90s, 15m or 2h")


def _check_money(text: str, where: str, failure: type[InputError | ConfigurationError]) -> None:
    try:
        amount = float(text)
    except ValueError:
        amount = math.nan
    if not 0 < amount < math.inf:
        raise failure(f"{where} can't be {text!r}", hint="an amount in USD, written like 0.25")


def _check_integer(text: str, where: str, failure: type[InputError | ConfigurationError]) -> int:
    if not re.fullmatch("0*[1-9][0-9]{0,8}", text, re.ASCII):
        raise failure(f"{where} can't be {text!r}", hint="a whole number, 1 or more")
    return int(text)


def _check_flag(value: Any, where: str, failure: type[InputError | ConfigurationError]) -> bool:
    word = str(value).lower() if isinstance(value, bool | str) else ""
    if word in {"true", "yes", "on", "1"}:
        return True
    if word in {"false", "no", "off", "0"}:
        return False
    raise failure(f"{where} can't be {value!r}", hint="true or false")


def _check_cidr(word: str, where: str, failure: type[InputError | ConfigurationError]) -> None:
    try:
        ipaddress.IPv4Network(word)
    except ValueError as error:
        raise failure(f"{where} can't be {word!r}: {error}", hint="write it like 203.0.113.7/32") from None
