"""``gputx config``."""

from __future__ import annotations

import json
from pathlib import Path

import click

from gputx.cli.options import as_json, debug
from gputx.cli.render.words import columns
from gputx.cli.say import put, say
from gputx.config import load, project_config_file, user_config_file
from gputx.settings import SETTINGS


@click.group()
def config() -> None:
    """Show every setting and where it comes from.

    \b
      gputx config show
    """


@config.command()
@as_json
@debug
def show(as_json: bool) -> None:
    """Print every setting with its value and where it came from.

    \b
      GPUTX_MARKET=spot gputx config show
    """
    settings = load()
    if as_json:
        rows = {
            s.name: {
                "value": settings.values[s.name],
                "origin": settings.origins[s.name],
                "variable": s.variable,
            }
            for s in SETTINGS
        }
        put(json.dumps({"version": 1, "settings": rows}, indent=2) + "\n")
        return
    put(columns([(s.name, _text(settings.values[s.name]), settings.origins[s.name], s.help) for s in SETTINGS]))
    nearest = project_config_file(Path.cwd())
    say(f"\nproject file: {nearest or 'none (gputx.toml here or above)'}")
    say(f"user file:    {user_config_file()}")


def _text(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(map(str, value)) or "-"
    if isinstance(value, bool):
        return str(value).lower()
    return "-" if value is None else str(value)
