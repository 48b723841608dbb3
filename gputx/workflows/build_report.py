"""What ``gputx build-ami`` did and found: the source of its table, its document and its JUnit file."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from gputx.errors import GputxError
from gputx.models import Attempt, Cost, Instance, Phase, Pool


class Fate(StrEnum):
    """What became of a step or a check."""

    DONE = "done"
    SKIPPED = "done before"
    REPLACED = "not in this profile"
    PASSED = "passed"
    NOT_RUN = "not run"
    FAILED = "failed"


@dataclass(frozen=True)
class StepReport:
    """One step of the recipe; ``why`` says why it was replaced, or what went wrong."""

    name: str
    fate: Fate
    seconds: float = 0.0
    why: str = ""


@dataclass(frozen=True)
class CheckReport:
    """One check on one machine."""

    name: str
    fate: Fate
    seconds: float = 0.0
    why: str = ""


@dataclass(frozen=True)
class Checked:
    """All checks on one machine; ``junit`` is the file that pytest wrote of them."""

    where: str
    """"builder", before the image is made, or "image", on a fresh instance of it."""
    checks: tuple[CheckReport, ...]
    junit: Path

    @property
    def failed(self) -> tuple[CheckReport, ...]:
        return tuple(check for check in self.checks if check.fate is Fate.FAILED)

    @property
    def passed(self) -> int:
        return sum(check.fate is Fate.PASSED for check in self.checks)

    @property
    def said(self) -> str:
        """In words: how many came to what, and where."""
        counts = ((fate, sum(check.fate is fate for check in self.checks)) for fate in Fate)
        return f"{', '.join(f'{count} {fate}' for fate, count in counts if count)} on the {self.where}"


@dataclass(frozen=True)
class KeptBuilder:
    """A builder that failed and was left: how to get into it, and until when (seconds since the epoch)."""

    run_id: str
    instance_id: str
    until: float
    ssh: str


@dataclass
class BuildReport:
    """``recipe`` is the hash of all that goes in; ``found`` says that the image was there already."""

    id: str
    place: str
    region: str
    started_at: float
    profile: str
    recipe: str = ""
    base: str = ""
    image_id: str | None = None
    image_name: str | None = None
    found: bool = False
    dry_run: bool = False
    plan: list[Pool] = field(default_factory=list)
    steps: list[StepReport] = field(default_factory=list)
    checked: list[Checked] = field(default_factory=list)
    attempts: list[Attempt] = field(default_factory=list)
    instance: Instance | None = None
    ended: list[str] = field(default_factory=list)
    cost: Cost | None = None
    phases: list[Phase] = field(default_factory=list)
    directory: Path | None = None
    """Where what the steps said, and the checks' JUnit files, are."""
    kept: KeptBuilder | None = None
    ending: GputxError | None = None
    """Why there is no image, or what may still run."""
