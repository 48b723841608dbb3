"""The recipe as data: profiles, what can't be chosen together, what is uploaded, and the hash of it all."""

from __future__ import annotations

import dataclasses
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from gputx.ami.options import Options
from gputx.ami.recipe import FAILURES, PAYLOAD_NAME, load, profiles, recipe_root
from gputx.errors import ConfigurationError, InputError

COMMIT = "a" * 40


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A recipe of one's own to change."""
    return Path(shutil.copytree(recipe_root(), tmp_path / "ami"))


def test_two_profiles() -> None:
    assert set(profiles()) == {"cpu", "t4"}


def test_the_default_has_every_step_and_the_other_replaces_driver_and_gpu_only() -> None:
    assert not load().replaced
    assert [step.name for step in load("cpu").replaced] == ["20-driver", "70-kernels"]
    assert all(step.replaced for step in load("cpu").replaced)


def test_steps_are_in_the_order_of_their_numbers() -> None:
    names = [step.name for step in load().all_steps]
    assert names == sorted(names)
    assert len({name[:2] for name in names}) == len(names)
    assert names[-1] == "90-seal"


@pytest.mark.parametrize(
    ("options", "reason", "instead"),
    [
        # As the image was first specified.
        (Options(driver="530", cuda="cu118"), "the last torch built for cu118 is 2.7", "--cuda cu128"),
        (Options(driver="530"), "NVIDIA mends driver 530 no longer", "--driver 580"),
        (Options(driver="535"), "NVIDIA mends driver 535 no longer", "--driver 580"),
        (Options(driver="latest"), "'latest' is no driver branch", "--driver 580"),
        (Options(driver="535", cuda="cu130"), "NVIDIA mends driver 535 no longer", "--driver 580"),
        (Options(cuda="cu130"), "CTranslate2", "--cuda cu128"),
        (Options(cuda="cu126"), "there is no lock for cu126", "--cuda cu128"),
        (Options(cuda="12.8"), "no build for '12.8'", "cu128"),
        (Options(python="3.10"), "Python 3.10 is too old", "--python 3.12"),
        (Options(python="3.13"), "no lock for Python 3.13", "--python 3.12"),
        (Options(python="3"), "'3' is no Python version", "--python 3.12"),
        (Options(base="ubuntu"), "'ubuntu' names no base image", "--base ami-"),
        (Options(model="KBLab/kb-whisper-large"), "can move", "--model-revision"),
        (Options(model_revision="main"), "can move", "40-digit commit"),
        (Options(model="kb-whisper-small", model_revision=COMMIT), "no Hugging Face id", "KBLab/kb-whisper-small"),
    ],
)
def test_what_can_not_be_is_refused_with_the_reason(options: Options, reason: str, instead: str) -> None:
    with pytest.raises(InputError) as caught:
        load("t4", options)
    assert reason in caught.value.message
    assert instead in str(caught.value.hint)


@pytest.mark.parametrize(
    "options", [Options(driver="580"), Options(cuda="cu128"), Options(python="3.12"), Options(model="a/b")]
)
def test_a_profile_refuses_options_it_has_no_use_for(options: Options) -> None:
    with pytest.raises(InputError, match="profile cpu has no --"):
        load("cpu", options)


def test_an_unknown_profile_names_those_there_are() -> None:
    with pytest.raises(InputError) as caught:
        load("../t4")
    assert "cpu, t4" in str(caught.value.hint)


def test_another_model_is_another_image() -> None:
    recipe = load("t4", Options(model="KBLab/kb-whisper-large", model_revision=COMMIT))
    assert recipe.tags()["gputx:model"] == "KBLab/kb-whisper-large"
    assert recipe.tags()["gputx:model-revision"] == COMMIT
    assert recipe.environment()["MODEL_SHA256"] == ""
    assert recipe.digest() != load("t4").digest()


def test_same_inputs_same_hash_wherever_they_lie(own: Path) -> None:
    assert load("t4", root=own).digest("ami-1") == load("t4").digest("ami-1")
    assert load("t4").digest("ami-1") != load("t4").digest("ami-2")
    assert load("t4").digest() != load("cpu").digest()


@pytest.mark.parametrize(
    "changed",
    [
        "steps/10-base.sh",
        "lib.sh",
        "files/preread.py",
        "units/gputx-preread.service",
        "lock/gpu-cu128.txt",
        "lock/python.txt",
    ],
)
def test_any_file_that_goes_in_changes_the_hash(own: Path, changed: str) -> None:
    before = load("t4", root=own).digest()
    with (own / changed).open("a", encoding="utf-8") as file:
        file.write("# another line\n")
    assert load("t4", root=own).digest() != before


@pytest.mark.parametrize("unchanged", ["checks/test_layout.py", "lock/cpu.txt", "profiles/cpu.toml"])
def test_what_does_not_go_in_leaves_the_hash(own: Path, unchanged: str) -> None:
    before = load("t4", root=own).digest()
    with (own / unchanged).open("a", encoding="utf-8") as file:
        file.write("# another line\n")
    assert load("t4", root=own).digest() == before


def test_what_is_uploaded() -> None:
    recipe = load("cpu")
    files = {file.path: file for file in recipe.files(b"zip")}
    assert files[PAYLOAD_NAME].data == b"zip"
    assert {f"steps/{step.name}.sh" for step in recipe.steps} <= set(files)
    assert "steps/20-driver.sh" not in files
    assert "lock/cpu.txt" in files
    assert "lock/gpu-cu128.txt" not in files
    assert "model/model.safetensors" in files
    assert not [path for path in files if path.startswith("checks/") or path.endswith(".pyc")]
    assert not [file.path for file in load("t4").files(b"") if file.path.startswith("model/")]


def test_values_reach_a_shell_as_they_are() -> None:
    odd = 'it\'s $HOME `id` "x"\\ å'
    recipe = load("cpu")
    profile = dataclasses.replace(recipe.profile, environment={**recipe.profile.environment, "ODD": odd})
    text = dataclasses.replace(recipe, profile=profile).environment_file()
    command = ["bash", "-c", f'{text}\nprintf %s "$ODD"']
    assert subprocess.run(command, check=True, capture_output=True, text=True).stdout == odd


def test_a_step_is_run_by_words_that_a_shell_can_take() -> None:
    step = load().steps[0]
    command = step.command("/run/it's here")
    words = subprocess.run(["bash", "-c", f"printf '%s\\n' {command}"], check=True, capture_output=True, text=True)
    assert words.stdout.splitlines() == [
        "sudo",
        "-n",
        "env",
        "AMI_ROOT=/run/it's here",
        "bash",
        f"/run/it's here/steps/{step.name}.sh",
    ]


def test_a_recipe_without_steps_is_refused(own: Path) -> None:
    (own / "steps" / "20-driver.sh").unlink()
    with pytest.raises(ConfigurationError, match="20-driver"):
        load("cpu", root=own)


def test_the_statuses_of_lib_are_those_that_are_explained() -> None:
    text = (recipe_root() / "lib.sh").read_text(encoding="utf-8")
    said = {int(number) for number in re.findall(r"(?:UNREACHABLE|FULL|CHANGED|UNFIT|MISSING)=(\d+)", text)}
    assert said == set(FAILURES)
