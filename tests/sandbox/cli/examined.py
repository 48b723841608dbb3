"""``gputx doctor`` in this process, against the sandbox: every check's finding, and that nothing was changed."""

from __future__ import annotations

import json
import shlex
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import click

from gputx import sandbox
from gputx.cli.group import cli as gputx
from gputx.clock import Stop
from gputx.models import Market
from gputx.sandbox.clock import write_offset
from gputx.workflows.checks.finding import Finding, Remedies, Verdict
from gputx.workflows.checks.ground import Wishes
from gputx.workflows.doctor import DoctorReport, DoctorRequest, doctor

LOOKS = ("Describe", "Get", "Head", "List")
"""How the name of every call begins that changes nothing. Source: AWS's own ReadOnlyAccess policy."""

PASTED = {"gputx", "aws", "export", "sudo", "nc", "printf"}

WISHES = Wishes(
    instance_types=("g4dn.xlarge",),
    zones=(),
    markets=(Market.SPOT, Market.ON_DEMAND),
    bucket=None,
    image=None,
    subnet=None,
    cidrs=(),
    instance_role="transcription-ec2-role",
    grace=600.0,
)


class Engines:
    """Says at once what a worker says after a second."""

    SAID: ClassVar[dict[str, Any]] = {
        "event": "engines",
        "device": "cpu",
        "default": {"algorithm": "vad", "decoder": "ctranslate2", "compute_type": "int8"},
        "missing": {},
        "machine": {"cpu": "a CPU", "cores": 2, "memory": 8_000_000_000, "gpu": None},
    }

    def __init__(self, words: list[str], stop: Stop) -> None:
        assert words == ["engines"]

    def lines(self) -> Iterator[str]:
        yield json.dumps({"event": "hello", "protocol": 1})
        yield json.dumps(self.SAID)

    def close(self) -> None:
        """Nothing runs."""

    def epitaph(self) -> str:
        return "exit status 1"


class Doctor:
    """Carries out all checks and holds every finding to what is promised of each."""

    def __init__(self, account: sandbox.Account) -> None:
        self._account = account
        self.on = "sandbox"
        self.region = account.region
        self.profile: str | None = None
        self.timeout = 300.0

    def __call__(self, **wishes: Any) -> DoctorReport:
        before = max((call["number"] for call in self._account.calls()), default=0)
        remedies = Remedies(self.region, self.profile, ("--on", self.on))
        request = DoctorRequest(self.on, self.region, self.profile, replace(WISHES, **wishes), remedies, self.timeout)
        report = doctor(request, lambda _: None, Stop())
        asked = {f"{call['service']}:{call['action']}" for call in self._account.calls(before)}
        assert not [action for action in asked if not action.partition(":")[2].startswith(LOOKS)], asked
        for result in report.results:
            promised(result.name, result.finding)
        return report


def promised(name: str, finding: Finding) -> None:
    """One line, and a remedy that a shell can take for all that is not well and can be mended."""
    assert finding.line, name
    assert "\n" not in finding.line, name
    if finding.verdict in {Verdict.WARNING, Verdict.FAILED}:
        assert finding.remedy, (name, finding)
    if finding.remedy:
        words = shlex.split(finding.remedy)
        assert words[0] in PASTED or Path(words[0]).is_file(), finding.remedy
        assert not [word for word in words if "…" in word or "..." in word or word.startswith("<")], finding.remedy
        subprocess.run(["sh", "-n", "-c", finding.remedy], check=True)
        if "gputx" in words:
            understood(words[words.index("gputx") + 1 :])
    json.dumps(dict(finding.facts))


def understood(words: list[str]) -> None:
    """Hold that gputx takes these words: the command is there, and has these options. Nothing is carried out."""
    command: click.Command = gputx
    context = command.make_context("gputx", list(words))
    rest = list(words)
    while isinstance(command, click.Group):
        _, found, rest = command.resolve_command(context, rest)
        assert found is not None, words
        command, context = found, found.make_context(found.name, list(rest), parent=context)


def of(report: DoctorReport, name: str) -> Finding:
    return next(result.finding for result in report.results if result.name == name)


def with_clock(account: sandbox.Account, directory: Path, ahead: float) -> Path:
    """The same account, as a machine sees it whose clock is ``ahead`` seconds of the account's; a sandbox directory."""
    directory.mkdir()
    (directory / "lock").symlink_to(account.state_dir / "lock")
    described = json.loads((account.state_dir / "daemon.json").read_text(encoding="utf-8"))
    (directory / "daemon.json").write_text(json.dumps({**described, "state_dir": str(directory)}), encoding="utf-8")
    write_offset(directory / "clock", account.clock.offset + ahead)
    return directory
