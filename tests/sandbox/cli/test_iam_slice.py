"""A slice of what every test contributes to: a run, some commands drawn from a seed, and what they need of IAM.

The whole record is held against the policies when all tests have run (tests/conftest.py). Here it is a short one, held
at once; and each action that it used is taken out of the policy to see that this is noticed.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from pathlib import Path

import iam_record
import pytest
from product import CLIP, Cli

from gputx import iam, sandbox

SEED = 20261121
DRAWN = 2
RUN = ("run", str(CLIP))
OTHERS = (
    ("run", str(CLIP), "--market", "on-demand", "--bucket", "none"),
    ("run", str(CLIP), "--dry-run"),
    ("ps",),
    ("reap", "--dry-run"),
    ("reap", "--yes", "--all-regions"),
    ("doctor",),
    ("setup", "--yes", "--email", "someone@example.org"),
    ("teardown", "--dry-run"),
    ("ami", "list"),
)


@pytest.fixture
def record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = tmp_path / "needs.jsonl"
    monkeypatch.setenv("GPUTX_SANDBOX_NEEDS", str(file))
    return file


@pytest.fixture
def cli(tmp_path: Path, record: Path) -> Iterator[Cli]:
    """A sandbox of its own, because each writes a kind of need once."""
    account = sandbox.up(tmp_path / "sandbox", pending_seconds=0.3, shutting_down_seconds=1.0, linger=False)
    directory = tmp_path / "work"
    (directory / "home").mkdir(parents=True)
    yield Cli(directory, account)
    account.stop()


def test_the_policies_allow_what_some_commands_need_and_would_not_without_any_of_it(cli: Cli, record: Path) -> None:
    drawn = [RUN, *random.Random(SEED).sample(OTHERS, DRAWN)]
    for command in drawn:
        cli(*command, code=None)
    needs = iam_record.read(record)
    assert {need.command for need in needs} == {command[0] for command in drawn}
    assert iam_record.complaints(needs, whole=False) == []

    whole = iam.document("operator", iam_record.VALUES)
    for sid, actions in iam_record.hold(needs, whole).in_all.items():
        for action in actions:
            missing = iam_record.hold(needs, without(whole, action)).missing
            assert any(need.action == action for need in missing), (sid, action)


def without(policy: dict[str, object], action: str) -> dict[str, object]:
    """A policy that does not grant an action."""
    narrower = copy.deepcopy(policy)
    statements = narrower["Statement"]
    assert isinstance(statements, list)
    for statement in statements:
        statement["Action"] = [each for each in iam.several(statement["Action"]) if each != action]
    return narrower


def test_another_program_s_calls_are_not_gputx_s(cli: Cli, record: Path) -> None:
    cli.boto("ec2").describe_instances()
    assert iam_record.read(record) == []
    cli("ps")
    assert "ec2:DescribeInstances" in {need.action for need in iam_record.read(record)}
