"""However a run is made to end, the instance ends first; and what was asked keeps its exit code."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import signal
import subprocess
import termios
import time
from collections.abc import Callable, Iterator
from typing import BinaryIO

import pytest
from product import HELD_OUT, Cli

CLIP = HELD_OUT / "clip03.flac"
CODES = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}
MOMENTS = ("looking for capacity", "launching", "booting", "waiting for SSH", "loading the model", "transcribing")


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_at_any_phase_ends_the_instance(cli: Cli, number: signal.Signals, moment: str) -> None:
    ended = cli.watch("run", CLIP, on=at(moment, lambda process: process.send_signal(number)))

    assert ended.code == CODES[number], ended.err
    assert "stopping: what was started is ended first" in ended.err
    assert ended.out == ""
    live = [i for i in cli.account.table()["instances"] if i["state"] not in {"shutting-down", "terminated"}]
    assert not live


def test_a_second_ctrl_c_changes_nothing_but_says_so(cli: Cli) -> None:
    cli.account.add_rule("TerminateInstances delay=1s")

    def twice(process: subprocess.Popen[str]) -> None:
        process.send_signal(signal.SIGINT)
        time.sleep(0.3)  # real time: two signals at once are one
        process.send_signal(signal.SIGINT)

    ended = cli.watch("run", CLIP, on=at("loading the model", twice))

    assert ended.code == 130
    assert "^C heard: still ending the instance: i-" in ended.err
    assert "gputx insists for 2 min" in ended.err


def at(moment: str, act: Callable[[subprocess.Popen[str]], None]) -> Callable[[str, subprocess.Popen[str]], None]:
    """Act the first time the display says ``moment``."""
    acted = []

    def on(line: str, process: subprocess.Popen[str]) -> None:
        if line.startswith(moment) and not acted:
            acted.append(line)
            act(process)

    return on


def test_a_reader_that_leaves_does_not_leave_an_instance(cli: Cli) -> None:
    """``gputx run … 2>&1 | head -1``: the display's pipe breaks, the run goes on to its end."""
    process = cli.start("run", CLIP)
    assert process.stdout is not None
    assert process.stderr is not None
    with process.stdout:
        process.stderr.readline()
        process.stderr.close()
        out = process.stdout.read()
    process.wait(timeout=120)

    assert process.returncode == 0
    assert out


def test_a_terminal_that_is_closed_in_mid_run_ends_the_instance(cli: Cli) -> None:
    """The window is closed: HUP comes, and whatever is drawn from then on fails."""
    master, slave = pty.openpty()
    process = cli.start("run", CLIP, stderr=slave, start_new_session=True, preexec_fn=lambda: adopt(slave))
    os.close(slave)
    seen = b""
    while b"loading the model" not in seen:
        seen += os.read(master, 4096)
    os.close(master)
    assert process.stdout is not None
    with process.stdout:
        assert process.stdout.read() == ""
    assert process.wait(timeout=60) == 129


@pytest.mark.parametrize("room", [0, 300])
@pytest.mark.slow
def test_a_display_that_nobody_reads_keeps_no_instance_alive(cli: Cli, room: int) -> None:
    """A log collector that stalls: the run goes on to its end, and a second signal cuts off what is still said."""
    with unread(cli, room) as (process, _):
        assert process.stdout is not None
        assert process.stdout.read(1)
        assert live_instances(cli) == []
        until(lambda: process.send_signal(signal.SIGTERM) or process.poll() is not None)
        assert process.returncode == -signal.SIGTERM


@pytest.mark.parametrize("room", [0, 300])
@pytest.mark.parametrize("option", ["--quiet", "--debug"])
def test_a_signal_ends_the_instance_though_nobody_reads_the_answer(cli: Cli, option: str, room: int) -> None:
    with unread(cli, room, option) as (process, pipe):
        until(lambda: live_instances(cli) == ["running"])
        process.send_signal(signal.SIGINT)
        until(lambda: live_instances(cli) == [])
        # Somebody reads again: the last words come, and the exit code is what it would have been.
        said = pipe.read().decode()
        assert process.wait(timeout=60) == 130
    assert "Traceback" not in said
    assert ("nothing left running" in said) is (option != "--quiet")


@contextlib.contextmanager
def unread(cli: Cli, room: int, *options: str) -> Iterator[tuple[subprocess.Popen[str], BinaryIO]]:
    """A run whose stderr is a pipe that nobody reads, with space for so many bytes; and the pipe's other end."""
    reader, writer = os.pipe()
    size = fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    assert os.write(writer, b"." * (size - room)) == size - room
    process = cli.start("run", CLIP, "--bucket", "none", *options, stderr=writer)
    os.close(writer)
    with process, os.fdopen(reader, "rb") as pipe:
        try:
            yield process, pipe
        finally:
            process.kill()


def live_instances(cli: Cli) -> list[str]:
    states = [i["state"] for i in cli.account.table()["instances"]]
    return [state for state in states if state not in {"shutting-down", "terminated"}]


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def adopt(terminal: int) -> None:
    """Make a terminal the controlling one of the new session."""
    fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)


@pytest.mark.slow
def test_what_was_told_to_ignore_hangups_goes_on(cli: Cli) -> None:
    """``nohup gputx run … &`` and then logging out."""
    ignore = lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN)  # noqa: E731
    process = cli.start("run", HELD_OUT / "clip01.flac", "--bucket", "none", preexec_fn=ignore)
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("loading the model"):
            process.send_signal(signal.SIGHUP)
            break
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    assert out


@pytest.mark.slow
def test_an_account_that_does_not_answer_the_end_is_owned_up_to(cli: Cli) -> None:
    """Termination that can't be confirmed: exit code 5, the id, and the command; the text is none the worse."""
    cli.account.add_rule("TerminateInstances error=UnauthorizedOperation")

    def turn(_process: subprocess.Popen[str]) -> None:
        # Nor is it seen that the instance, which has heard that everything was fetched, ends by itself.
        cli.account.add_rule("DescribeInstances error=UnauthorizedOperation")
        for _ in range(4):
            time.sleep(0.5)  # the client has to come to its next wait before the clock is turned past it
            cli.account.advance(40)

    ended = cli.watch("run", HELD_OUT / "clip01.flac", "--bucket", "none", on=at("ending the instance", turn))

    assert ended.code == 5, ended.err
    assert ended.out
    assert "could not confirm that i-" in ended.err
    assert "aws ec2 terminate-instances --region eu-north-1 --instance-ids i-" in ended.err
    assert "nothing left running" not in ended.err
    # The instance's own deadline is the next lock: the guest powers itself off.
    cli.account.clear_rules()
    cli.pass_time(2 * 3600 + 300)
    # Its key and group cost nothing and are nobody's any more; the next command's sweep takes them.
    assert "ended what earlier runs left" in cli("run", HELD_OUT / "clip01.flac", "--bucket", "none").err
