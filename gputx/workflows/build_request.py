"""What is to be built, and where."""

from __future__ import annotations

from dataclasses import dataclass

from gputx.ami.recipe import Recipe
from gputx.workflows.hosts.survey import LaunchOptions


@dataclass(frozen=True)
class BuildRequest:
    """What is to be built.

    Attributes:
        force: build even where there is an image of the same inputs.
        resume: go on with the builder that was kept last.
        keep: seconds that a builder is left to be looked at if a step or a check fails; None ends it.
    """

    recipe: Recipe
    force: bool = False
    resume: bool = False
    keep: float | None = None
    dry_run: bool = False


@dataclass(frozen=True)
class BuildPlace:
    """The account: ``on`` is "aws" or "sandbox"; and what may be launched there."""

    on: str
    region: str
    profile: str | None
    options: LaunchOptions
