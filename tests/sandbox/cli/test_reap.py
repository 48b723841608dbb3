"""``gputx reap`` as a person and as cron runs it, against everything that can be left in an account."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import signal
import subprocess
import termios
from typing import Any

import boto3
import pytest
from debris import Debris
from product import HELD_OUT, Cli, Ended, frozen, instance, killed, leftovers, turned

from gputx.lease.journal import Journal, State
from gputx.models import Kind

EVA = "arn:aws:iam::123456789012:user/eva"
CLIP = HELD_OUT / "clip03.flac"


def found(document: dict[str, Any], verdict: str) -> dict[str, list[str]]:
    """Ids by kind, of one verdict."""
    by_kind: dict[str, list[str]] = {}
    for thing in document["things"]:
        if thing["verdict"] == verdict:
            by_kind.setdefault(thing["kind"], []).append(thing["id"])
    return by_kind


def in_region(cli: Cli, region: str) -> Any:
    """Plain boto3 on EC2 in another region of the account."""
    return boto3.client(
        "ec2",
        endpoint_url=cli.account.endpoint_url,
        region_name=region,
        aws_access_key_id=cli.account.access_key,
        aws_secret_access_key=cli.account.secret_key,
    )


def test_every_kind_is_found_shown_and_ended_and_a_second_run_finds_nothing(cli: Cli, debris: Debris) -> None:
    things = debris.everything(debris.labels("r1"), "gputx-r1")

    rehearsed = cli("reap", "--dry-run", "--json").document
    assert [row["live"] for row in cli.account.table()["instances"] if row["instance_id"] == things["instance"]] == [
        True
    ]
    would_end = found(rehearsed, "would end")
    assert {kind: [id_] for kind, id_ in things.items()}.items() <= would_end.items()
    assert len(would_end["spot request"]) == 1
    instance = next(thing for thing in rehearsed["things"] if thing["kind"] == "instance")
    assert instance["cost"] > 0
    assert instance["run"] == "r1"
    assert "past its deadline" in instance["why"]

    ended = cli("reap", "--yes", "--json").document
    assert found(ended, "ended") == would_end
    assert ended["error"] is None

    again = cli("reap", "--yes", "--json")
    assert again.document["things"] == []
    assert cli("reap", "--yes").out == "nothing is left over\n"
    cli.account.advance(60)
    assert not leftovers(cli.account.table())
    table = cli.account.table()
    rows = [row for kind in ("snapshots", "launch_templates", "queues", "schedules") for row in table[kind]]
    assert not [row for row in rows if "r1" in str(row)]


def test_a_rehearsal_sends_nothing_that_changes_anything(cli: Cli, debris: Debris) -> None:
    debris.everything(debris.labels("r1"), "gputx-r1")
    before = cli.account.calls()[-1]["number"]
    cli("reap", "--dry-run", "--all")
    actions = {call["action"] for call in cli.account.calls(before)}
    assert actions
    assert all(action.startswith(("Describe", "List", "Get")) for action in actions), actions


def test_what_is_not_ours_is_never_named(cli: Cli, debris: Debris) -> None:
    colleagues = debris.group(debris.labels("r2", owner=EVA, due=3600), "gputx-r2")
    left_of_a_server = debris.group(debris.labels("r3", due=3600, Purpose="api"), "gputx-r3")
    alike = {"gputx-run": "r4", "GPUTX:run": "r4", "gputx:run": "", "Name": "gputx-r4"}
    foreign = debris.group(alike, "gputx-r4")
    try:
        shown = cli("reap", "--yes").out
        assert f"a colleague's ({EVA}): name it with --run, or --all" in shown
        assert left_of_a_server in shown
        assert foreign not in shown

        cli("reap", "--yes", "--run", "r2")
        there = {group["group_id"] for group in cli.account.table()["security_groups"]}
        assert colleagues not in there
        assert left_of_a_server not in there
        assert foreign in there

        cli("reap", "--yes", "--all")
        there = {group["group_id"] for group in cli.account.table()["security_groups"]}
        assert foreign in there
    finally:
        debris.ec2.delete_security_group(GroupId=foreign)


def test_a_run_at_work_is_left_alone_unless_it_is_named(cli: Cli, debris: Debris) -> None:
    def during(line: str, process: subprocess.Popen[str]) -> None:
        if line.startswith("loading the model"):
            with frozen(process):
                kept = cli("reap", "--yes", "--json").document
                assert found(kept, "ended") == {}
                assert {thing["why"] for thing in kept["things"]} == {
                    "held by a gputx that runs here: name it with --run, or --all"
                }
                run = kept["things"][0]["run"]
                ended = cli("reap", "--yes", "--run", run, "--json").document
                assert len(found(ended, "ended")["instance"]) == 1
                process.send_signal(signal.SIGINT)

    cli.watch("run", CLIP, "--bucket", "none", on=during)


def test_a_killed_run_is_gone_after_one_reap(cli: Cli, debris: Debris) -> None:
    def kill(line: str, process: subprocess.Popen[str]) -> None:
        if line.startswith("loading the model"):
            process.kill()

    cli.watch("run", CLIP, "--bucket", "none", on=kill)
    assert any(row["live"] for row in cli.account.table()["instances"])
    ended = cli("reap", "--yes", "--json").document
    assert {"instance", "key pair", "security group"} <= set(found(ended, "ended"))
    cli.account.advance(60)
    assert not leftovers(cli.account.table())
    assert cli("reap", "--yes").out == "nothing is left over\n"


@pytest.mark.slow
def test_a_launch_that_lands_after_the_reap_comes_to_nothing(cli: Cli, debris: Debris) -> None:
    """It was sent, its sender was killed, and it reaches EC2 an hour late."""
    cli.account.add_rule("RunInstances delay=1h times=1")
    process = cli.start("run", CLIP, "--bucket", "none")
    deadline = cli.account.clock.time() + 60
    while not any(call["action"] == "RunInstances" for call in cli.account.table()["in_flight"]):
        assert cli.account.clock.time() < deadline
    process.kill()
    process.communicate()

    ended = cli("reap", "--yes", "--json", code=5)
    assert "key pair" in found(ended.document, "ended")
    assert "is not visible yet; it stays in the journal until" in ended.document["journal"][0]["what"]
    cli.account.advance(3600)
    assert not [row for row in cli.account.table()["instances"] if row["live"]]
    cli.account.advance(2 * 3600)
    assert cli("reap", "--yes").out == "nothing is left over\n"


def test_a_launch_that_lands_during_the_reap_is_ended_by_it(cli: Cli, debris: Debris) -> None:
    """It lands between the look and the deletion of its key, and holds the group that is to be deleted."""
    cli.account.add_rule("RunInstances delay=1h times=1")
    process = cli.start("run", CLIP, "--bucket", "none", "--market", "spot")
    deadline = cli.account.clock.time() + 60
    while not any(call["action"] == "RunInstances" for call in cli.account.table()["in_flight"]):
        assert cli.account.clock.time() < deadline
    process.kill()
    process.communicate()

    # The key is deleted 40 s after the call for it came in, so that the launch finds it still.
    cli.account.advance(3570)
    cli.account.add_rule("DeleteKeyPair delay=40s times=1")
    reaping = cli.start("reap", "--yes", "--json")
    while not any(call["action"] == "DeleteKeyPair" for call in cli.account.table()["in_flight"]):
        assert reaping.poll() is None
    began = cli.account.clock.time()
    cli.account.advance(32)
    while not any(row["live"] for row in cli.account.table()["instances"]):
        assert reaping.poll() is None
    cli.account.advance(8)
    out, err = reaping.communicate(timeout=60)
    assert reaping.returncode == 0, err
    document = json.loads(out)
    assert "security group" in found(document, "ended")
    assert [item["ended"] for item in document["journal"]] == [True]
    assert cli.account.clock.time() - began < 40 + 20, "nothing was insisted on that the instance held"
    assert instance(cli)["state"] in {"shutting-down", "terminated"}
    assert cli("reap", "--yes").out == "nothing is left over\n"


def test_the_journal_knows_of_other_regions(cli: Cli, debris: Debris) -> None:
    """What a run left in a region that nobody asks for: it was killed before its launch."""
    far = in_region(cli, "eu-west-1")
    cli("reap", "--yes")
    [file] = cli.account.state_dir.rglob("journal.sqlite3")
    with contextlib.closing(Journal(file.parent, cli.account.clock)) as journal:
        journal.intend(
            [("r1/key pair", Kind.KEY_PAIR, "gputx-r1")],
            account=cli.account.account_id,
            region="eu-west-1",
            run_id="r1",
            deadline=cli.account.clock.time() + 3600,
            state=State.SENT,
        )
        labels = debris.labels("r1", due=3600) | {"gputx:journal": journal.id}
    far.create_key_pair(KeyName="gputx-r1", TagSpecifications=debris.tagged(labels, "key-pair"))

    home = ["eu-north-1"]
    assert cli("reap", "--yes", "--run", "r2", "--json").document["regions"] == home, "r2 is not what is open there"
    assert cli("reap", "--dry-run", "--run", "r1", "--json").document["regions"] == [*home, "eu-west-1"]
    ended = cli("reap", "--yes", "--json")
    assert "eu-west-1 is looked at, too: the journal has something open there" in ended.err
    assert found(ended.document, "ended") == {"key pair": ["gputx-r1"]}
    assert far.describe_key_pairs()["KeyPairs"] == []
    assert cli("reap", "--yes", "--json").document["regions"] == home


def test_an_instance_that_can_not_be_looked_at_keeps_its_schedule(cli: Cli, debris: Debris) -> None:
    killed(cli)
    assert len(cli.account.table()["schedules"]) == 1
    cli.account.add_rule("DescribeInstances error=UnauthorizedOperation")
    with turned(cli):
        blind = cli("reap", "--yes", "--json", code=1)
    [schedule] = [thing for thing in blind.document["things"] if thing["kind"] == "schedule"]
    assert schedule["verdict"] == "not ended"
    assert schedule["why"] == "it will end its instance, which could not be looked for"
    assert len(cli.account.table()["schedules"]) == 1
    assert any(row["live"] for row in cli.account.table()["instances"])
    cli.account.clear_rules()
    assert "schedule" in found(cli("reap", "--yes", "--json").document, "ended")


def test_what_is_too_young_keeps_its_schedule(cli: Cli, debris: Debris) -> None:
    killed(cli)
    kept = cli("reap", "--yes", "--older-than", "1h", "--json").document
    assert {thing["verdict"] for thing in kept["things"]} == {"kept"}
    assert {thing["kind"] for thing in kept["things"]} >= {"instance", "schedule", "key pair", "security group"}
    assert len({thing["why"] for thing in kept["things"]}) == 1, "a run is old enough or not as a whole"


@pytest.mark.slow
def test_all_regions_are_looked_at_and_ended_in(cli: Cli, debris: Debris) -> None:
    far = in_region(cli, "eu-west-1")
    far.create_key_pair(KeyName="gputx-r1", TagSpecifications=debris.tagged(debris.labels("r1"), "key-pair"))
    debris.key(debris.labels("r2"), "gputx-r2")

    assert found(cli("reap", "--dry-run", "--json").document, "would end") == {"key pair": ["gputx-r2"]}
    ended = cli("reap", "--yes", "--all-regions", "--json").document
    assert {(thing["region"], thing["id"]) for thing in ended["things"]} == {
        ("eu-west-1", "gputx-r1"),
        ("eu-north-1", "gputx-r2"),
    }
    assert len(ended["regions"]) > 10
    assert far.describe_key_pairs()["KeyPairs"] == []


def test_what_is_young_is_kept_if_so_asked(cli: Cli, debris: Debris) -> None:
    debris.group(debris.labels("r1"), "gputx-r1")
    kept = cli("reap", "--yes", "--older-than", "3h", "--json").document
    assert [thing["verdict"] for thing in kept["things"]] == ["kept"]
    assert "too young for --older-than" in kept["things"][0]["why"]
    ended = cli("reap", "--yes", "--older-than", "1h", "--json").document
    assert [thing["verdict"] for thing in ended["things"]] == ["ended"]


def test_an_instance_that_can_not_be_ended_is_5_with_the_command(cli: Cli, debris: Debris) -> None:
    instance = debris.instance(debris.labels("r1"))
    cli.account.add_rule("TerminateInstances error=UnauthorizedOperation")
    ended = cli("reap", "--yes", "--json", code=5)
    assert f"warning: could not confirm that {instance} has ended" in ended.err
    assert f"next: aws ec2 terminate-instances --instance-ids {instance} --region eu-north-1" in ended.err
    row = next(thing for thing in ended.document["things"] if thing["kind"] == "instance")
    assert row["verdict"] == "not ended"
    assert "UnauthorizedOperation" in row["why"]
    cli.account.clear_rules()
    assert cli("reap", "--yes").code == 0


def test_what_can_not_be_removed_or_looked_for_is_1(cli: Cli, debris: Debris) -> None:
    debris.group(debris.labels("r1"), "gputx-r1")
    cli.account.add_rule("DeleteSecurityGroup error=UnauthorizedOperation")
    ended = cli("reap", "--yes", code=1)
    assert "error: 1 thing could not be removed" in ended.err
    assert "not ended" in ended.out

    cli.account.clear_rules()
    cli.account.add_rule("DescribeFleets error=UnauthorizedOperation")
    cli.account.add_rule("DescribeVolumes error=UnauthorizedOperation")
    blind = cli("reap", "--yes", "--json", code=1)
    assert [item["what"] for item in blind.document["blind"]] == ["fleets", "volumes"]
    assert "warning: could not look for fleets in eu-north-1: UnauthorizedOperation" in blind.err
    assert found(blind.document, "ended")["security group"], "what can be seen is ended all the same"


def test_credentials_that_are_refused_are_3(cli: Cli, debris: Debris) -> None:
    cli.account.add_rule("sts:GetCallerIdentity error=ExpiredToken")
    assert "renew your credentials" in cli("reap", "--yes", code=3).err


@pytest.mark.slow
def test_throttling_and_lost_answers_are_insisted_through(cli: Cli, debris: Debris) -> None:
    debris.everything(debris.labels("r1"), "gputx-r1")
    for rule in (
        "TerminateInstances drop=after times=1",
        "Delete* error=RequestLimitExceeded times=6",
        "Cancel* error=InternalError times=1",
    ):
        cli.account.add_rule(rule)
    cli("reap", "--yes")
    assert cli("reap", "--yes").out == "nothing is left over\n"


def test_the_journal_may_be_broken_and_tags_still_work(cli: Cli, debris: Debris) -> None:
    cli("reap", "--yes")
    [journal] = cli.account.state_dir.rglob("journal.sqlite3")
    broken = cli.directory / "broken" / journal.relative_to(cli.account.state_dir)
    broken.parent.mkdir(parents=True)
    broken.write_bytes(b"no database " * 100)
    cli.environ["GPUTX_STATE_DIR"] = str(cli.directory / "broken")
    debris.group(debris.labels("r1"), "gputx-r1")
    ended = cli("reap", "--yes")
    assert "only what carries a tag is looked for" in ended.err
    assert "1 ended" in ended.out


def test_without_anyone_to_ask_it_wants_to_be_told(cli: Cli) -> None:
    ended = cli("reap", code=2)
    assert "--yes" in ended.err
    assert "--dry-run" in ended.err


@pytest.mark.slow
def test_on_a_terminal_it_shows_and_asks(cli: Cli, debris: Debris) -> None:
    group = debris.group(debris.labels("r1"), "gputx-r1")

    refused = on_a_terminal(cli, "n\n")
    assert refused.code == 1
    assert group in refused.err
    assert "End this? [y/N]" in refused.err
    assert "nothing was ended" in refused.err
    assert group in str(cli.account.table()["security_groups"])

    agreed = on_a_terminal(cli, "y\n")
    assert agreed.code == 0
    assert agreed.out.startswith("VERDICT"), "the question is not in the result"
    assert "1 ended" in agreed.out
    assert group not in str(cli.account.table()["security_groups"])


def test_ctrl_c_at_the_question_ends_nothing(cli: Cli, debris: Debris) -> None:
    group = debris.group(debris.labels("r1"), "gputx-r1")
    assert on_a_terminal(cli, "\x03").code == 130
    assert group in str(cli.account.table()["security_groups"])


def on_a_terminal(cli: Cli, answer: str) -> Ended:
    """Run ``gputx reap`` with a terminal for standard input, and answer once it asks."""
    ours, theirs = pty.openpty()

    def lead() -> None:
        os.setsid()
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    process = cli.start("reap", stdin=theirs, preexec_fn=lead)
    os.close(theirs)
    assert process.stderr is not None
    assert process.stdout is not None
    seen = ""
    while "[y/N]" not in seen:
        letter = process.stderr.read(1)
        assert letter, seen
        seen += letter
    os.write(ours, answer.encode())
    seen += process.stderr.read()
    out = process.stdout.read()
    process.stdout.close()
    process.stderr.close()
    code = process.wait(60)
    os.close(ours)
    assert "Traceback" not in seen
    return Ended(code, out, seen)


def test_a_maintained_fleet_is_ended_for_good(cli: Cli, debris: Debris) -> None:
    """Its instances alone would be replaced within a minute."""
    labels = debris.labels("r1")
    image = debris.ec2.describe_images(Owners=["self"])["Images"][0]["ImageId"]
    template = debris.ec2.create_launch_template(
        LaunchTemplateName="gputx-r1",
        LaunchTemplateData={
            "ImageId": image,
            "InstanceType": "g4dn.xlarge",
            "TagSpecifications": debris.tagged(labels, "instance", "volume"),
        },
        TagSpecifications=debris.tagged(labels, "launch-template"),
    )["LaunchTemplate"]["LaunchTemplateId"]
    fleet = debris.ec2.create_fleet(
        Type="maintain",
        LaunchTemplateConfigs=[
            {
                "LaunchTemplateSpecification": {"LaunchTemplateId": template, "Version": "$Latest"},
                "Overrides": [{"AvailabilityZone": "eu-north-1a"}],
            }
        ],
        TargetCapacitySpecification={"TotalTargetCapacity": 1, "DefaultTargetCapacityType": "spot"},
        TagSpecifications=debris.tagged(labels, "fleet"),
    )["FleetId"]
    cli.account.advance(120)
    assert any(row["live"] for row in cli.account.table()["instances"])

    ended = found(cli("reap", "--yes", "--json").document, "ended")
    assert ended["fleet"] == [fleet]
    assert len(ended["instance"]) == 1
    cli.account.advance(600)
    assert not [row for row in cli.account.table()["instances"] if row["live"]]
    assert cli("reap", "--yes").out == "nothing is left over\n"


def test_an_unfinished_image_goes_with_its_snapshot_and_a_finished_one_stays(cli: Cli, debris: Debris) -> None:
    labels = debris.labels("r1", due=3600)
    instance = debris.instance(labels)
    cli.account.advance(60)
    ids = {
        name: debris.ec2.create_image(
            InstanceId=instance, Name=name, NoReboot=True, TagSpecifications=debris.tagged(labels, "image", "snapshot")
        )["ImageId"]
        for name in ("unfinished", "finished")
    }
    cli.account.advance(1800)
    finished = debris.ec2.describe_images(ImageIds=[ids["finished"]])["Images"][0]
    snapshot = finished["BlockDeviceMappings"][0]["Ebs"]["SnapshotId"]
    try:
        # What a bake does last. That the snapshot keeps its tags must not cost the image its disk.
        debris.ec2.delete_tags(Resources=[ids["finished"]], Tags=[{"Key": "gputx:deadline"}])

        ended = found(cli("reap", "--yes", "--json").document, "ended")
        assert ended["image"] == [ids["unfinished"]]
        assert len(ended["snapshot"]) == 1
        assert snapshot not in ended["snapshot"]
        there = [image["ImageId"] for image in debris.ec2.describe_images(Owners=["self"])["Images"]]
        assert ids["finished"] in there
        assert ids["unfinished"] not in there
        assert cli("reap", "--yes").out == "nothing is left over\n"
    finally:
        debris.ec2.deregister_image(ImageId=ids["finished"])
        debris.ec2.delete_snapshot(SnapshotId=snapshot)
