"""``gputx doctor`` as a person and a script run it: streams, exit codes, a terminal, a check that hangs, Ctrl-C."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from debris import Debris
from examined import LOOKS, with_clock
from product import Cli, descendants, newest_call

from gputx.workflows.doctor import NAMES

ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b.|\r")


def test_everything_is_looked_at_and_nothing_is_changed(cli: Cli) -> None:
    before = newest_call(cli)
    ended = cli("doctor")
    assert ended.err == ""
    lines = [line for line in ended.out.splitlines() if not line.startswith(" ")]
    assert [line[9:26].strip() for line in lines[:-1]] == list(NAMES)
    assert {line.split()[0] for line in lines[:-1]} <= {"ok", "warning"}
    assert re.fullmatch(r"\d+ ok(, \d+ warnings?)?", lines[-1])
    assert "\x1b" not in ended.out
    actions = {call["action"] for call in cli.account.calls(before)}
    assert actions
    assert not [action for action in actions if not action.startswith(LOOKS)]


def test_the_document(cli: Cli) -> None:
    document = cli("doctor", "--json").document
    assert document["version"] == 1
    assert (document["on"], document["region"], document["profile"]) == ("sandbox", "eu-north-1", None)
    assert document["error"] is None
    assert document["exit_code"] == 0
    assert [check["name"] for check in document["checks"]] == list(NAMES)
    assert sum(document["counts"].values()) == len(NAMES)
    by_name = {check["name"]: check for check in document["checks"]}
    assert by_name["spot quota"]["facts"]["limit"] == 8
    assert by_name["credentials"]["facts"]["account"] == "123456789012"
    for check in document["checks"]:
        assert set(check) == {"name", "verdict", "line", "remedy", "details", "facts", "seconds"}
        assert (check["remedy"] is None) or check["verdict"] != "ok"


def test_a_failure_is_an_exit_code_and_a_line_with_what_to_do(cli: Cli) -> None:
    no_image = ("--image", "ami-0123456789abcdef0")
    ended = cli("doctor", *no_image, code=3)
    assert ended.err == "error: 1 of 16 checks failed: image\n  next: gputx ami list\n"

    cli.account.add_rule("quota spot=0")
    cli.account.add_rule("quota on-demand=0")
    ended = cli("doctor", code=4)
    assert ended.err.startswith("error: 2 of 16 checks failed: spot quota, on-demand quota\n  next: ")
    assert "L-3819A6DF" in ended.out
    document = cli("doctor", "--json", code=4).document
    assert document["exit_code"] == 4
    assert document["error"] == "2 of 16 checks failed: spot quota, on-demand quota"
    # What fails for two reasons has neither's code.
    assert "checks failed: spot quota, image" in cli("doctor", "--market", "spot", *no_image, code=1).err


def test_an_instance_that_may_still_run_is_5(cli: Cli, debris: Debris) -> None:
    instance = debris.instance(debris.labels("r7"))
    ended = cli("doctor", code=5)
    assert instance in ended.out
    assert "next: gputx reap" in ended.err


def test_a_remedy_repeats_what_only_this_command_line_said(cli: Cli) -> None:
    ended = cli("doctor", "--region", "eu-west-1", code=3)
    assert "next: gputx build-ami --region eu-west-1\n" in ended.out
    cli.environ["GPUTX_REGION"] = "eu-west-1"
    assert "next: gputx build-ami\n" in cli("doctor", code=3).out


@pytest.mark.slow
def test_one_that_hangs_holds_up_nobody(cli: Cli) -> None:
    """What stands before it is there at once, and what comes after it once its time is up, by the account's clock."""
    cli.account.add_rule("DescribeImages delay=1h")
    process = cli.start("doctor", "--timeout", "5m", stderr=subprocess.DEVNULL)
    assert process.stdout is not None
    with process.stdout as lines:
        said = [next(lines) for _ in range(7)]
        assert said[0].startswith("ok       credentials")
        assert said[-1].startswith("ok       spot price")
        # All others are back; only then is its time let pass.
        while any(call["outcome"] is None and call["action"] != "DescribeImages" for call in cli.account.calls()):
            time.sleep(0.05)
        while descendants(process.pid):  # the engine here has no clock that could be turned
            time.sleep(0.05)
        cli.account.advance(301)
        out = "".join([*said, *lines])
    assert process.wait(60) == 1
    cli.account.clear_rules()
    cli.account.advance(3600)
    assert "failed   image            no answer within 5 min 00 s\n         next: gputx doctor --timeout 1200s" in out
    assert "ok       local engine" in out


def test_a_clock_that_is_ten_minutes_off(cli: Cli, tmp_path: Path) -> None:
    cli.environ["GPUTX_SANDBOX_DIR"] = str(with_clock(cli.account, tmp_path / "elsewhere", -600))
    ended = cli("doctor", code=3)
    assert re.search(r"failed   clock            (10 min 0|9 min 5)\d s behind AWS's: AWS refuses calls", ended.out)
    assert "next: sudo " in ended.out


def test_on_this_machine_only_the_engine_is_looked_at(cli: Cli) -> None:
    before = newest_call(cli)
    ended = cli("doctor", "--on", "local")
    # Which of the two is ahead here is the engine's to say: it depends on the processor and on what is installed.
    assert re.match(r"ok       local engine     (torch|ctranslate2), int8 on \d+ cores, ", ended.out)
    assert ended.out.endswith("1 ok\n")
    assert newest_call(cli) == before


def test_ctrl_c_ends_it_at_once(cli: Cli) -> None:
    cli.account.add_rule("GetCallerIdentity delay=1h")
    process = cli.start("doctor", "--timeout", "1h")
    while not [call for call in cli.account.calls() if call["action"] == "GetCallerIdentity" and not call["outcome"]]:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    cli.account.clear_rules()
    cli.account.advance(3600)
    assert process.returncode == 130
    assert "Traceback" not in err


def test_a_time_that_is_none(cli: Cli) -> None:
    assert "is not a duration" in cli("doctor", "--timeout", "soon", code=2).err
    assert "--timeout" in cli("doctor", "--timeout", "0", code=2).err


def on_a_terminal(cli: Cli, *arguments: str, columns: int = 80) -> tuple[int, str]:
    """Exit code, and all that a terminal was sent."""
    ours, theirs = pty.openpty()
    environ = {**cli.environ, "COLUMNS": str(columns), "LINES": "24", "TERM": "xterm-256color"}
    process = subprocess.Popen(
        [sys.executable, "-m", "gputx", *arguments],
        cwd=cli.directory,
        env=environ,
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    sent = b""
    with contextlib.suppress(OSError):  # the other end is closed once the command has ended
        while piece := os.read(ours, 65536):
            sent += piece
    os.close(ours)
    return process.wait(), sent.decode()


def test_on_a_terminal_what_moves_is_gone_in_the_end(cli: Cli) -> None:
    code, sent = on_a_terminal(cli, "doctor")
    assert code == 0
    assert "⠋" in sent  # a spinner
    assert "\x1b[38;5;28m" in sent  # and colours
    final = ESCAPES.sub("", sent).rpartition("⠋")[2]
    final = final[final.rindex("ok       credentials") :]
    lines = final.splitlines()
    names = [line[9:26].strip() for line in lines if line.startswith(("ok  ", "warning  ", "skipped  "))]
    assert names == list(NAMES)
    assert not [line for line in lines if len(line) > 80 and "next:" not in line]


def test_no_color(cli: Cli) -> None:
    cli.environ["NO_COLOR"] = "1"
    _, sent = on_a_terminal(cli, "doctor")
    assert not re.search(r"\x1b\[[0-9;]*m", sent.replace("\x1b[0m", ""))
