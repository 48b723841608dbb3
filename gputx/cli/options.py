"""Options that several commands share. Their defaults live in gputx.config, so that one place knows them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from gputx.config import BY_NAME

F = TypeVar("F", bound=Callable[..., Any])


def setting(name: str, *flags: str) -> Callable[[F], F]:
    """An option for a setting: its flag, its choices and its help come from the settings table."""
    what = BY_NAME[name]
    default = ", ".join(what.default) if isinstance(what.default, tuple) else what.default
    text = what.help + (f"  [default: {default}]" if default else "")
    if what.kind == "flag":
        return _flag(name, text)
    kind = click.Choice(what.choices) if what.kind == "choice" else None
    names = [*flags, "--" + name.replace("_", "-")]
    if "_" in name:
        # The spelling that whisper's own command line uses.
        names.append("--" + name)
    meta = "N" if what.kind == "integer" else None
    return click.option(*names, name, type=kind, multiple=what.kind in {"list", "cidrs"}, metavar=meta, help=text)


def _flag(name: str, text: str) -> Callable[[F], F]:
    """``--name`` and ``--no-name``; and ``--name_so True``, because whisper's own command line wants a value there."""
    words = name.replace("_", "-")
    plain = click.option(f"--{words}/--no-{words}", name, default=None, help=text)
    whisper = click.option(f"--{name}", name, type=str, default=None, hidden=True)
    return lambda command: whisper(plain(command))


def cloud(command: F) -> F:
    """``--on``, ``--region``, ``--profile`` and ``--debug``: for every command that talks to an account."""
    for option in (setting("on"), setting("region"), setting("profile"), debug):
        command = option(command)
    return command


debug = click.option("--debug", is_flag=True, expose_value=False, help="show tracebacks and what the libraries log")

as_json = click.option("--json", "as_json", is_flag=True, help="print one JSON document instead of text")
