"""Each of the four locks alone: the client, the journal, the instance itself, the account's schedule."""

from __future__ import annotations

import resource
import signal
import subprocess
import threading
import time
from datetime import datetime
from pathlib import Path

import pytest
from product import CLIP, HELD_OUT, Cli, Ended, at, ended_itself, frozen, instance, killed, newest_call, signal_at

GRACE_MINUTES, SCHEDULE_MINUTES = 10, 12
LONG_ENOUGH = [HELD_OUT / f"clip0{number}.flac" for number in (1, 3, 4, 5)]
"""Work for several seconds of real time, in which a client can be seen to live."""


@pytest.mark.parametrize("moment", ["booting", "loading the model"])
@pytest.mark.usefixtures("powerless_schedules")
def test_the_instance_ends_itself_when_its_client_is_killed(cli: Cli, moment: str) -> None:
    killed(cli, moment)
    newest = ended_itself(cli, within_minutes=GRACE_MINUTES + 2)
    assert newest["reason"] == "Client.InstanceInitiatedShutdown"
    alive = newest["since"]["shutting-down"] - newest["launched"]
    assert GRACE_MINUTES * 60 <= alive <= GRACE_MINUTES * 60 + 90
    settled = cli("ps").err
    assert "ended what earlier runs left: the " in settled
    assert "key pair and security group of run" in settled


def test_the_next_command_ends_what_a_killed_one_left(cli: Cli) -> None:
    cli.account.add_rule("no-user-data")  # so the instance can't be the one
    killed(cli, "waiting for SSH")
    ended = cli("ps")
    assert f"ended what earlier runs left: {instance(cli)['instance_id']}" in ended.err
    assert instance(cli)["state"] in {"shutting-down", "terminated"}
    assert "ended what earlier runs left" not in cli("ps").err


def test_a_command_leaves_a_living_run_alone(cli: Cli) -> None:
    seen: list[Ended] = []

    def look(process: subprocess.Popen[str]) -> None:
        with frozen(process):
            seen.append(cli("ps"))

    ended = cli.watch("run", CLIP, "--bucket", "none", on=at("loading the model", look))
    assert ended.code == 0
    assert "ended what" not in seen[0].err
    assert instance(cli)["instance_id"] in seen[0].out


@pytest.mark.usefixtures("another_machine")
def test_the_account_s_schedule_ends_what_nothing_else_does(cli: Cli) -> None:
    """No user-data, so no watchdog and no deadline on the instance; no later command; only the schedule is left."""
    cli.account.add_rule("no-user-data")
    killed(cli, "waiting for SSH")
    [schedule] = cli.account.table()["schedules"]
    assert schedule["instances"] == [instance(cli)["instance_id"]]
    newest = ended_itself(cli, within_minutes=SCHEDULE_MINUTES + 1)
    assert newest["reason"] == "Client.UserInitiatedShutdown"
    assert cli.account.table()["schedules"] == [], "it deletes itself"
    # The key and the group are this person's, and no journal here knows of them: only reap may judge that.
    cli("reap", "--yes")


@pytest.mark.slow
def test_a_schedule_is_moved_on_by_a_living_client_and_taken_away_at_the_end(cli: Cli) -> None:
    since = newest_call(cli)
    due: list[float] = []

    def beats() -> int:
        return len([call for call in cli.account.calls(since) if call["action"] == "UpdateSchedule" and call["end"]])

    def live_on(_: object) -> None:
        due.append(cli.account.table()["schedules"][0]["due"])
        for heard in (1, 2, 3):
            cli.account.advance(80)
            deadline = time.monotonic() + 10
            while beats() < heard:
                assert time.monotonic() < deadline
                time.sleep(0.02)
        due.append(cli.account.table()["schedules"][0]["due"])

    ended = cli.watch("run", *LONG_ENOUGH, "--bucket", "none", on=at("loading the model", live_on))
    assert ended.code == 0
    assert due[1] - due[0] > 2 * 80
    assert cli.account.table()["schedules"] == []
    tagged = [call for call in cli.account.calls(since) if call["action"] == "CreateTags"]
    assert len(tagged) >= 3, "other machines can see that it lives"


def test_without_the_role_it_is_said_once_and_skipped(cli: Cli) -> None:
    since = newest_call(cli)
    cli.account.add_rule("iam:GetRole error=NoSuchEntity status=404")
    ended = cli("run", CLIP, "--bucket", "none")
    assert ended.err.count("no role gputx-scheduler") == 1
    assert newest_call(cli) > since
    assert "CreateSchedule" not in {call["action"] for call in cli.account.calls(since)}


def test_an_instance_that_was_told_that_all_is_done_does_not_wait_for_aws(cli: Cli) -> None:
    """The end can't be asked for: the watchdog has heard that everything was fetched, and ends it in seconds."""
    cli.account.add_rule("TerminateInstances error=UnauthorizedOperation")

    def turn(_: object) -> None:
        for _ in range(4):
            cli.account.advance(10)

    ended = cli.watch("run", CLIP, "--bucket", "none", on=at("ending the instance", turn))
    assert ended.out
    assert instance(cli)["reason"] == "Client.InstanceInitiatedShutdown"
    # It was seen ending after all, so nothing is owned up to.
    assert ended.code == 0, ended.err


class TestCostGuard:
    def test_the_locks_keep_it_not_the_client(self, cli: Cli) -> None:
        """A dime at the on-demand price of $0.558 is 645 s: in the tag, and on the instance, whoever lives."""
        killed(cli, "loading the model", "--max-cost", "0.10", "--grace", "2h")
        tags = instance(cli)["tags"]
        started, due = (datetime.fromisoformat(tags[key]).timestamp() for key in ("gputx:started", "gputx:deadline"))
        assert 600 < due - started < 700
        newest = ended_itself(cli, within_minutes=14)
        assert newest["since"]["shutting-down"] - newest["launched"] < 720
        cli("ps")

    def test_too_little_is_refused_before_anything_is_launched(self, cli: Cli) -> None:
        before = len(cli.account.table()["instances"])
        ended = cli("run", CLIP, "--max-cost", "0.01", code=2)
        assert "--max-cost $0.0100 pays for 1 min 0" in ended.err
        assert len(cli.account.table()["instances"]) == before

    @pytest.mark.parametrize("amount", ["nothing", "-1", "0", "nan", "inf", ""])
    def test_what_is_no_amount_is_refused(self, cli: Cli, amount: str) -> None:
        assert "--max-cost can't be" in cli("run", CLIP, "--max-cost", amount, code=2).err


class TestTerminationIsSeen:
    def test_expired_credentials_are_waited_for(self, cli: Cli) -> None:
        cli.account.add_rule("TerminateInstances error=ExpiredToken times=5")
        ended = cli.watch(
            "run", CLIP, "--bucket", "none", on=at("new credentials are needed", lambda _: cli.account.advance(5))
        )
        assert ended.code == 0, ended.err
        assert "gputx waits for them" in ended.err

    def test_credentials_that_expire_on_the_way_are_read_anew(self, cli: Cli) -> None:
        cli.account.add_rule("DescribeInstances error=ExpiredToken times=1")
        cli.account.add_rule("RunInstances error=RequestExpired times=1")
        assert cli("run", CLIP, "--bucket", "none").out

    def test_an_instance_that_describe_does_not_show_yet_ends_all_the_same(self, cli: Cli) -> None:
        cli.account.add_rule("lag 500s")
        ended = cli.watch("run", CLIP, "--bucket", "none", on=signal_at("booting", signal.SIGINT))
        assert ended.code == 130, ended.err
        assert instance(cli)["state"] in {"shutting-down", "terminated"}
        assert "could not confirm" not in ended.err

    def test_a_refusal_over_credentials_does_not_deny_an_earlier_launch(self, cli: Cli) -> None:
        """Launched, the answer lost, and the next try refused for its credentials: it may exist, and it does."""
        cli.account.add_rule("RunInstances drop=after times=1")
        cli.account.add_rule("RunInstances error=ExpiredToken")
        cli.account.add_rule("lag 15s")
        ended = cli.watch(
            "run", CLIP, "--bucket", "none", on=at("ending the instance", lambda _: cli.account.advance(14))
        )
        assert ended.code == 3, ended.err
        assert "nothing was launched" not in ended.err
        assert instance(cli)["state"] in {"shutting-down", "terminated"}


def test_a_command_in_another_region_settles_what_was_left_in_this_one(cli: Cli) -> None:
    cli.account.add_rule("no-user-data")
    killed(cli, "waiting for SSH")
    ended = cli("ps", "--region", "us-east-1")
    assert f"ended what earlier runs left: {instance(cli)['instance_id']}" in ended.err
    assert instance(cli)["state"] in {"shutting-down", "terminated"}


@pytest.mark.slow
def test_what_is_overdue_and_will_not_end_is_told(cli: Cli, tmp_path: Path) -> None:
    cli.account.add_rule("no-user-data")
    cli.account.add_rule("scheduler:CreateSchedule error=AccessDeniedException")
    refusal = cli.account.add_rule("TerminateInstances error=UnauthorizedOperation")
    mine = cli.environ.copy()
    cli.environ["GPUTX_STATE_DIR"] = str(tmp_path / "another")
    killed(cli, "waiting for SSH", "--ttl", "10m")
    cli.environ = mine
    cli.account.advance(20 * 60)
    id_ = instance(cli)["instance_id"]
    turning = threading.Thread(target=lambda: [(time.sleep(0.4), cli.account.advance(6)) for _ in range(12)])
    turning.start()
    said = cli("ps")
    turning.join()
    assert f"{id_} is past its deadline and was not seen to end" in said.err
    assert f"--instance-ids {id_}" in said.err
    cli.account.remove_rule(refusal["id"])
    assert f"ended what earlier runs left: {id_}" in cli("ps").err
    cli.account.clear_rules()
    cli("reap", "--yes")


def test_an_account_that_refuses_schedules_costs_one_lock_and_no_sign_of_life(cli: Cli) -> None:
    cli.account.add_rule("scheduler:CreateSchedule error=AccessDeniedException")
    since = newest_call(cli)

    def live_on(_process: object) -> None:
        for heard in (1, 2):
            cli.account.advance(80)
            deadline = time.monotonic() + 10
            while sum(call["action"] == "CreateTags" for call in cli.account.calls(since)) < heard:
                assert time.monotonic() < deadline
                time.sleep(0.02)

    ended = cli.watch("run", *LONG_ENOUGH, "--bucket", "none", on=at("loading the model", live_on))
    assert ended.code == 0, ended.err
    assert ended.err.count("the account's own lock is off") == 1


def test_a_journal_that_can_not_be_written_launches_nothing(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    cli.environ["GPUTX_STATE_DIR"] = str(tmp_path / "file")
    before = newest_call(cli)
    ended = cli("run", CLIP, "--bucket", "none", code=3)
    assert "the journal of what runs can't be used" in ended.err
    assert "GPUTX_STATE_DIR" in ended.err
    made = {"RunInstances", "ImportKeyPair", "CreateSecurityGroup"}
    assert not made & {call["action"] for call in cli.account.calls(before)}


@pytest.mark.parametrize("kilobytes", [4, 24, 48, 64, 96])
def test_a_disk_that_is_full_ends_in_the_same_clean_up(cli: Cli, tmp_path: Path, kilobytes: int) -> None:
    """No file may grow past the limit: the journal, the audio that is prepared and the text fail at some moment."""

    def fill() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (kilobytes * 1024, kilobytes * 1024))

    cli.environ["GPUTX_STATE_DIR"] = str(tmp_path / "state")
    ended = cli("run", CLIP, "--bucket", "none", code=None, preexec_fn=fill)
    assert ended.code in {1, 3}, ended.err
    assert ended.err.count("error:") >= 1
    live = [i for i in cli.account.table()["instances"] if i["state"] in {"pending", "running"}]
    assert not live


@pytest.mark.slow
def test_stdout_that_can_not_be_written_ends_in_the_same_clean_up(cli: Cli) -> None:
    with Path("/dev/full").open("w") as full:
        process = cli.start("run", CLIP, "--bucket", "none", stdout=full)
        _, err = process.communicate(timeout=120)
    assert process.returncode == 1, err
    assert "Traceback" not in err
    assert "nothing left running" in err
    assert instance(cli)["state"] in {"shutting-down", "terminated"}
