"""Leaks that were reported of other projects, each replayed as it happened there.

What was left running there, and after which events, is read from those projects' own trackers. The locks that are not
the subject of a test are taken away where they would hide it. What counts is the sandbox's own table.
"""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable
from typing import Any

import pytest
from debris import SERVICES, Debris
from product import CLIP, Cli, Ended, at, ended_itself, instance, killed, leftovers, newest_call, signal_at

pytestmark = pytest.mark.slow

GRACE_MINUTES = 10
HOUR = 3600.0
TAGGED = ("spot_requests", "network_interfaces", "queues", "fleets", "images", "snapshots", "launch_templates")
ENDED = {"cancelled", "closed", "deleted", "deleted_terminating"}
EVA = "arn:aws:iam::123456789012:user/eva"


def remains(cli: Cli) -> list[str]:
    """Everything of any gputx run that is left in the account, once what is ending has ended."""
    cli.account.advance(60)
    table = cli.account.table()
    tagged = [
        str(row)
        for kind in TAGGED
        for row in table[kind]
        if "gputx:run" in row["tags"] and row.get("state") not in ENDED
    ]
    return [*leftovers(table), *map(str, table["schedules"]), *map(str, table["in_flight"]), *tagged]


def live(cli: Cli) -> list[dict[str, Any]]:
    """What costs money by the hour, or will in a moment."""
    return [row for row in cli.account.table()["instances"] if row["state"] in {"pending", "running"}]


def struck(cli: Cli, rule: str, *options: str) -> Ended:
    """A run that gets its signal from the account itself, at a call of its own that the rule names."""
    process = cli.start("run", CLIP, "--bucket", "none", *options)
    cli.account.add_rule(f"{rule} pid={process.pid} times=1")
    out, err = process.communicate(timeout=60)
    assert "Traceback" not in err, err
    [reached] = [hit for row in cli.account.rules() for hit in row.get("reached", [])]
    assert reached["sent"], "the client was gone before it could be struck"
    return Ended(process.returncode, out, err)


def launches(cli: Cli, since: int) -> list[dict[str, Any]]:
    return [call for call in cli.account.calls(since) if call["action"] == "RunInstances"]


def in_turn(*reactions: Callable[[str, subprocess.Popen[str]], None]) -> Callable[[str, subprocess.Popen[str]], None]:
    """Show each line to all of them."""

    def on(line: str, process: subprocess.Popen[str]) -> None:
        for react in reactions:
            react(line, process)

    return on


def five_minutes(cli: Cli) -> Callable[[object], None]:
    """Turn the clock past the time for which an end is insisted on, in steps, so that a client asks again between."""

    def turn(_: object) -> None:
        for _step in range(30):
            cli.account.advance(10)
            time.sleep(0.02)

    return turn


class TestSkypilot:
    def test_a_launch_that_can_not_be_seen_yet_is_not_forgotten(self, cli: Cli) -> None:
        """skypilot #4431: the launching process was killed as it sent the launch; another looked before the account
        showed the instance, took the cluster for gone and deleted the only record of it.
        """
        cli.account.add_rule("lag 500s")
        cli.account.add_rule("no-user-data")
        assert struck(cli, "RunInstances signal=KILL at=after").code == -signal.SIGKILL
        [orphan] = live(cli)

        assert orphan["instance_id"] not in cli("ps").out, "it is not to be seen yet"
        assert live(cli)
        cli.account.advance(500)
        assert f"ended what earlier runs left: {orphan['instance_id']}" in cli("ps").err
        assert not remains(cli)

    def test_an_instance_that_can_not_be_ended_is_not_passed_over_for_another(self, cli: Cli) -> None:
        """skypilot #2990: setting up a new machine failed, ending it failed as well, and that error was ignored: it
        went on to the next region and forgot the first machine.
        """
        since = newest_call(cli)
        cli.account.add_rule("TerminateInstances error=InternalError")
        ec2 = cli.boto("ec2")

        def fail_it(_: object) -> None:
            ec2.stop_instances(InstanceIds=[instance(cli)["instance_id"]])

        ended = cli.watch(
            *("run", CLIP, "--bucket", "none", "--market", "on-demand"),
            on=in_turn(at("loading the model", fail_it), at("ending the instance", five_minutes(cli))),
        )
        id_ = instance(cli)["instance_id"]
        assert ended.code == 5, ended.err
        assert f"aws ec2 terminate-instances --region eu-north-1 --instance-ids {id_}" in ended.err
        assert len({call["token"] for call in launches(cli, since)}) == 1, "no other pool was tried"
        assert instance(cli)["live"]

        cli.account.clear_rules()
        assert id_ in cli("ps").err
        assert not remains(cli)

    def test_an_instance_whose_time_is_up_is_not_started_again(self, cli: Cli) -> None:
        """skypilot #779: when a cluster stopped itself, its controller took that for a loss and started another, in a
        group of its own and with nothing on it, which nobody knew of.
        """
        since = newest_call(cli)

        def sleep_past_the_deadline(process: subprocess.Popen[str]) -> None:
            process.send_signal(signal.SIGSTOP)
            ended_itself(cli, within_minutes=35)
            process.send_signal(signal.SIGCONT)

        ended = cli.watch(
            *("run", CLIP, "--bucket", "none", "--ttl", "30m", "--grace", "2h"),
            on=at("loading the model", sleep_past_the_deadline),
        )
        assert ended.code == 1, ended.err
        assert "the instance ended at its deadline" in ended.err + ended.out
        assert len(launches(cli, since)) == 1
        since_when = instance(cli)["since"]
        assert "stopped" not in since_when
        assert since_when["shutting-down"] - instance(cli)["launched"] < 32 * 60
        cli.account.advance(HOUR)
        assert not remains(cli)

    def test_a_fleet_that_keeps_its_size_does_not_outlive_a_reap(self, cli: Cli, debris: Debris) -> None:
        """skypilot #779, with what does in EC2 what the controller did there: a maintained fleet replaces what ends."""
        labels = debris.labels("r1")
        debris.ec2.create_launch_template(
            LaunchTemplateName="gputx-r1",
            LaunchTemplateData={
                "ImageId": debris.ec2.describe_images(Owners=["self"])["Images"][0]["ImageId"],
                "InstanceType": "g4dn.xlarge",
                "TagSpecifications": debris.tagged(labels, *SERVICES[:3]),
            },
            TagSpecifications=debris.tagged(labels, "launch-template"),
        )
        debris.ec2.create_fleet(
            Type="maintain",
            LaunchTemplateConfigs=[
                {"LaunchTemplateSpecification": {"LaunchTemplateName": "gputx-r1", "Version": "$Latest"}}
            ],
            TargetCapacitySpecification={"TotalTargetCapacity": 1, "DefaultTargetCapacityType": "on-demand"},
            TagSpecifications=debris.tagged(labels, "fleet"),
        )
        cli.account.advance(5)
        [first] = live(cli)
        debris.ec2.terminate_instances(InstanceIds=[first["instance_id"]])
        cli.account.advance(120)
        [second] = live(cli)
        assert second["instance_id"] != first["instance_id"], "the fleet does replace what ends"

        since = newest_call(cli)
        cli("reap", "--yes")
        cli.account.advance(HOUR)
        assert not live(cli)
        assert not remains(cli)
        assert not launches(cli, since)


class TestDstack:
    def test_an_instance_is_not_called_ended_when_the_account_can_not_be_reached(self, cli: Cli) -> None:
        """dstack #1551: the server's network was cut in mid-run; the run failed, and its instance was marked as
        terminated although the request to end it had never arrived.
        """
        cli.account.add_rule("no-user-data")
        cut = at("waiting for SSH", lambda _: cli.account.add_rule("* drop=before"))
        ended = cli.watch(
            *("run", CLIP, "--bucket", "none"), on=in_turn(cut, at("ending the instance", five_minutes(cli)))
        )
        [running] = live(cli)
        assert ended.code == 5, ended.err
        assert f"could not confirm that {running['instance_id']} has ended" in ended.err
        assert "seen shutting-down" not in ended.err

        cli.account.clear_rules()
        assert f"ended what earlier runs left: {running['instance_id']}" in cli("ps").err
        assert not remains(cli)

    def test_ctrl_c_at_the_moment_of_the_launch_leaves_no_instance_behind(self, cli: Cli) -> None:
        """dstack #2068: a run was cancelled while its instance was being asked for; the instance came up afterwards,
        busy with a run that was over, and could be neither used nor deleted.
        """
        cli.account.add_rule("pending 120s")
        cli.account.add_rule("no-user-data")
        ended = struck(cli, "RunInstances signal=INT at=before")
        assert ended.code == 130, ended.err
        assert len(instance(cli)["since"]) > 1, "an instance did come to be"
        assert not live(cli), "at the moment of the exit"
        cli.account.advance(HOUR)
        assert not remains(cli)

    def test_who_runs_it_again_after_a_crash_has_one_instance_and_not_two(self, cli: Cli) -> None:
        """dstack #707: what asks for instances died between asking and writing that down; it asked again when it came
        back, and the first instance ran on beside the second.
        """
        since = newest_call(cli)
        cli.account.add_rule("no-user-data times=1")
        struck(cli, "RunInstances signal=KILL at=after")
        [first] = live(cli)
        cli.account.advance(5)  # by then Describe shows it

        again = cli("run", CLIP, "--bucket", "none")
        assert again.out
        assert f"ended what earlier runs left: {first['instance_id']}" in again.err, again.err
        assert not live(cli)
        tokens = [call["token"] for call in launches(cli, since)]
        assert len(tokens) == len(set(tokens)) == 2, "nobody sent the first launch again to find out"
        assert not remains(cli)

    def test_an_orphan_that_no_record_knows_is_found_and_nobody_else_s_is_touched(
        self, cli: Cli, debris: Debris, request: pytest.FixtureRequest
    ) -> None:
        """dstack #3453: killed between the creation of an instance and the record of it, it leaves an orphan that no
        later start knows; what looks for such must tell them from what others run in the same account.
        """
        cli.account.add_rule("quota spot=100")
        cli.account.add_rule("no-user-data")
        struck(cli, "RunInstances signal=KILL at=after")
        [orphan] = live(cli)
        request.getfixturevalue("another_machine")
        theirs = debris.instance(debris.labels("r2", owner=EVA, due=3 * HOUR))
        foreign = debris.instance({"Name": "a web server"})
        try:
            cli.account.advance((GRACE_MINUTES + 1) * 60)
            cli("reap", "--yes")
            cli.account.advance(60)
            assert {row["instance_id"] for row in live(cli)} == {theirs, foreign}
            assert "Client.UserInitiatedShutdown" in [
                row["reason"] for row in cli.account.table()["instances"] if row["instance_id"] == orphan["instance_id"]
            ]
        finally:
            debris.ec2.terminate_instances(InstanceIds=[theirs, foreign])
        assert not remains(cli)

    def test_an_instance_whose_launch_seemed_to_fail_is_no_second_one(self, cli: Cli) -> None:
        """dstack #3453, its second case: the provider answered with an error though it had created the instance."""
        since = newest_call(cli)
        cli.account.add_rule("RunInstances drop=after times=1")
        ended = cli.watch("run", CLIP, "--bucket", "none", on=signal_at("booting", signal.SIGINT))
        assert ended.code == 130, ended.err
        sent = launches(cli, since)
        assert sent[0]["outcome"] == "cut after"
        assert len({call["token"] for call in sent}) == 1
        assert len({id_ for call in sent for id_ in call["instances"]}) == 1
        assert not live(cli)
        assert not remains(cli)


class TestPacker:
    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_ctrl_c_is_heard_while_the_instance_gets_ready(self, cli: Cli, number: signal.Signals) -> None:
        """packer #5794: whoever may not look at instances waited for one for ever, INT and TERM were not heard in that
        wait, and only kill -9 ended it, which left the instance.
        """
        cli.account.add_rule("pending 2h")
        cli.account.add_rule("no-user-data")
        sent: list[float] = []

        def interrupt(process: subprocess.Popen[str]) -> None:
            process.send_signal(number)
            sent.append(time.monotonic())

        ended = cli.watch("run", CLIP, "--bucket", "none", on=at("booting", interrupt))
        assert time.monotonic() - sent[0] < 15
        assert ended.code == 128 + number, ended.err
        assert not live(cli)
        assert not remains(cli)

    def test_who_may_not_look_at_an_instance_is_told_so_and_not_kept_waiting(self, cli: Cli) -> None:
        """packer #5794, where it began: the permission to see the instance's state was missing."""
        denied = at("booting", lambda _: cli.account.add_rule("DescribeInstances error=UnauthorizedOperation"))
        ended = cli.watch(
            *("run", CLIP, "--bucket", "none"), on=in_turn(denied, at("ending the instance", five_minutes(cli)))
        )
        assert "UnauthorizedOperation" in ended.err
        assert not live(cli)
        # That it has ended could not be seen, so it is not claimed either.
        assert ended.code == 5, ended.err
        cli.account.clear_rules()
        cli("ps")
        assert not remains(cli)

    @pytest.mark.usefixtures("powerless_schedules")
    def test_a_pipeline_that_is_cut_off_leaves_no_gpu_idling_overnight(self, cli: Cli) -> None:
        """packer #8149: the task of a build pipeline hit its time limit, packer went with it, and the next morning the
        GPU builders of many such tasks were still there, idle, for nothing on them ends them.
        """
        killed(cli)
        newest = ended_itself(cli, within_minutes=GRACE_MINUTES + 2)
        assert newest["since"]["shutting-down"] - newest["launched"] < (GRACE_MINUTES + 2) * 60
        assert newest["reason"] == "Client.InstanceInitiatedShutdown"
        cli.account.advance(12 * HOUR)
        assert not live(cli)

        # The pipeline's machine is gone, and its journal with it: somebody else's cron finds the rest.
        cli.environ["GPUTX_STATE_DIR"] = str(cli.directory / "cron")
        cli("reap", "--yes")
        assert not remains(cli)

    def test_a_builder_that_ran_away_goes_with_its_half_made_image(self, cli: Cli, debris: Debris) -> None:
        """packer #8149, for what a build leaves beside its instance: an image that is not finished and its snapshot."""
        cli.account.add_rule("imaging 5h")
        labels = debris.labels("r1")
        builder = debris.instance(labels, debris.group(labels, "gputx-r1"))
        kept = {row["image_id"] for row in cli.account.table()["images"]}
        image = debris.ec2.create_image(
            InstanceId=builder,
            Name="half-made",
            NoReboot=True,
            TagSpecifications=debris.tagged(labels, "image", "snapshot"),
        )["ImageId"]
        assert image in str(cli.account.table()["images"])
        assert "r1" in str(cli.account.table()["snapshots"])

        ended = cli("reap", "--yes", "--json").document
        assert {"instance", "image", "snapshot"} <= {row["kind"] for row in ended["things"]}
        assert not remains(cli)
        assert kept <= {row["image_id"] for row in cli.account.table()["images"]}, "what was finished stays"
