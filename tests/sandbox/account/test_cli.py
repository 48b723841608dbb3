"""``gputx sandbox``, as typed."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from gputx import sandbox as room
from gputx.cli.sandbox import sandbox
from gputx.errors import ConfigurationError, InputError

from .lab import Lab


def _type(*words: str) -> Result:
    return CliRunner().invoke(sandbox, list(words))


@pytest.fixture
def empty_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("GPUTX_SANDBOX_DIR", str(tmp_path))
    yield tmp_path
    if account := room.find():
        account.stop()


def test_a_session_from_up_to_down(empty_place: Path) -> None:
    up = _type("up")
    assert up.exit_code == 0
    endpoint = up.stdout.strip()
    assert endpoint.startswith("http://127.0.0.1:")
    assert "gputx sandbox down" in up.stderr
    assert _type("up").stdout.strip() == endpoint
    exports = _type("up", "--export").stdout
    assert f"export AWS_ENDPOINT_URL={endpoint}\n" in exports

    status = json.loads(_type("status", "--json").stdout)
    assert status["endpoint_url"] == endpoint
    assert {"region", "access_key", "secret_key", "model", "account_id", "table"} <= status.keys()
    assert Path(status["model"], "model.safetensors").is_file()
    assert endpoint in _type("status").stdout

    assert _type("advance", "15m").exit_code == 0
    assert json.loads(_type("status", "--json").stdout)["clock_offset"] == 900

    first = _type("rule", "pool", "zone=eu-north-1a", "no-capacity").stdout.strip()
    second = _type("rule", "add", "RunInstances error=Unsupported message='not here'").stdout.strip()
    third = _type("rule", "Describe*", "error=Unsupported", "message=not here").stdout.strip()
    rules = json.loads(_type("rule", "list", "--json").stdout)
    assert [entry["id"] for entry in rules] == [first, second, third]
    assert "no-capacity" in _type("rule").stdout
    assert _type("rule", "remove", first).exit_code == 0
    assert _type("rule", "clear").exit_code == 0
    assert _type("rule", "list").stdout == "no rules are in force\n"
    refused = _type("rule", "lag", "tomorrow")
    assert isinstance(refused.exception, InputError)

    assert _type("down").exit_code == 0
    assert room.find() is None


def test_exports_lead_boto3_here_whatever_the_shell_had_before(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPUTX_SANDBOX_DIR", str(lab.account.state_dir))
    before = {
        "AWS_DEFAULT_REGION": "us-west-2",
        "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true",
        "AWS_ENDPOINT_URL_EC2": "http://127.0.0.1:1",
        "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:1",
        "AWS_PROFILE": "real",
        "AWS_DEFAULT_PROFILE": "real",
        "AWS_SESSION_TOKEN": "real",
    }
    for name, value in before.items():
        monkeypatch.setenv(name, value)
    look = "import boto3; print(boto3.client('ec2').describe_images(Owners=['self'])['Images'][0]['ImageId'])"
    script = f"{_type('up', '--export').stdout}\n{shlex.quote(sys.executable)} -c {shlex.quote(look)}"
    shell = subprocess.run(["sh", "-ec", script], capture_output=True, text=True, timeout=60, check=False)
    assert (shell.stdout.strip(), shell.stderr) == (lab.image, "")


def test_a_signal_says_what_it_reached(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPUTX_SANDBOX_DIR", str(lab.account.state_dir))
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as idle:
        added = _type("rule", "DescribeRegions", "signal=KILL", f"pid={idle.pid}", "at=response", "times=1")
        assert added.exit_code == 0
        lab.ec2.describe_regions()
        assert idle.wait(10) == -9
    (entry,) = json.loads(_type("rule", "list", "--json").stdout)
    assert (entry["id"], entry["hits"]) == (added.stdout.strip(), 1)
    assert [(reached["action"], reached["at"], reached["sent"]) for reached in entry["reached"]] == [
        ("DescribeRegions", "response", True)
    ]


def test_with_none_up_nothing_is_started(empty_place: Path) -> None:
    status = _type("status", "--json")
    assert (status.exit_code, status.stdout) == (1, "")
    assert "gputx sandbox up" in status.stderr
    for words in (("advance", "1s"), ("rule", "list"), ("rule", "lag", "1s")):
        assert isinstance(_type(*words).exception, ConfigurationError)
    assert _type("down").exit_code == 0
    assert list(empty_place.iterdir()) == []


def _commands(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    yield path
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from _commands(command, (*path, name))
        else:
            yield (*path, name)


@pytest.mark.parametrize("path", list(_commands(sandbox)), ids=" ".join)
def test_help_starts_with_an_example(path: tuple[str, ...]) -> None:
    lines = [line.strip() for line in _type(*path, "--help").stdout.splitlines() if line.strip()]
    assert lines[1].startswith(" ".join(("gputx sandbox", *path)))
