"""``gputx setup`` and ``gputx teardown`` in an account in which nobody has set anything up."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from bare import BUCKET, EMAIL, as_others_see_it, mutating, numbered, parts
from botocore.exceptions import ClientError
from product import CLIP, Cli, Ended, at, leftovers

from gputx import sandbox
from gputx.clock import Stop
from gputx.events import EventStream
from gputx.workflows.reap import Where
from gputx.workflows.teardown import TeardownRequest, teardown

WHERE = Where("sandbox", "eu-north-1", None)
AWAY = TeardownRequest(
    dry_run=False, bucket=None, instance_role="transcription-ec2-role", with_bucket=True, with_results=True
)
LOGS = [f"/aws/ec2/transcription/{name}" for name in ("api", "batch", "system")]


@pytest.fixture(scope="module")
def account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sandbox.Account]:
    """A bare account, for all tests of this module: each leaves it bare."""
    account = sandbox.up(tmp_path_factory.mktemp("bare"), pending_seconds=0.3, linger=False, bare=True)
    yield account
    account.stop()


@pytest.fixture(autouse=True)
def bare(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    assert parts(cli) == {}
    yield
    cli.account.clear_rules()
    if parts(cli):
        monkeypatch.setenv("GPUTX_SANDBOX_DIR", str(cli.account.state_dir))
        monkeypatch.setenv("AWS_SDK_UA_APP_ID", "gputx-teardown")
        teardown(AWAY, WHERE, EventStream(), Stop())
    assert parts(cli) == {}


def verdicts(document: dict[str, Any]) -> dict[str, str]:
    """By part: "bucket" and what else there is one of, "log group /aws/…" and what there are several of."""
    return {f"{part['kind']} {part['name']}": part["verdict"] for part in document["parts"]}


def test_it_makes_all_that_it_says(cli: Cli) -> None:
    shown = cli("setup", "--dry-run", "--json", "--email", EMAIL).document
    assert parts(cli) == {}
    made = cli("setup", "--yes", "--json", "--email", EMAIL).document
    assert [part["verdict"] for part in shown["parts"]].count("would make") == 10
    assert verdicts(made) == {
        name: {"would make": "made"}.get(verdict, verdict) for name, verdict in verdicts(shown).items()
    }
    assert made["error"] is None

    seen = as_others_see_it(cli)
    bucket = seen["bucket"]
    assert bucket["region"] == "eu-north-1"
    assert bucket["blocked"] == dict.fromkeys(bucket["blocked"], True)
    assert len(bucket["blocked"]) == 4
    (rule,) = bucket["encryption"]["Rules"]
    assert rule["ApplyServerSideEncryptionByDefault"] == {"SSEAlgorithm": "AES256"}
    (statement,) = bucket["policy"]["Statement"]
    assert statement["Effect"] == "Deny"
    assert statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
    assert statement["Resource"] == [f"arn:aws:s3:::{BUCKET}", f"arn:aws:s3:::{BUCKET}/*"]
    assert bucket["versioning"] is None
    days = {rule["Filter"]["Prefix"]: rule["Expiration"]["Days"] for rule in bucket["rules"] if "Expiration" in rule}
    assert days == {"results/": 30, "temp/": 1}
    assert seen["log groups"] == dict.fromkeys(LOGS, 30)
    assert seen["schedule groups"] == ["default", "gputx"]
    assert seen["profiles"] == {"transcription-ec2-role": ["transcription-ec2-role"]}
    assert set(seen["roles"]) == {"gputx-scheduler", "transcription-ec2-role", "AWSServiceRoleForEC2Spot"}
    assert "TerminateInstances" not in json.dumps(seen["roles"]["transcription-ec2-role"]["policies"])
    assert "ec2:TerminateInstances" in json.dumps(seen["roles"]["gputx-scheduler"]["policies"])
    assert float(seen["limit"]["Amount"]) == 100
    assert seen["alerts"] == {"ACTUAL 80": [EMAIL], "FORECASTED 90": [EMAIL]}


def test_the_second_time_nothing_is_sent_that_changes_anything(cli: Cli) -> None:
    cli("setup", "--yes", "--email", EMAIL)
    before, seen = numbered(cli), as_others_see_it(cli)
    again = cli("setup", "--yes", "--json").document
    assert mutating(cli, before) == []
    assert set(verdicts(again).values()) == {"there"}
    assert as_others_see_it(cli) == seen
    # With nothing to ask about, nobody is asked; with nothing due, a rehearsal is the whole of it.
    assert "nothing to do" in cli("setup", "--yes").out


def test_what_is_over_is_gone(cli: Cli) -> None:
    """30 days for results, one for what only a run needs; a policy that wants TLS is in nobody's way."""
    cli("setup", "--yes")
    s3 = cli.boto("s3")
    for key in ("results/20261121_120000/transcription.txt", "temp/processing/x.pyz", "logs/2026-11/a.log"):
        s3.put_object(Bucket=BUCKET, Key=key, Body=b"x")

    def keys() -> list[str]:
        return [item["Key"].partition("/")[0] for item in s3.list_objects_v2(Bucket=BUCKET).get("Contents", [])]

    assert keys() == ["logs", "results", "temp"]
    cli.account.advance(2 * 86400)
    assert keys() == ["logs", "results"]
    cli.account.advance(29 * 86400)
    assert keys() == ["logs"]


def test_teardown_takes_what_setup_made_and_nothing_else(cli: Cli) -> None:
    iam, logs, s3, scheduler = (cli.boto(name) for name in ("iam", "logs", "s3", "scheduler"))
    trust = json.dumps({"Version": "2012-10-17", "Statement": []})
    iam.create_role(RoleName="somebody-s", AssumeRolePolicyDocument=trust)
    logs.create_log_group(logGroupName="/aws/ec2/transcription/mine")
    s3.create_bucket(Bucket="somebody-s-bucket", CreateBucketConfiguration={"LocationConstraint": "eu-north-1"})
    scheduler.create_schedule_group(Name="gputx-but-not-ours")
    foreign = parts(cli)

    cli("setup", "--yes", "--email", EMAIL)
    rehearsed = cli("teardown", "--dry-run", "--json", "--with-bucket").document
    assert set(verdicts(rehearsed).values()) == {"would remove"}
    assert parts(cli) != foreign
    ended = cli("teardown", "--yes", "--json", "--with-bucket").document
    assert set(verdicts(ended).values()) == {"removed"}
    assert parts(cli) == foreign
    before = numbered(cli)
    assert cli("teardown", "--yes", "--with-bucket").out == "nothing of gputx setup is in this account\n"
    assert mutating(cli, before) == []

    iam.delete_role(RoleName="somebody-s")
    logs.delete_log_group(logGroupName="/aws/ec2/transcription/mine")
    s3.delete_bucket(Bucket="somebody-s-bucket")
    scheduler.delete_schedule_group(Name="gputx-but-not-ours")


def test_a_bucket_stays_unless_told_and_results_unless_told_so(cli: Cli) -> None:
    cli("setup", "--yes")
    s3 = cli.boto("s3")
    key = "results/20261121_120000/transcription.txt"
    s3.put_object(Bucket=BUCKET, Key=key, Body="Det här är tio ord av något slag, ungefär.".encode())
    s3.put_object(Bucket=BUCKET, Key="temp/processing/payload.pyz", Body=b"x" * 100)

    kept = cli("teardown", "--yes")
    assert "it holds 1 object" in kept.out
    assert list(parts(cli)) == ["buckets"]

    refused = cli("teardown", "--yes", "--with-bucket", code=1)
    assert "--with-results" in refused.err
    assert [item["Key"] for item in s3.list_objects_v2(Bucket=BUCKET)["Contents"]] == [
        key,
        "temp/processing/payload.pyz",
    ]

    cli("teardown", "--yes", "--with-results")
    assert parts(cli) == {}


def test_what_only_runs_needed_is_nobody_s_result(cli: Cli) -> None:
    cli("setup", "--yes")
    cli.boto("s3").put_object(Bucket=BUCKET, Key="temp/processing/payload.pyz", Body=b"x")
    cli("teardown", "--yes", "--with-bucket")
    assert parts(cli) == {}


def test_versions_that_were_overwritten_are_results_too(cli: Cli) -> None:
    """A person may have switched versioning on; setup switches it off again, and what is there stays."""
    cli("setup", "--yes")
    s3 = cli.boto("s3")
    s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
    s3.put_object(Bucket=BUCKET, Key="results/a.txt", Body=b"first")
    s3.delete_object(Bucket=BUCKET, Key="results/a.txt")

    mended = cli("setup", "--yes", "--json").document
    assert verdicts(mended)[f"bucket {BUCKET}"] == "completed"
    assert s3.get_bucket_versioning(Bucket=BUCKET)["Status"] == "Suspended"
    refused = cli("teardown", "--yes", "--with-bucket", code=1)
    assert "--with-results" in refused.err
    assert s3.list_object_versions(Bucket=BUCKET)["Versions"]
    cli("teardown", "--yes", "--with-results")
    assert parts(cli) == {}


def test_a_bucket_s_name_that_another_account_has(cli: Cli) -> None:
    """Nothing is made beside it: policies would name the wrong bucket."""
    cli.account.add_rule(f"bucket {BUCKET} taken")
    before = numbered(cli)
    ended = cli("setup", "--yes", "--email", EMAIL, code=3)
    assert "another account" in ended.err
    assert "--bucket" in ended.err
    assert mutating(cli, before) == []

    # Nor does teardown touch it. Who needs no bucket has the rest.
    cli("setup", "--yes", "--bucket", "none")
    before = numbered(cli)
    told = verdicts(cli("teardown", "--yes", "--json", "--with-results", code=1).document)
    assert told[f"bucket {BUCKET}"] == "left alone"
    assert ("s3", "DeleteBucket") not in mutating(cli, before)


def test_a_name_that_is_taken_while_setup_is_at_it(cli: Cli) -> None:
    """The look found nothing; another account was faster than the call that followed."""
    cli.account.add_rule(f"bucket {BUCKET} taken")
    cli.account.add_rule("s3:HeadBucket error=404 status=404 times=1")
    ended = cli("setup", "--yes", code=3)
    assert "another account" in ended.err


def test_what_a_person_made_is_left_alone_and_said(cli: Cli) -> None:
    iam, logs, s3, budgets = (cli.boto(name) for name in ("iam", "logs", "s3", "budgets"))
    trust = json.dumps({"Version": "2012-10-17", "Statement": []})
    iam.create_role(RoleName="transcription-ec2-role", AssumeRolePolicyDocument=trust, Tags=[])
    iam.create_instance_profile(InstanceProfileName="transcription-ec2-role")
    s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": "eu-north-1"})
    logs.create_log_group(logGroupName=LOGS[0])
    cli.boto("scheduler").create_schedule_group(Name="gputx")
    budgets.create_budget(
        AccountId="123456789012",
        Budget={
            "BudgetName": "gputx",
            "BudgetType": "COST",
            "TimeUnit": "MONTHLY",
            "BudgetLimit": {"Amount": "7", "Unit": "USD"},
        },
    )
    by_hand = parts(cli)
    names = ["bucket", "role", "instance profile", "schedule group", "log group", "budget"]

    told = cli("setup", "--yes", "--json", "--email", EMAIL).document
    alone = [part for part in told["parts"] if part["verdict"] == "left alone"]
    assert [part["kind"] for part in alone] == names
    assert all("a person" in part["why"] for part in alone)
    assert all("gputx:setup" in part["command"] for part in alone)
    # Nothing but what is ours came, and went again. The bucket was asked for by name, so that it stays is no success.
    assert f"bucket {BUCKET}: a person made it" in cli("teardown", "--yes", "--with-results", code=1).err
    assert parts(cli) == by_hand
    with pytest.raises(ClientError, match="NoSuchBucketPolicy"):
        s3.get_bucket_policy(Bucket=BUCKET)
    assert iam.list_role_policies(RoleName="transcription-ec2-role")["PolicyNames"] == []

    # The command that it tells hands a thing over: from then on it is kept, and torn down.
    iam.tag_role(RoleName="transcription-ec2-role", Tags=[{"Key": "gputx:setup", "Value": "1"}])
    iam.tag_instance_profile(InstanceProfileName="transcription-ec2-role", Tags=[{"Key": "gputx:setup", "Value": "1"}])
    logs.tag_resource(
        resourceArn=f"arn:aws:logs:eu-north-1:123456789012:log-group:{LOGS[0]}", tags={"gputx:setup": "1"}
    )
    s3.put_bucket_tagging(Bucket=BUCKET, Tagging={"TagSet": [{"Key": "gputx:setup", "Value": "1"}]})
    cli.boto("scheduler").tag_resource(
        ResourceArn="arn:aws:scheduler:eu-north-1:123456789012:schedule-group/gputx",
        Tags=[{"Key": "gputx:setup", "Value": "1"}],
    )
    budgets.tag_resource(
        ResourceARN="arn:aws:budgets::123456789012:budget/gputx",
        ResourceTags=[{"Key": "gputx:setup", "Value": "1"}],
    )
    mended = verdicts(cli("setup", "--yes", "--json", "--email", EMAIL).document)
    assert mended[f"bucket {BUCKET}"] == "completed"
    assert mended["role transcription-ec2-role"] == "completed"
    assert mended["instance profile transcription-ec2-role"] == "completed"
    assert mended[f"log group {LOGS[0]}"] == "completed"
    assert as_others_see_it(cli)["alerts"] == {"ACTUAL 80": [EMAIL], "FORECASTED 90": [EMAIL]}


def test_what_a_person_set_in_ours_stays(cli: Cli) -> None:
    cli("setup", "--yes", "--email", EMAIL)
    s3, logs = cli.boto("s3"), cli.boto("logs")
    logs.put_retention_policy(logGroupName=LOGS[0], retentionInDays=365)
    rules = s3.get_bucket_lifecycle_configuration(Bucket=BUCKET)["Rules"]
    for rule in rules:
        if rule["ID"] == "gputx-results":
            rule["Expiration"]["Days"] = 90
    mine = {"ID": "mine", "Status": "Enabled", "Filter": {"Prefix": "mine/"}, "Expiration": {"Days": 7}}
    kept = [rule for rule in rules if rule["ID"] != "gputx-temp"]
    s3.put_bucket_lifecycle_configuration(Bucket=BUCKET, LifecycleConfiguration={"Rules": [mine, *kept]})
    policy = json.loads(s3.get_bucket_policy(Bucket=BUCKET)["Policy"])
    own = {
        "Sid": "mine",
        "Effect": "Allow",
        "Principal": {"AWS": "arn:aws:iam::123456789012:root"},
        "Action": "s3:GetObject",
        "Resource": f"arn:aws:s3:::{BUCKET}/*",
    }
    s3.put_bucket_policy(Bucket=BUCKET, Policy=json.dumps({**policy, "Statement": [own]}))

    completed = cli("setup", "--yes", "--json").document
    assert completed["parts"][0]["verdict"] == "completed"
    after = as_others_see_it(cli)
    days = {rule["ID"]: rule.get("Expiration", {}).get("Days") for rule in after["bucket"]["rules"]}
    assert days == {"mine": 7, "gputx-results": 90, "gputx-temp": 1, "gputx-uploads": None}
    assert [entry["Sid"] for entry in after["bucket"]["policy"]["Statement"]] == ["mine", "GputxTlsOnly"]
    assert after["log groups"][LOGS[0]] == 365


@pytest.mark.slow
def test_a_budget_is_changed_only_by_who_says_so(cli: Cli) -> None:
    cli("setup", "--yes", "--budget", "50", "--email", EMAIL)
    assert float(as_others_see_it(cli)["limit"]["Amount"]) == 50
    cli("setup", "--yes")
    assert float(as_others_see_it(cli)["limit"]["Amount"]) == 50
    cli("setup", "--yes", "--budget", "75", "--email", "second@example.org")
    seen = as_others_see_it(cli)
    assert float(seen["limit"]["Amount"]) == 75
    assert seen["alerts"] == {name: [EMAIL, "second@example.org"] for name in ("ACTUAL 80", "FORECASTED 90")}
    cli("teardown", "--yes", "--with-bucket")
    made = cli("setup", "--yes", "--budget", "none", "--json", "--email", EMAIL).document
    assert "budgets" not in parts(cli)
    assert not [part for part in made["parts"] if part["kind"] == "budget"]


def test_where_aws_allows_no_gpu_it_asks_once_and_says_how_to_wait(cli: Cli) -> None:
    cli.account.add_rule("quota spot=0")
    asked = cli("setup", "--yes", "--json").document
    quotas = {part["name"]: part for part in asked["parts"] if part["kind"] == "quota"}
    assert quotas["spot GPU vCPUs"]["verdict"] == "asked for"
    assert "0 vCPUs now, 8 asked for" in quotas["spot GPU vCPUs"]["why"]
    assert "get-requested-service-quota-change" in quotas["spot GPU vCPUs"]["command"]
    assert quotas["on-demand GPU vCPUs"]["verdict"] == "there"
    (request,) = cli.account.table()["quota_requests"]
    assert request["status"] == "CASE_OPENED"

    before = numbered(cli)
    again = cli("setup", "--yes")
    assert mutating(cli, before) == []
    assert request["id"] in again.out
    cli.account.advance(86400)
    granted = cli("setup", "--yes", "--json").document
    assert "8 vCPUs" in [part["why"] for part in granted["parts"] if part["name"] == "spot GPU vCPUs"]
    assert len(cli.account.table()["quota_requests"]) == 1


def test_a_spot_role_that_was_there_stays(cli: Cli) -> None:
    iam = cli.boto("iam")
    iam.create_service_linked_role(AWSServiceName="spot.amazonaws.com")
    cli.account.advance(3600)
    told = verdicts(cli("setup", "--yes", "--json").document)
    assert told["service-linked role AWSServiceRoleForEC2Spot"] == "there"
    gone = verdicts(cli("teardown", "--yes", "--json").document)
    assert gone["service-linked role AWSServiceRoleForEC2Spot"] == "left alone"
    iam.delete_service_linked_role(RoleName="AWSServiceRoleForEC2Spot")


def test_a_spot_role_that_is_needed_stays(cli: Cli) -> None:
    """Somebody else's spot instance, which gputx knows nothing of."""
    cli("setup", "--yes")
    ec2 = cli.boto("ec2")
    image = ec2.describe_images()["Images"][0]["ImageId"]
    launch = {"ImageId": image, "MinCount": 1, "MaxCount": 1, "InstanceType": "g4dn.xlarge"}
    made = ec2.run_instances(**launch, InstanceMarketOptions={"MarketType": "spot"})["Instances"][0]["InstanceId"]
    left = cli("teardown", "--yes", "--json", code=1)
    assert verdicts(left.document)["service-linked role AWSServiceRoleForEC2Spot"] == "not removed"
    assert "still needed" in left.err
    assert set(parts(cli)) == {"buckets", "roles"}
    ec2.terminate_instances(InstanceIds=[made])
    cli.account.advance(60)
    gone = verdicts(cli("teardown", "--yes", "--json").document)
    assert gone["service-linked role AWSServiceRoleForEC2Spot"] == "removed"


def test_the_spot_role_waits_for_what_is_ending(cli: Cli) -> None:
    cli("setup", "--yes")
    ec2 = cli.boto("ec2")
    image = ec2.describe_images()["Images"][0]["ImageId"]
    tags = [{"ResourceType": "instance", "Tags": [{"Key": "gputx:run", "Value": "r1"}]}]
    launch = {"ImageId": image, "MinCount": 1, "MaxCount": 1, "InstanceType": "g4dn.xlarge", "TagSpecifications": tags}
    made = ec2.run_instances(**launch, InstanceMarketOptions={"MarketType": "spot"})["Instances"][0]["InstanceId"]
    cli.account.advance(2)
    ec2.terminate_instances(InstanceIds=[made])
    ended = cli.watch("teardown", "--yes", on=at(f"waiting for the end: {made}", lambda _: cli.account.advance(120)))
    assert ended.code == 0, ended.err
    assert f"ended: {made}" in ended.err
    assert set(parts(cli)) == {"buckets"}


@pytest.mark.slow
def test_nothing_is_torn_down_under_what_runs(cli: Cli) -> None:
    cli("setup", "--yes")
    ec2 = cli.boto("ec2")
    image = ec2.describe_images()["Images"][0]["ImageId"]
    tags = [{"ResourceType": "instance", "Tags": [{"Key": "gputx:run", "Value": "r1"}]}]
    launch = {"ImageId": image, "MinCount": 1, "MaxCount": 1, "InstanceType": "t3.micro", "TagSpecifications": tags}
    made = ec2.run_instances(**launch)["Instances"][0]["InstanceId"]
    cli.account.advance(2)
    before = numbered(cli)
    refused = cli("teardown", "--yes", code=1)
    assert made in refused.err
    assert "gputx reap" in refused.err
    assert mutating(cli, before) == []
    ec2.terminate_instances(InstanceIds=[made])


@pytest.mark.slow
def test_two_regions_share_the_roles(cli: Cli) -> None:
    cli("setup", "--yes", "--email", EMAIL)
    there = cli("setup", "--yes", "--json", "--region", "us-east-1").document
    assert [p["kind"] for p in there["parts"] if p["verdict"] == "made"] == ["schedule group", *["log group"] * 3]

    first = cli("teardown", "--yes", "--json").document
    kept = {part["kind"] for part in first["parts"] if part["verdict"] == "kept"}
    assert kept == {"bucket", "role", "service-linked role", "instance profile", "budget"}
    assert "gputx teardown --region us-east-1" in [part["command"] for part in first["parts"]]
    cli("teardown", "--yes", "--region", "us-east-1")
    assert set(parts(cli)) == {"buckets"}
    # It is in the first region, and goes from there.
    assert "it is in eu-north-1" in cli("teardown", "--yes", "--region", "us-east-1").out


def test_who_may_not_look_everywhere_gets_the_rest_and_is_told(cli: Cli) -> None:
    cli.account.add_rule("budgets:DescribeBudget error=AccessDeniedException")
    ended = cli("setup", "--yes", "--json", "--email", EMAIL, code=3)
    told = verdicts(ended.document)
    assert told["budget gputx"] == "not looked at"
    assert list(told.values()).count("made") == 9
    assert "could not be looked at" in ended.err
    cli.account.clear_rules()
    assert verdicts(cli("setup", "--yes", "--json", "--email", EMAIL).document)["budget gputx"] == "made"


@pytest.mark.slow
def test_ctrl_c_leaves_off_and_the_same_command_goes_on(cli: Cli) -> None:
    cli.account.add_rule("iam:CreateInstanceProfile delay=3s")

    def on(line: str, process: subprocess.Popen[str]) -> None:
        if line.startswith("making: instance profile"):
            process.send_signal(signal.SIGINT)

    ended = cli.watch("setup", "--yes", "--email", EMAIL, on=on)
    assert ended.code == 130
    assert "goes on from here" in ended.err
    # What was under way was finished; nothing came after it.
    assert [p["name"] for p in parts(cli)["instance_profiles"]] == ["transcription-ec2-role"]
    assert "log_groups" not in parts(cli)
    cli.account.clear_rules()
    told = verdicts(cli("setup", "--yes", "--json", "--email", EMAIL).document)
    assert told["instance profile transcription-ec2-role"] == "there"
    assert told["budget gputx"] == "made"


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (["setup", "--budget", "much"], "--budget can't be 'much'"),
        (["setup", "--budget", "-3"], "--budget can't be '-3'"),
        (["setup", "--email", "nobody"], "--email can't be 'nobody'"),
        (["setup", "--on", "local"], "--on local needs nothing"),
        (["setup"], "nobody to ask"),
        (["teardown"], "nobody to ask"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_asked(cli: Cli, command: list[str], words: str) -> None:
    before = numbered(cli)
    ended = cli(*command, code=2)
    assert words in ended.err
    assert numbered(cli) == before


@pytest.mark.parametrize("named", [["--bucket", "Not_A_Bucket"], ["--instance-role", "two words"]])
def test_names_that_aws_does_not_take_are_refused_before_anything_is_made(cli: Cli, named: list[str]) -> None:
    before = numbered(cli)
    assert "can't be called" in cli("setup", "--yes", *named, code=2).err
    assert mutating(cli, before) == []


@pytest.mark.slow
def test_a_furnished_account_is_completed_and_runs_work_in_it(
    tmp_path_factory: pytest.TempPathFactory, cli: Cli
) -> None:
    """What the sandbox puts in for a run counts as setup's, and setup's bucket takes a run's results."""
    with sandbox.ephemeral(pending_seconds=0.3, shutting_down_seconds=1.0) as furnished:
        directory = tmp_path_factory.mktemp("furnished")
        (directory / "home").mkdir()
        there = Cli(directory, furnished)
        told = verdicts(there("setup", "--yes", "--json").document)
        assert told[f"bucket {BUCKET}"] == "completed"
        assert told["role gputx-scheduler"] == "there"
        ended = there("run", CLIP, "--json")
        (file,) = ended.document["files"]
        assert file["error"] is None
        assert len(file["s3"]) == 2
        torn = there("teardown", "--yes")
        assert "it holds 2 objects" in torn.out
        assert "1 image of gputx stays" in torn.out
        furnished.advance(60)
        assert leftovers(furnished.table()) == []


def answered(cli: Cli, *command: str, answer: str) -> Ended:
    """Run it on a terminal and answer its one question."""
    ours, theirs = pty.openpty()
    process = cli.start(*command, stdin=theirs, stdout=subprocess.PIPE, stderr=theirs)
    os.close(theirs)
    seen = ""
    while True:
        try:
            piece = os.read(ours, 4096).decode("utf-8", "replace")
        except OSError:  # the other end has gone
            break
        if not piece:
            break
        seen += piece
        if "[y/N]" in seen and answer:
            os.write(ours, f"{answer}\n".encode())
            answer = ""
    assert process.stdout is not None
    with process.stdout:
        out = process.stdout.read()
    code = process.wait(60)
    os.close(ours)
    assert "Traceback" not in seen
    return Ended(code, out, seen)


@pytest.mark.slow
def test_a_person_is_shown_the_plan_and_asked_once(cli: Cli) -> None:
    refused = answered(cli, "setup", "--email", EMAIL, answer="n")
    assert refused.code == 1
    assert "about $0.023 per GB and month" in refused.err
    assert "nothing was made" in refused.err
    assert parts(cli) == {}

    agreed = answered(cli, "setup", "--email", EMAIL, answer="y")
    assert agreed.code == 0
    assert agreed.err.count("[y/N]") == 1
    assert "10 made" in agreed.out
    again = answered(cli, "setup", answer="y")
    assert "[y/N]" not in again.err
    assert "nothing to do" in again.out


def test_another_region_s_account_is_looked_at_where_it_is(cli: Cli) -> None:
    """Plain boto3 in the other region sees what setup made there, and nothing here."""
    cli("setup", "--yes", "--region", "us-west-2")
    here = cli.boto("logs").describe_log_groups()["logGroups"]
    there = boto3.client(
        "logs",
        endpoint_url=cli.account.endpoint_url,
        region_name="us-west-2",
        aws_access_key_id=cli.account.access_key,
        aws_secret_access_key=cli.account.secret_key,
    )
    assert here == []
    assert [group["logGroupName"] for group in there.describe_log_groups()["logGroups"]] == LOGS
    cli("teardown", "--yes", "--with-bucket", "--region", "us-west-2")
