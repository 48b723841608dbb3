"""Building small images: the product's own commands with the recipe of ``tests/sandbox/bake``, which takes seconds."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from product import Cli, Ended

BAKE = Path(__file__).parents[1] / "bake"


class Builder(Cli):
    """A command line whose recipes are small, and may be spoiled."""

    program = (str(BAKE / "small_build.py"),)

    def use_copy(self) -> Path:
        """A copy of the recipe that a test may change; used from now on."""
        copy = self.directory / "ami"
        shutil.copytree(BAKE / "small_ami", copy)
        self.environ["SMALL_AMI"] = str(copy)
        return copy

    def step(self, name: str, *lines: str) -> None:
        """One more step, in a copy of the recipe that is made by the first."""
        recipe = Path(self.environ["SMALL_AMI"]) if "SMALL_AMI" in self.environ else self.use_copy()
        text = "\n".join(["#!/usr/bin/env bash", *lines, ""])
        (recipe / "steps" / f"{name}.sh").write_text(text, encoding="utf-8")

    def build(self, *arguments: str | Path, **options: Any) -> Ended:
        return self("build-ami", "--recipe", "small", *arguments, **options)

    def images(self) -> dict[str, dict[str, Any]]:
        """Those that were built, finished or not, by id, in the account's own table."""
        rows = self.account.table()["images"]
        return {row["image_id"]: row for row in rows if "gputx:run" in row["tags"]}

    def snapshots(self) -> list[str]:
        return [row["snapshot_id"] for row in self.account.table()["snapshots"] if "gputx:run" in row["tags"]]

    @property
    def nothing_is_left(self) -> bool:
        """Of any build: images, snapshots, instances."""
        live = [row for row in self.account.table()["instances"] if row["state"] in {"pending", "running"}]
        return not (self.images() or self.snapshots() or live)
