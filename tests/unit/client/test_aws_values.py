"""Requests, rankings and meanings: everything about AWS that needs no AWS."""

from __future__ import annotations

import dataclasses
import email
import json
import subprocess

import botocore.session
import botocore.validate
import pytest
import yaml
from botocore import exceptions as boto

from gputx.aws import images, launch, pools, schedule, tags, userdata
from gputx.aws.errors import AwsError, Meaning, from_botocore, meaning_of
from gputx.aws.session import AwsSession
from gputx.clock import SystemClock
from gputx.errors import ConfigurationError, ExitCode
from gputx.models import Image, Market, Pool

IMAGE = Image("ami-1", "gputx", 1, "KBLab/kb-whisper-small", "0" * 40, "ubuntu", 22)
PLAN = launch.LaunchPlan(
    stamp=tags.Stamp("r1", "arn:aws:iam::1:user/a", started=1_699_992_800, deadline=1_700_000_000, journal="j1"),
    image=IMAGE,
    key_name="gputx-r1",
    group_id="sg-1",
    subnets={"eu-north-1a": "subnet-a"},
    user_data="#!/bin/sh\n",
)


@pytest.mark.parametrize(
    ("code", "status", "meaning"),
    [
        ("InsufficientInstanceCapacity", 500, Meaning.NEXT_POOL),
        ("Unsupported", 400, Meaning.NEXT_POOL),
        ("MaxSpotInstanceCountExceeded", 400, Meaning.NO_MORE_SPOT),
        ("AuthFailure.ServiceLinkedRoleCreationNotPermitted", 403, Meaning.NO_SPOT_YET),
        ("AccessDenied", 403, Meaning.DENIED),
        ("403", 403, Meaning.DENIED),
        ("VcpuLimitExceeded", 400, Meaning.QUOTA),
        ("RequestLimitExceeded", 503, Meaning.BACK_OFF),
        ("NobodyKnowsThis", 500, Meaning.BACK_OFF),
        ("NobodyKnowsThis", 400, Meaning.FATAL),
        ("ExpiredToken", 403, Meaning.CREDENTIALS),
        ("PendingVerification", 400, Meaning.WAIT_FOR_AWS),
        ("UnauthorizedOperation", 403, Meaning.FATAL),
        ("IdempotentParameterMismatch", 400, Meaning.FATAL),
        ("InvalidInstanceID.NotFound", 400, Meaning.GONE),
        ("InvalidGroup.InUse", 400, Meaning.IN_USE),
    ],
)
def test_the_code_decides_before_the_status(code: str, status: int, meaning: Meaning) -> None:
    assert meaning_of(code, status) is meaning
    answer = {"Error": {"Code": code, "Message": "m"}, "ResponseMetadata": {"HTTPStatusCode": status}}
    error = from_botocore(boto.ClientError(answer, "RunInstances"), service="ec2", operation="RunInstances", place="x")
    assert isinstance(error, AwsError)
    assert error.meaning is meaning


@pytest.mark.parametrize(
    ("code", "status", "lost"),
    [
        ("InternalError", 500, True),
        ("Unavailable", 503, True),
        ("NobodyKnowsThis", 502, True),
        ("RequestLimitExceeded", 503, False),
        ("InsufficientInstanceCapacity", 500, False),
        ("UnauthorizedOperation", 403, False),
    ],
)
def test_a_server_error_may_have_launched_and_a_refusal_has_not(code: str, status: int, lost: bool) -> None:
    answer = {"Error": {"Code": code, "Message": "m"}, "ResponseMetadata": {"HTTPStatusCode": status}}
    error = from_botocore(boto.ClientError(answer, "RunInstances"), service="ec2", operation="RunInstances", place="x")
    assert isinstance(error, AwsError)
    assert error.lost is lost


def test_a_presigned_address_names_the_regions_own_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """The global host answers a redirect, which the signature does not cover."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "example")
    client = AwsSession(region="eu-north-1", clock=SystemClock()).client("s3")
    url = client.generate_presigned_url("get_object", Params={"Bucket": "transcription-1", "Key": "k"})
    assert url.startswith("https://transcription-1.s3.eu-north-1.amazonaws.com/k?")


def test_a_session_that_was_given_up_sends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "example")
    session = AwsSession(region="eu-north-1", clock=SystemClock())
    session.give_up()
    with pytest.raises(AwsError, match="stopped"):
        session.call("sts", "GetCallerIdentity")


def test_a_lost_answer_is_told_from_a_refusal() -> None:
    error = from_botocore(
        boto.ReadTimeoutError(endpoint_url="http://x"), service="ec2", operation="RunInstances", place="x"
    )
    assert isinstance(error, AwsError)
    assert error.lost
    assert error.meaning is Meaning.BACK_OFF


def test_no_credentials_is_a_matter_of_configuration() -> None:
    error = from_botocore(boto.NoCredentialsError(), service="sts", operation="GetCallerIdentity", place="x")
    assert error.exit_code is ExitCode.CONFIGURATION


def test_a_launch_asks_for_what_was_promised() -> None:
    request = launch.run_instances_request(PLAN, Pool("eu-north-1a", "g4dn.xlarge", Market.SPOT), "token")

    assert request["InstanceInitiatedShutdownBehavior"] == "terminate"
    assert request["MetadataOptions"]["HttpTokens"] == "required"
    assert request["MetadataOptions"]["HttpPutResponseHopLimit"] == 1
    disk = request["BlockDeviceMappings"][0]["Ebs"]
    assert disk == {
        "VolumeType": "gp3",
        "VolumeSize": 30,
        "Iops": 3000,
        "Throughput": 125,
        "Encrypted": True,
        "DeleteOnTermination": True,
    }
    assert request["InstanceMarketOptions"]["SpotOptions"]["SpotInstanceType"] == "one-time"
    assert "MaxPrice" not in request["InstanceMarketOptions"]["SpotOptions"]
    tagged = {spec["ResourceType"] for spec in request["TagSpecifications"]}
    assert tagged == {"instance", "volume", "network-interface", "spot-instances-request"}
    for specification in request["TagSpecifications"]:
        labels = tags.read(specification["Tags"])
        assert labels["Purpose"] == "fast-transcription"
        assert labels["gputx:run"] == "r1"
        assert tags.time_of(labels, tags.DEADLINE) == 1_700_000_000
        assert tags.time_of(labels, tags.STARTED) == 1_699_992_800
        assert labels[tags.JOURNAL] == "j1"


def test_a_disk_that_is_to_be_filled_ahead() -> None:
    plan = dataclasses.replace(PLAN, volume_rate=300)
    request = launch.run_instances_request(plan, Pool("eu-north-1a", "g4dn.xlarge", Market.SPOT), "token")
    assert request["BlockDeviceMappings"][0]["Ebs"]["VolumeInitializationRate"] == 300


def test_a_role_only_where_it_is_asked_for() -> None:
    """A machine with no credentials has none to lose."""
    pool = Pool("eu-north-1a", "g4dn.xlarge", Market.SPOT)
    assert "IamInstanceProfile" not in launch.run_instances_request(PLAN, pool, "token")
    plan = dataclasses.replace(PLAN, profile="a-role")
    assert launch.run_instances_request(plan, pool, "token")["IamInstanceProfile"] == {"Name": "a-role"}


def test_on_demand_asks_for_no_spot() -> None:
    request = launch.run_instances_request(PLAN, Pool("eu-north-1a", "g4dn.xlarge", Market.ON_DEMAND), "t")
    assert "InstanceMarketOptions" not in request


def test_pools_are_ranked_by_market_price_score_and_name() -> None:
    ranked = pools.rank(
        [("a", "t"), ("b", "t"), ("c", "t"), ("d", "t")],
        spot={"a t": 0.19, "b t": 0.18, "c t": 0.18},
        on_demand={"t": 0.5},
        scores={"c": 9, "b": 2},
        markets=(Market.SPOT, Market.ON_DEMAND),
    )
    spot = [pool.zone for pool in ranked if pool.market is Market.SPOT]
    assert spot == ["c", "b", "a", "d"]
    assert [pool.market for pool in ranked] == [Market.SPOT] * 4 + [Market.ON_DEMAND] * 4
    assert ranked[3].hourly is None


def tagged(id_: str, date: str, **labels: str) -> dict[str, object]:
    return {"ImageId": id_, "CreationDate": date, "Tags": [{"Key": k, "Value": v} for k, v in labels.items()]}


GOOD = {
    "gputx:contract": "1",
    "gputx:model": "m",
    "gputx:model-revision": "r",
    "gputx:ssh-user": "ubuntu",
    "gputx:ssh-port": "22",
}


def test_the_newest_image_of_our_contract_is_chosen() -> None:
    found = [
        tagged("old", "2026-01-01", **GOOD),
        tagged("new", "2026-03-01", **GOOD),
        tagged("other", "2026-05-01", **{**GOOD, "gputx:contract": "2"}),
    ]
    assert images.choose(found, region="x").id == "new"


@pytest.mark.parametrize(
    ("found", "words"),
    [
        ([], "no gputx image"),
        ([tagged("a", "1", **{**GOOD, "gputx:contract": "2"})], "contract 2"),
        ([tagged("a", "1")], "is no gputx image"),
        ([tagged("a", "1", **{k: v for k, v in GOOD.items() if k != "gputx:ssh-port"})], "ssh-port"),
    ],
)
def test_an_image_that_will_not_do_is_refused(found: list[dict[str, object]], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        images.choose(found, region="x")


def user_data(early: userdata.EarlyWorker | None) -> str:
    private = "-----BEGIN OPENSSH PRIVATE KEY-----\nabc\ndef\n-----END OPENSSH PRIVATE KEY-----\n"
    return userdata.build(
        ttl=7200,
        deadline=1_700_000_000,
        grace=600,
        host_private=private,
        host_public="ssh-ed25519 AAAA",
        user="ubuntu",
        early=early,
    )


def test_user_data_arms_the_deadline_first() -> None:
    parts = [part for part in email.message_from_string(user_data(None)).walk() if not part.is_multipart()]
    assert [part.get_content_type() for part in parts] == ["text/cloud-boothook", "text/cloud-config"]
    hook = str(parts[0].get_payload())
    assert hook.index("left=$(( 1700000000 - now ))") < hook.index("left=7200") < hook.index("watchdog")
    # Without logind `shutdown -P +N` powers off at once; under systemd only a timer of its own will do.
    assert hook.index("systemd-run --no-block") < hook.index("shutdown -P +$")
    config = yaml.safe_load(str(parts[1].get_payload()))
    assert config["ssh_keys"]["ed25519_public"] == "ssh-ed25519 AAAA"
    assert config["ssh_keys"]["ed25519_private"].splitlines()[1:3] == ["abc", "def"]


@pytest.mark.parametrize(
    ("now", "left"), [(1_699_995_000, 5000), (1_699_000_000, 7200), (0, 7200), (1_700_000_001, -1)]
)
def test_the_deadline_is_absolute_and_never_further_off_than_the_ttl(now: int, left: int) -> None:
    """Run as the instance would, with its clock right, behind, at the epoch, and past the deadline."""
    hook = str(email.message_from_string(user_data(None)).get_payload(0).get_payload())  # type: ignore[union-attr]
    arithmetic = hook[hook.index("now=") : hook.index("[ -s ")].replace("$(date +%s)", str(now))
    ended = subprocess.run(["sh", "-eu", "-c", arithmetic + 'echo "$left"'], capture_output=True, text=True, check=True)
    assert int(ended.stdout) == left


def test_user_data_is_shell_that_a_shell_can_read() -> None:
    early = userdata.EarlyWorker(
        "https://b/k?a=1&b=2", "payload-x.pyz", "0" * 64, '"$root/python" x serve --model "a b"'
    )
    parts = [part for part in email.message_from_string(user_data(early)).walk() if not part.is_multipart()]
    hooks = [str(part.get_payload()) for part in parts if part.get_content_subtype() == "cloud-boothook"]
    assert len(hooks) == 2
    for hook in hooks:
        assert hook.startswith("#cloud-boothook\n#!/bin/sh\n")
        subprocess.run(["sh", "-n"], input=hook, text=True, check=True)


def test_user_data_stays_under_ec2s_limit_with_an_early_worker() -> None:
    early = userdata.EarlyWorker("https://b/" + "q" * 2000, "payload-x.pyz", "0" * 64, "python serve --model 'å b'")
    assert len(user_data(early).encode()) < userdata.LIMIT_BYTES


class TestASchedule:
    STAMP = PLAN.stamp

    def test_it_ends_one_instance_once_and_deletes_itself(self) -> None:
        asked = schedule.request(
            stamp=self.STAMP, instance_id="i-1", role_arn="arn:aws:iam::1:role/r", at=1_700_000_120.4
        )
        assert asked["Name"] == "gputx-r1"
        assert asked["ScheduleExpression"] == "at(2023-11-14T22:15:20)"
        assert asked["ActionAfterCompletion"] == "DELETE"
        assert asked["FlexibleTimeWindow"] == {"Mode": "OFF"}
        assert json.loads(asked["Target"]["Input"]) == {"InstanceIds": ["i-1"]}
        botocore.validate.validate_parameters(asked, _shape("scheduler", "CreateSchedule"))

    def test_its_description_holds_what_tags_would_say_in_the_room_there_is(self) -> None:
        for owner in ("arn:aws:iam::1:user/a", "arn:aws:sts::1:assumed-role/" + "r" * 400):
            stamp = dataclasses.replace(self.STAMP, owner=owner)
            said = schedule.request(stamp=stamp, instance_id="i-1", role_arn="x" * 20, at=0.0)["Description"]
            assert len(said) <= 512
            assert json.loads(said)[tags.RUN] == "r1"
            assert json.loads(said)[tags.JOURNAL] == "j1"


def _shape(service: str, operation: str) -> object:
    return botocore.session.get_session().get_service_model(service).operation_model(operation).input_shape
