"""What the tests of the product share: running gputx as a person would, references, and the account's table."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import forked
import jiwer

from gputx import sandbox

EXAMPLES = Path(__file__).parents[3] / "examples"
HELD_OUT = EXAMPLES / "held-out"
ROWS = [line.split("\t") for line in (HELD_OUT / "clips.tsv").read_text(encoding="utf-8").splitlines()[1:]]
REFERENCES = {row[0]: row[-1] for row in ROWS}
"""Reference text by file name."""

CLIP = HELD_OUT / "clip01.flac"


def wer(reference: str, text: str) -> float:
    """Word error rate, lower case and without punctuation."""
    return float(jiwer.wer(_words(reference), _words(text)))


def _words(text: str) -> str:
    return " ".join("".join(c if c.isalnum() else " " for c in text.lower()).split())


@dataclass
class Ended:
    """A command that has ended."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        parsed: dict[str, Any] = json.loads(self.out)
        return parsed


@functools.cache
def _client(service: str, endpoint_url: str, region: str, access_key: str, secret_key: str) -> Any:
    return boto3.client(
        service,
        endpoint_url=endpoint_url,
        region_name=region,
        aws_access_key_id=access_key,
        aws_secret_access_key=secret_key,
    )


class Cli:
    """Runs ``gputx`` as a person would: another process, its own directory, only its own settings."""

    program: tuple[str, ...] = ("-m", "gputx")

    def __init__(self, directory: Path, account: sandbox.Account) -> None:
        self.directory = directory
        self.account = account
        self.environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(directory / "home"),
            "LANG": "C.UTF-8",
            "GPUTX_SANDBOX_DIR": str(account.state_dir),
            "GPUTX_ON": "sandbox",
            "HF_HUB_OFFLINE": "1",
            # What this command needs of IAM is written down, as it is of the account's other callers.
            **{name: os.environ[name] for name in ["GPUTX_SANDBOX_NEEDS"] if name in os.environ},
        }

    def boto(self, service: str) -> Any:
        """Plain boto3 on the account, as anyone else would look into it."""
        account = self.account
        return _client(service, account.endpoint_url, account.region, account.access_key, account.secret_key)

    def pass_time(self, seconds: float) -> None:
        """Turn the clock, and see every instance that this ends to its end."""
        self.account.advance(seconds)
        deadline = time.monotonic() + 10
        while any(i["state"] == "running" for i in self.account.table()["instances"]):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        self.account.advance(60)

    def start(self, *arguments: str | Path, **options: Any) -> subprocess.Popen[str]:
        return forked.start(
            [*self.program, *map(str, arguments)],
            cwd=self.directory,
            # The AWS SDKs tell the account which application calls: here, which command.
            env={**self.environ, "AWS_SDK_UA_APP_ID": f"gputx-{arguments[0]}"},
            **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, **options},
        )

    def watch(self, *arguments: str | Path, on: Callable[[str, subprocess.Popen[str]], None]) -> Ended:
        """Run, and show each line of stderr to ``on`` as it comes, so that a test can act in mid-run."""
        process = self.start(*arguments)
        assert process.stdout is not None
        assert process.stderr is not None
        lines = []
        with process.stdout, process.stderr:
            try:
                for line in process.stderr:
                    lines.append(line)
                    on(line, process)
                out = process.stdout.read()
            except BaseException:
                process.kill()
                process.wait()
                raise
        process.wait(timeout=60)
        assert "Traceback" not in "".join(lines)
        return Ended(process.returncode, out, "".join(lines))

    def __call__(self, *arguments: str | Path, code: int | None = 0, **options: Any) -> Ended:
        stdin = options.pop("input", None)
        timeout = options.pop("timeout", 180)
        process = self.start(*arguments, stdin=subprocess.PIPE if stdin is not None else subprocess.DEVNULL, **options)
        out, err = process.communicate(stdin, timeout=timeout)
        assert "Traceback" not in err, err
        if code is not None:
            assert process.returncode == code, f"exit code {process.returncode}\n{out}\n{err}"
        return Ended(process.returncode, out, err)


def instance(cli: Cli) -> dict[str, Any]:
    """The newest instance of the account."""
    found: dict[str, Any] = cli.account.table()["instances"][-1]
    return found


def newest_call(cli: Cli) -> int:
    """The number of the last call that the account has seen."""
    return max((call["number"] for call in cli.account.calls()), default=0)


def ended_itself(cli: Cli, *, within_minutes: int) -> dict[str, Any]:
    """Turn the clock a minute at a time, with no client anywhere, until the newest instance has ended."""
    for _ in range(within_minutes):
        if instance(cli)["state"] in {"shutting-down", "terminated"}:
            break
        cli.account.advance(60)
    cli.account.advance(30)
    newest = instance(cli)
    assert newest["state"] == "terminated", newest
    return newest


def at(moment: str, act: Callable[[subprocess.Popen[str]], object]) -> Callable[[str, subprocess.Popen[str]], None]:
    """For :meth:`Cli.watch`: act once, at the first line that begins so."""
    acted: list[str] = []

    def on(line: str, process: subprocess.Popen[str]) -> None:
        if line.startswith(moment) and not acted:
            acted.append(line)
            act(process)

    return on


def signal_at(moment: str, number: signal.Signals) -> Callable[[str, subprocess.Popen[str]], None]:
    """For :meth:`Cli.watch`: send it once, at the first line that begins so."""
    return at(moment, lambda process: process.send_signal(number))


def killed(cli: Cli, moment: str = "loading the model", *options: str) -> Ended:
    """A run whose client is killed at a moment of which nothing can be caught or cleaned up."""
    ended = cli.watch("run", CLIP, "--bucket", "none", *options, on=signal_at(moment, signal.SIGKILL))
    assert ended.code == -signal.SIGKILL
    assert instance(cli)["state"] in {"pending", "running"}
    return ended


@contextlib.contextmanager
def turned(cli: Cli) -> Iterator[None]:
    """The clock goes on by ten seconds several times a second: a client's patience costs no real time."""
    over = threading.Event()

    def turn() -> None:
        while not over.wait(0.3):
            cli.account.advance(10)

    thread = threading.Thread(target=turn)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@contextlib.contextmanager
def frozen(process: subprocess.Popen[str]) -> Iterator[None]:
    """The process stands still, and holds what it holds, however long the block takes."""
    process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        process.send_signal(signal.SIGCONT)


def descendants(pid: int) -> list[tuple[int, str]]:
    """(pid, command line) of every process below ``pid``: the guests of a daemon and all they run."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    below, found = {pid}, []
    for child, _ in sorted(parents.items()):
        ancestor = child
        while ancestor in parents and ancestor not in below:
            ancestor = parents[ancestor]
        if ancestor in below and child != pid:
            with contextlib.suppress(OSError):
                found.append((child, Path(f"/proc/{child}/cmdline").read_bytes().replace(b"\0", b" ").decode()))
    return found


def leftovers(table: dict[str, Any]) -> list[str]:
    """Everything in the sandbox's own table that costs money or clutters the account."""
    return [
        *(f"{i['instance_id']} {i['state']}" for i in table["instances"] if i["state"] != "terminated"),
        *(group["group_id"] for group in table["security_groups"] if not group["default"]),
        *(str(key) for key in table["key_pairs"]),
        *(str(volume) for volume in table["volumes"]),
    ]
