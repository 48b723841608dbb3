"""What one check came to: a verdict, a line for a person, and the command that mends it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from gputx.aws.errors import AwsError
from gputx.errors import ExitCode, GputxError

Facts = Mapping[str, Any]


class Verdict(StrEnum):
    """How a check ended. Only ``FAILED`` makes ``gputx doctor`` end with another code than 0."""

    OK = "ok"
    WARNING = "warning"
    """A run would work, but not as it was meant to: dearer, or with a lock less."""
    FAILED = "failed"
    """A run would not work, or something of an earlier one still costs money."""
    SKIPPED = "skipped"
    """Nothing can be said; the line says why."""


@dataclass(frozen=True)
class Finding:
    """One check's outcome.

    Attributes:
        line: one line: what was seen.
        remedy: one shell command that mends it, or shows what stands in the way.
        details: further lines, where one does not say enough.
        facts: the figures in the line, for a script.
        code: what ``gputx run`` would end with because of it; counts where it failed.
    """

    verdict: Verdict
    line: str
    remedy: str | None = None
    details: tuple[str, ...] = ()
    facts: Facts = field(default_factory=dict)
    code: ExitCode = ExitCode.CONFIGURATION

    @property
    def stands(self) -> bool:
        """Whether what builds on it can be looked at."""
        return self.verdict in {Verdict.OK, Verdict.WARNING}


def ok(line: str, *, details: tuple[str, ...] = (), facts: Facts | None = None) -> Finding:
    return Finding(Verdict.OK, line, details=details, facts=facts or {})


def warning(line: str, remedy: str, *, details: tuple[str, ...] = (), facts: Facts | None = None) -> Finding:
    return Finding(Verdict.WARNING, line, remedy, details, facts or {})


def failed(
    line: str,
    remedy: str,
    *,
    details: tuple[str, ...] = (),
    facts: Facts | None = None,
    code: ExitCode = ExitCode.CONFIGURATION,
) -> Finding:
    return Finding(Verdict.FAILED, line, remedy, details, facts or {}, code)


def skipped(line: str, remedy: str | None = None) -> Finding:
    return Finding(Verdict.SKIPPED, line, remedy)


@dataclass(frozen=True)
class Remedies:
    """Writes commands that work in the shell that ``gputx doctor`` was typed in, with the options it was given.

    Attributes:
        options: words for gputx that its own settings do not say: ``--on``, ``--region``, ``--profile``.
        setup_options: the same of what only `gputx setup` takes: ``--bucket``, …
        region, profile: for AWS's own command line, which knows nothing of gputx's settings.
    """

    region: str
    profile: str | None = None
    options: tuple[str, ...] = ()
    setup_options: tuple[str, ...] = ()

    def gputx(self, *words: str) -> str:
        return shlex.join(["gputx", *words, *self.options])

    def setup(self) -> str:
        return self.gputx("setup", *self.setup_options)

    def aws(self, *words: str, regional: bool = True) -> str:
        where = ["--region", self.region] if regional else []
        return shlex.join(["aws", *words, *where, *(["--profile", self.profile] if self.profile else [])])

    def setting(self, name: str, value: str) -> str:
        """Set one of gputx's settings in this shell."""
        return f"export GPUTX_{name.upper()}={shlex.quote(value)}"


def of_error(error: GputxError, remedies: Remedies, *, needed: bool) -> Finding:
    """What it means that a look-up failed.

    Args:
        needed: a run asks for the same; where it does not, one that is not allowed only leaves us ignorant.
    """
    if isinstance(error, AwsError) and error.denied:
        remedy = remedies.gputx("iam", "show", "doctor")
        return failed(error.message, remedy) if needed else skipped(f"not allowed to look: {error.message}", remedy)
    advice = (error.hint,) if error.hint else ()
    return failed(error.message, remedies.gputx("doctor"), details=(*error.details, *advice), code=error.exit_code)
