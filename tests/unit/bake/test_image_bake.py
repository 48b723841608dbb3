"""The steps of the recipe's CPU profile, for real but for the machine: whole, twice, and each of them left out."""

from __future__ import annotations

import hashlib
import json
import random
from pathlib import Path

import pytest
from laid_out import Machine

from gputx.ami.recipe import Recipe, load

pytestmark = [pytest.mark.timeout(1800), pytest.mark.slow]

# The cheap ones first: who looks for the first that fails need not wait for the dear ones.
ORDER = ("layout", "system", "seal", "contract", "model", "cold_start", "packages", "transcript")
# This machine's ``/etc/ssl`` and its users are not the image's.
NOT_HERE = "not login_user and not certificates"


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    return load("cpu")


@pytest.fixture(scope="module")
def stages(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> list[Machine]:
    """The machine before the first step, and after each."""
    folder = tmp_path_factory.mktemp("bake")
    machines = [Machine.make(folder / "0-start", recipe)]
    for step in recipe.steps:
        machine = machines[-1].copy(folder / step.name)
        done = machine.run(step)
        assert done.returncode == 0, f"{step.name}: {done.stdout}{done.stderr}"
        machines.append(machine)
    return machines


def ordered(recipe: Recipe) -> list[str]:
    return [str(recipe.checks / f"test_{name}.py") for name in ORDER]


def test_all_checks_pass_on_what_all_steps_made(recipe: Recipe, stages: list[Machine], tmp_path: Path) -> None:
    checked = stages[-1].check(recipe, str(recipe.checks), "-k", NOT_HERE, f"--junitxml={tmp_path / 'checks.xml'}")
    assert checked.returncode == 0, checked.stdout
    passed = int(checked.stdout.rsplit(" passed", 1)[0].split()[-1].strip(",= "))
    assert passed >= 60


STEPS = [step.name for step in load("cpu").steps]
DRAWN = random.Random(0).sample(STEPS, 2)
"""Every one takes minutes: `pytest -m long`, and `tools/ami/check.py --each` on a system of its own."""


@pytest.mark.parametrize(
    "index",
    [pytest.param(index, id=name, marks=() if name in DRAWN else pytest.mark.long) for index, name in enumerate(STEPS)],
)
def test_a_step_that_is_left_out_is_missed(recipe: Recipe, stages: list[Machine], tmp_path: Path, index: int) -> None:
    machine = stages[index].copy(tmp_path / "without")
    for step in recipe.steps[index + 1 :]:
        machine.run(step)  # some can't do without it, and some don't mind
    checked = machine.check(recipe, *ordered(recipe), "-k", NOT_HERE, "-x")
    assert checked.returncode == 1, checked.stdout
    assert " failed" in checked.stdout or " error" in checked.stdout


def test_each_step_may_be_run_again(recipe: Recipe, stages: list[Machine], tmp_path: Path) -> None:
    machine = stages[-1].copy(tmp_path / "again")
    before = contents(machine.root)
    for step in recipe.steps:
        done = machine.run(step)
        assert done.returncode == 0, f"{step.name}: {done.stderr}"
    after = contents(machine.root)
    assert {name for name in before if before[name] != after.get(name)} == set()
    assert set(after) == set(before)


def contents(root: Path) -> dict[str, str]:
    """What must not change when a step is run again: all but the time of the seal and what a recording depends on."""
    return {
        str(file.relative_to(root)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(root.rglob("*"))
        if file.is_file() and file.name not in (".setup_complete", "preread.list", "slimmed.txt")
    }


def test_the_manifest_says_which_recipe_it_was(recipe: Recipe, stages: list[Machine]) -> None:
    manifest = json.loads((stages[-1].root / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["recipe"] == recipe.digest()
