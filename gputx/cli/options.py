"""Options that several commands share. Their defaults live in gputx.settings, so that one place knows them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from gputx.settings import BY_NAME

F = TypeVar("F", bound=Callable[..., Any])


class Sectioned(click.Command):
    """A command with many options: those of a setting stand under its heading."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        sections: dict[str, list[tuple[str, str]]] = {"Options": []}
        for parameter in self.get_params(ctx):
            if (record := parameter.get_help_record(ctx)) is not None:
                known = BY_NAME.get(parameter.name or "")
                sections.setdefault(known.section if known else "Options", []).append(record)
        for heading, records in sections.items():
            with formatter.section(heading):
                formatter.write_dl(records)


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
    meta = {"integer": "N", "number": "N", "numbers": "N,N,...", "place": f"[{'|'.join(what.choices)}|...]"}.get(
        what.kind
    )
    several = what.kind in {"list", "cidrs", "numbers"}
    return click.option(*names, name, type=kind, multiple=several, metavar=meta, help=text)


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
