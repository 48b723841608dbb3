"""Write gputx/cli/overview.txt from the commands: what ``gputx --help`` prints without importing click."""

from __future__ import annotations

from click.testing import CliRunner

from gputx.cli.group import cli
from gputx.cli.main import OVERVIEW

OVERVIEW.write_text(CliRunner().invoke(cli, ["--help"], prog_name="gputx").output, encoding="utf-8")
