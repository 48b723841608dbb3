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
from typing import Any

import platformdirs

from gputx.errors import ConfigurationError, InputError
from gputx.settings import BY_NAME, SETTINGS, Setting
from gputx.units import parse_duration

SHORTEST_SECONDS, LONGEST_SECONDS = 60.0, 24 * 3600.0
"""Of ``ttl``: the deadline on an instance counts in minutes, and nobody means days."""

SHORTEST_GRACE_SECONDS = 120.0
"""Of ``grace``: a client that is alive has to be heard several times in it, over a line that may be slow."""

_NO_SETTINGS = ("GPUTX_STATE_DIR", "GPUTX_SANDBOX_DIR", "GPUTX_TOKEN")
"""Variables of gputx's that no file may set, and that `gputx config show` does not show."""

_NUMBER = re.compile(r"\s*[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]+)?\s*", re.ASCII | re.IGNORECASE)


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

    def number(self, name: str) -> float | None:
        """A number, an int where it is whole; None where none was given."""
        value: float | None = self.values[name]
        return value

    def numbers(self, name: str) -> tuple[float, ...] | None:
        """As :meth:`number`, of several."""
        value: tuple[float, ...] | None = self.values[name]
        return value

    def flag(self, name: str) -> bool:
        return bool(self.values[name])

    def chosen(self, name: str) -> bool:
        """Whether anyone chose it: its origin is not the built-in default."""
        return self.origins[name] != "default"

    def said(self, name: str) -> str:
        """A setting as it was written, for a message: its flag, its variable, or its name and the file."""
        origin = self.origins[name]
        if origin == "default" or origin.startswith("flag "):
            return _flag(name)
        return origin if origin == BY_NAME[name].variable else f"{name} in {origin}"


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
                said_in = {"flag": _flag(setting.name), "environment": setting.variable}
                where = said_in.get(origin, f"{setting.name} in {origin}")
                failure = InputError if origin == "flag" else ConfigurationError
                values[setting.name] = _check(setting, layer[setting.name], where, failure)
                origins[setting.name] = f"flag {where}" if origin == "flag" else said_in.get(origin, origin)
                break
    return Configuration(values, origins)


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _refuse_mistyped(environ: Mapping[str, str]) -> None:
    """A variable that is almost one of ours was meant to be it; one that is not may be anybody's."""
    known = [setting.variable for setting in SETTINGS]
    others = [n for n in environ if n.startswith("GPUTX_") and n not in (*known, *_NO_SETTINGS)]
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
    if setting.kind in {"list", "cidrs", "numbers"}:
        return _check_list(setting, value, where, failure)
    if setting.kind == "number":
        return _check_number(value, where, failure)
    if setting.kind == "flag":
        return _check_flag(value, where, failure)
    if not isinstance(value, str | int | float | Path) or isinstance(value, bool):
        raise failure(f"{where} has to be a word, not {value!r}", hint=setting.help)
    text = str(value)
    if setting.kind == "place" and text != "auto" and not text.startswith(("http://", "https://")):
        places = (*setting.choices, "auto")
        if text not in places:
            raise failure(f"{where} can't be {text!r}", hint=f"one of: {', '.join(places)}; or https://… of servers")
    if setting.kind == "choice" and text not in setting.choices:
        raise failure(f"{where} can't be {text!r}", hint=f"one of: {', '.join(setting.choices)}")
    if setting.kind == "duration":
        _check_duration(setting, text, where, failure)
    if setting.kind == "money":
        _check_money(text, where, failure)
    if setting.kind == "integer":
        return _check_integer(text, where, failure)
    return text


def _check_list(
    setting: Setting, value: Any, where: str, failure: type[InputError | ConfigurationError]
) -> tuple[str, ...] | tuple[float, ...]:
    pieces = value if isinstance(value, list | tuple) else [value]
    if setting.kind == "numbers":
        split = [part for piece in pieces for part in (piece.split(",") if isinstance(piece, str) else [piece])]
        return tuple(_check_number(part, where, failure) for part in split if part != "")
    if not all(isinstance(piece, str) for piece in pieces):
        raise failure(f"{where} has to be a list of words", hint=setting.help)
    words = tuple(word.strip() for piece in pieces for word in piece.split(",") if word.strip())
    for word in words:
        if setting.choices and word.lower() not in setting.choices:
            raise failure(f"{where} can't be {word!r}", hint=f"one or more of: {', '.join(setting.choices)}")
        if setting.kind == "cidrs":
            _check_cidr(word, where, failure)
    return words


def _check_duration(setting: Setting, text: str, where: str, failure: type[InputError | ConfigurationError]) -> None:
    try:
        seconds = parse_duration(text)
    except InputError as error:
        raise failure(f"{where}: {error.message}", hint=error.hint) from None
    if not SHORTEST_SECONDS <= seconds <= 7 * LONGEST_SECONDS and setting.name == "max_lifetime":
        raise failure(f"{where} can't be {text}", hint="from 1m to 7d: a server that outlives it ends itself")
    if seconds < SHORTEST_SECONDS and setting.name == "idle_timeout":
        raise failure(f"{where} can't be {text}", hint="1m at least")
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


def _check_number(value: Any, where: str, failure: type[InputError | ConfigurationError]) -> float:
    """A number that is finite; whether it can be is for the options it goes into. An int where it is whole."""
    try:
        number = math.nan if isinstance(value, bool) or not _NUMBER.fullmatch(str(value)) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise failure(f"{where} can't be {value!r}", hint="a number, written like 0.5")
    return int(number) if number.is_integer() else number


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
