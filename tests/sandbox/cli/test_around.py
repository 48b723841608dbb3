"""The commands around a run: ps, config, sandbox, help."""

from __future__ import annotations

import json
import signal
import subprocess
import sys

from product import HELD_OUT, Cli


def test_ps_shows_a_run_while_it_runs_and_nothing_after(cli: Cli) -> None:
    process = cli.start("run", HELD_OUT / "clip03.flac", "--bucket", "none")
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("loading the model"):
            break
    # Held still meanwhile: the tiny model is done with it in less than a second.
    process.send_signal(signal.SIGSTOP)
    table = cli("ps").out
    document = cli("ps", "--json").document
    process.send_signal(signal.SIGCONT)
    process.send_signal(signal.SIGINT)
    process.communicate()

    row = document["instances"][0]
    assert row["instance_id"] in table
    assert row["state"] == "running"
    assert row["cost"] > 0
    assert row["deadline"] > 0
    cli.account.advance(60)
    assert cli("ps").out == "nothing is running\n"


def test_config_says_where_each_value_comes_from(cli: Cli) -> None:
    (cli.directory / "gputx.toml").write_text('market = "spot"\nzone = ["eu-north-1a"]\n')
    user = cli.directory / "home" / ".config" / "gputx"
    user.mkdir(parents=True)
    (user / "config.toml").write_text('market = "on-demand"\nttl = "30m"\n')
    cli.environ["GPUTX_REGION"] = "eu-west-1"
    settings = cli("config", "show", "--json").document["settings"]

    assert settings["market"] == {
        "value": "spot",
        "origin": str(cli.directory / "gputx.toml"),
        "variable": "GPUTX_MARKET",
    }
    assert settings["ttl"]["origin"] == str(user / "config.toml")
    assert settings["region"]["origin"] == "GPUTX_REGION"
    assert settings["language"]["origin"] == "default"
    assert "eu-north-1a" in cli("config", "show").out


def test_an_account_outlives_its_command(cli: Cli) -> None:
    """up, status, rule, advance, down, as a person types them."""
    cli.environ["GPUTX_SANDBOX_DIR"] = str(cli.directory / "mine")
    try:
        assert cli("sandbox", "status", code=1)
        cli("sandbox", "up")
        status = cli("sandbox", "status", "--json").document
        assert {"endpoint_url", "region", "access_key", "secret_key", "model"} <= set(status)
        cli("sandbox", "rule", "add", "pool zone=eu-north-1b no-capacity")
        assert "no-capacity" in cli("sandbox", "rule", "list").out
        cli("sandbox", "advance", "15m")
        moved = cli("sandbox", "status", "--json").document
        assert moved["clock_offset"] == 900
        plan = cli("run", HELD_OUT / "clip01.flac", "--dry-run").out
        assert "spot" in plan
    finally:
        cli("sandbox", "down", code=None)
    assert cli("sandbox", "status", code=1)


def test_every_command_starts_its_help_with_an_example() -> None:
    for command in (
        "run",
        "ps",
        "reap",
        "config show",
        "sandbox up",
        "sandbox status",
        "sandbox advance",
        "sandbox rule add",
    ):
        out = subprocess.run(
            [sys.executable, "-m", "gputx", *command.split(), "--help"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        body = out.split("\n", 2)[2]
        assert "gputx " + command.split()[0] in "\n".join(body.splitlines()[:6]), out


def test_json_documents_are_versioned(cli: Cli) -> None:
    assert json.loads(cli("ps", "--json").out)["version"] == 1
