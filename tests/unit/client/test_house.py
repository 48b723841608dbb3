"""The house itself: layers, what help costs, and that the overview is what click would print."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from click.testing import CliRunner

from gputx.cli.group import cli
from gputx.cli.main import OVERVIEW

ROOT = Path(__file__).parents[3]


def test_imports_keep_to_the_layers() -> None:
    ended = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout


def test_every_test_module_has_a_name_of_its_own() -> None:
    """Two of one name can't be collected by one process, and which process gets which file is chance."""
    modules = [
        path.name
        for path in (ROOT / "tests").rglob("*.py")
        if path.name not in {"conftest.py", "__init__.py", "__main__.py"}
    ]
    assert not {name for name in modules if modules.count(name) > 1}


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys; sys.argv = ['gputx', *sys.argv[1:]]\n"
        "from gputx.cli.main import main\n"
        "try: main()\nexcept SystemExit: pass\n"
        "heavy = {'boto3', 'botocore', 'paramiko', 'torch', 'transformers', 'moto', 'numpy', 'rich'}\n"
        "heavy &= set(sys.modules)\n"
        "sys.exit(f'loaded: {heavy}' if heavy else 0)"
    )
    for arguments in (
        ["--help"],
        ["run", "--help"],
        ["bench", "--help"],
        ["ps", "--help"],
        ["reap", "--help"],
        ["config", "show", "--help"],
        ["sandbox", "--help"],
    ):
        ended = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
        assert ended.returncode == 0, (arguments, ended.stderr)
        assert "Usage: gputx" in ended.stdout


def test_the_overview_is_what_click_prints() -> None:
    """``make overview`` writes it anew after a command or its summary changed."""
    rendered = CliRunner().invoke(cli, ["--help"], prog_name="gputx").output
    assert OVERVIEW.read_text(encoding="utf-8") == rendered


def test_a_shell_can_ask_for_completions() -> None:
    environ = {**os.environ, "_GPUTX_COMPLETE": "bash_source"}
    ended = subprocess.run(
        [Path(sys.executable).with_name("gputx")], env=environ, capture_output=True, text=True, check=True
    )
    assert "complete -o nosort -F" in ended.stdout
    typed = {**environ, "_GPUTX_COMPLETE": "bash_complete", "COMP_WORDS": "gputx run --mar", "COMP_CWORD": "2"}
    ended = subprocess.run(
        [Path(sys.executable).with_name("gputx")], env=typed, capture_output=True, text=True, check=True
    )
    assert "--market" in ended.stdout
