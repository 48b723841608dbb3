"""The product through its command line, against one sandbox per test process.

After every test the sandbox's own table is looked at, with its clock turned past every pending end: no live
instance, security group, key pair or volume may be left. That check is the first promise of gputx, so it is made
whether or not a test asks for it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from debris import Debris
from examined import Doctor, Engines
from product import Cli, leftovers

from gputx import sandbox


@pytest.fixture(scope="session")
def account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sandbox.Account]:
    """One sandbox for the test process, ended with it even if it is killed. Pending is short: it is pure waiting."""
    account = sandbox.up(
        tmp_path_factory.mktemp("sandbox"), pending_seconds=0.3, shutting_down_seconds=1.0, linger=False
    )
    yield account
    account.stop()


@pytest.fixture
def cli(tmp_path: Path, account: sandbox.Account) -> Iterator[Cli]:
    directory = tmp_path / "work"
    (directory / "home").mkdir(parents=True)
    yield Cli(directory, account)
    account.clear_rules()
    account.advance(60)
    left = leftovers(account.table())
    assert not left, f"left in the account: {left}"


@pytest.fixture
def doctor(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> Doctor:
    """``gputx doctor`` in this process and in the sandbox, with an engine here that answers at once."""
    for name in ("AWS_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SDK_UA_APP_ID", "gputx-doctor")
    monkeypatch.setenv("GPUTX_SANDBOX_DIR", str(cli.account.state_dir))
    monkeypatch.setattr("gputx.workflows.doctor.ChildStream", Engines)
    return Doctor(cli.account)


@pytest.fixture
def another_machine(cli: Cli, tmp_path: Path) -> None:
    """From now on this person works with another journal than the one that knows of the run."""
    cli.environ["GPUTX_STATE_DIR"] = str(tmp_path / "another")


@pytest.fixture
def powerless_schedules(cli: Cli) -> Iterator[None]:
    """Schedules may end nothing while the test lasts."""
    iam = cli.boto("iam")
    name = iam.list_role_policies(RoleName="gputx-scheduler")["PolicyNames"][0]
    kept = iam.get_role_policy(RoleName="gputx-scheduler", PolicyName=name)["PolicyDocument"]
    iam.delete_role_policy(RoleName="gputx-scheduler", PolicyName=name)
    yield
    iam.put_role_policy(RoleName="gputx-scheduler", PolicyName=name, PolicyDocument=json.dumps(kept))


@pytest.fixture
def debris(cli: Cli) -> Iterator[Debris]:
    """Something to leave in the account; all of it that is gputx's is taken away again."""
    yield Debris(cli)
    cli.account.clear_rules()
    cli("reap", "--yes", "--all")
