"""Rules that fail calls, who may call at all, and what is said where nothing is emulated."""

from __future__ import annotations

import json
import re
import socket
import time
import urllib.error
import urllib.request
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from botocore.config import Config
from botocore.exceptions import ConnectionClosedError, ConnectionError, ReadTimeoutError  # noqa: A004

from gputx import sandbox
from gputx.errors import InputError

from .lab import LAG, Lab, error_of

RESET = (ConnectionClosedError, ConnectionError)


def _get(url: str, headers: dict[str, str] | None = None) -> tuple[int, bytes]:
    request = urllib.request.Request(url, headers=headers or {})
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def test_an_error_rule_hits_the_calls_it_matches_as_often_as_it_says(lab: Lab) -> None:
    rule = lab.account.add_rule("RunInstances error=InsufficientInstanceCapacity zone=eu-north-1a market=spot times=2")
    for _ in range(2):
        assert error_of(lambda: lab.ec2.run_instances(**lab.order())) == ("InsufficientInstanceCapacity", 500)
    lab.launch()
    assert lab.account.rules() == [{**rule, "hits": 2}]


def test_a_rule_spares_other_zones_and_markets(lab: Lab) -> None:
    lab.account.add_rule("RunInstances error=Unsupported zone=eu-north-1a market=spot")
    lab.launch(Placement={"AvailabilityZone": "eu-north-1b"})
    lab.launch(InstanceMarketOptions=None)
    subnets = lab.ec2.describe_subnets(Filters=[{"Name": "availability-zone", "Values": ["eu-north-1a"]}])
    order = lab.order(SubnetId=subnets["Subnets"][0]["SubnetId"], Placement=None)
    assert error_of(lambda: lab.ec2.run_instances(**order))[0] == "Unsupported"


def test_a_rule_can_let_calls_through_first(lab: Lab) -> None:
    lab.account.add_rule("DescribeRegions error=RequestLimitExceeded skip=1 times=1")
    lab.ec2.describe_regions()
    assert error_of(lab.ec2.describe_regions) == ("RequestLimitExceeded", 503)
    lab.ec2.describe_regions()


def test_a_rule_by_instance_knows_its_zone_and_market(lab: Lab) -> None:
    first = lab.launch()
    second = lab.launch(Placement={"AvailabilityZone": "eu-north-1b"})
    lab.account.add_rule("TerminateInstances error=InternalError zone=eu-north-1b market=spot")
    lab.ec2.terminate_instances(InstanceIds=[first])
    assert error_of(lambda: lab.ec2.terminate_instances(InstanceIds=[second])) == ("InternalError", 500)


def test_drop_before_does_nothing_and_drop_after_does_it_unanswered(lab: Lab) -> None:
    lab.account.add_rule("RunInstances drop=before times=1")
    with pytest.raises(RESET):
        lab.launch(ClientToken="cut")
    assert not [row for row in lab.account.table()["instances"] if row["client_token"] == "cut"]
    lab.account.add_rule("RunInstances drop=after times=1")
    with pytest.raises(RESET):
        lab.launch(ClientToken="cut")
    (row,) = [row for row in lab.account.table()["instances"] if row["client_token"] == "cut"]
    assert lab.launch(ClientToken="cut") == row["instance_id"]


def test_a_delay_holds_up_its_own_call_only_and_runs_on_the_sandbox_s_clock(lab: Lab) -> None:
    lab.account.add_rule("DescribeRegions delay=1h")
    impatient = lab.client("ec2", config=Config(retries={"total_max_attempts": 1}, read_timeout=0.3))
    with pytest.raises(ReadTimeoutError):
        impatient.describe_regions()
    began = time.monotonic()
    lab.ec2.describe_availability_zones()
    assert time.monotonic() - began < 5


def test_settings_by_rule_hold_until_removed(lab: Lab) -> None:
    rule = lab.account.add_rule("pending 5s")
    quick = lab.launch()
    lab.account.advance(5)
    assert lab.state(quick) == "running"
    lab.account.remove_rule(rule["id"])
    slow = lab.launch()
    lab.account.advance(5)
    assert lab.state(slow) == "pending"


def test_bad_rules_and_clocks_are_refused_in_words(lab: Lab) -> None:
    with pytest.raises(InputError, match="zoen=b"):
        lab.account.add_rule("RunInstances error=X zoen=b")
    with pytest.raises(InputError, match="no rule 'r99'"):
        lab.account.remove_rule("r99")
    with pytest.raises(InputError, match="only goes forward"):
        lab.account.advance(-1)
    for absurd in (3_000_000 * 86400.0, float("inf"), float("nan")):
        with pytest.raises(InputError):
            lab.account.advance(absurd)
    assert lab.account.rules() == []


@pytest.mark.parametrize(
    ("service", "call", "code"),
    [
        ("ec2", "describe_instances", "AuthFailure"),
        ("sts", "get_caller_identity", "InvalidClientTokenId"),
        ("s3", "list_buckets", "InvalidAccessKeyId"),
        ("pricing", "describe_services", "InvalidClientTokenId"),
    ],
)
def test_other_keys_are_refused(lab: Lab, service: str, call: str, code: str) -> None:
    client = lab.client(service, aws_access_key_id="AKIAIOSFODNN7EXAMPLE")
    assert error_of(getattr(client, call)) == (code, 403)


def test_unsigned_requests_are_refused(lab: Lab) -> None:
    status, body = _get(f"{lab.account.endpoint_url}/transcription-{lab.account.account_id}/x")
    assert (status, b"AccessDenied" in body) == (403, True)
    request = urllib.request.Request(
        lab.account.endpoint_url, data=b"Action=DescribeInstances&Version=2016-11-15", method="POST"
    )
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request, timeout=10)
    with caught.value as error:
        assert error.code >= 400


def test_the_control_api_wants_its_secret_and_a_loopback_name(lab: Lab) -> None:
    control = f"{lab.account.endpoint_url}/_sandbox/status"
    assert _get(control)[0] == 403
    assert _get(control, {"X-Gputx-Sandbox-Secret": "guess"})[0] == 403
    assert _get(f"{lab.account.endpoint_url}/_sandbox/checkip", {"Host": "evil.example"})[0] == 403
    assert _get(f"{lab.account.endpoint_url}/moto-api/data.json")[0] >= 400


def test_checkip_answers_as_aws_s_does(lab: Lab) -> None:
    assert _get(lab.account.checkip_url) == (200, b"127.0.0.1\n")


def test_only_loopback_is_listened_on(lab: Lab) -> None:
    port = int(lab.account.endpoint_url.rpartition(":")[2])
    with socket.socket() as elsewhere, pytest.raises(OSError, match="refused"):
        elsewhere.connect(("127.0.0.2", port))


@pytest.mark.parametrize(
    ("service", "call", "arguments"),
    [
        ("ec2", "request_spot_instances", {}),
        ("ec2", "get_instance_types_from_instance_requirements", None),
        (
            "iam",
            "simulate_principal_policy",
            {"PolicySourceArn": "arn:aws:iam::123456789012:role/x", "ActionNames": ["s3:*"]},
        ),
        ("pricing", "describe_services", {}),
        ("braket", "search_devices", {"filters": []}),
    ],
)
def test_what_is_not_emulated_says_so(lab: Lab, service: str, call: str, arguments: dict[str, Any] | None) -> None:
    if arguments is None:
        arguments = {
            "ArchitectureTypes": ["x86_64"],
            "VirtualizationTypes": ["hvm"],
            "InstanceRequirements": {"VCpuCount": {"Min": 1}, "MemoryMiB": {"Min": 1}},
        }
    client = lab.client(service)
    assert error_of(lambda: getattr(client, call)(**arguments)) == ("NotEmulated", 501)


def test_a_presigned_url_ends_on_the_sandbox_s_clock(lab: Lab) -> None:
    bucket = f"transcription-{lab.account.account_id}"
    store = lab.client("s3", config=Config(signature_version="s3v4"))
    store.put_object(Bucket=bucket, Key="räksmörgås.txt", Body=b"hej")
    arguments = {"Bucket": bucket, "Key": "räksmörgås.txt"}
    url = str(store.generate_presigned_url("get_object", Params=arguments, ExpiresIn=900))
    assert _get(url) == (200, b"hej")
    # The clock was turned by other tests after the URL's (whole) second only if it is dated back.
    signed = re.search(r"X-Amz-Date=(\w+)", url)
    assert signed
    earlier = datetime.now(UTC) - timedelta(minutes=20)
    aged = url.replace(signed[1], earlier.strftime("%Y%m%dT%H%M%SZ"))
    status, body = _get(aged)
    assert (status, b"Request has expired" in body) == (403, True)


def test_a_turn_of_the_clock_ages_a_presigned_url() -> None:
    with sandbox.ephemeral() as account:
        lab = Lab(account, Path())
        store = lab.client("s3", config=Config(signature_version="s3v4"))
        arguments = {"Bucket": f"transcription-{account.account_id}", "Key": "x"}
        store.put_object(**arguments, Body=b"hej")
        url = str(store.generate_presigned_url("get_object", Params=arguments, ExpiresIn=900))
        signed = re.search(r"X-Amz-Date=(\w+)", url)
        assert signed
        # Two seconds ago, so that no turn below falls into the second of the signature.
        date = (datetime.now(UTC) - timedelta(seconds=2)).strftime("%Y%m%dT%H%M%SZ")
        url = url.replace(signed[1], date)
        account.advance(850)
        assert _get(url) == (200, b"hej")
        account.advance(60)
        assert _get(url)[0] == 403
        url = str(store.generate_presigned_url("get_object", Params=arguments, ExpiresIn=900))
        assert _get(url) == (200, b"hej")


def test_the_bucket_is_private_and_keeps_what_it_is_given(lab: Lab) -> None:
    bucket = f"transcription-{lab.account.account_id}"
    store = lab.client("s3")
    block = store.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"]
    assert all(block.values())
    assert len(block) == 4
    body = bytes(range(256)) * 4096 * 8
    store.put_object(Bucket=bucket, Key="results/a/b.bin", Body=body)
    assert store.get_object(Bucket=bucket, Key="results/a/b.bin")["Body"].read() == body
    assert store.head_object(Bucket=bucket, Key="results/a/b.bin")["ContentLength"] == len(body)
    refused = lambda: store.put_object(Bucket=bucket, Key="results/a/b.bin", Body=b"", IfNoneMatch="*")  # noqa: E731
    assert error_of(refused) == ("PreconditionFailed", 412)
    absent = lambda: store.get_object(Bucket="no-such-bucket-here", Key="x")  # noqa: E731
    assert error_of(absent) == ("NoSuchBucket", 404)


def test_a_long_poll_leaves_the_account_to_others(lab: Lab) -> None:
    queues = lab.client("sqs")
    url = queues.create_queue(QueueName="jobs")["QueueUrl"]
    began = time.monotonic()
    assert "Messages" not in queues.receive_message(QueueUrl=url, WaitTimeSeconds=1)
    assert time.monotonic() - began >= 1
    queues.send_message(QueueUrl=url, MessageBody="hej")
    (message,) = queues.receive_message(QueueUrl=url, WaitTimeSeconds=20)["Messages"]
    assert message["Body"] == "hej"
    queues.delete_queue(QueueUrl=url)


def test_the_furnished_image_keeps_the_contract(lab: Lab) -> None:
    (image,) = lab.ec2.describe_images(Owners=["self"])["Images"]
    tags = {tag["Key"]: tag["Value"] for tag in image["Tags"]}
    assert (image["Name"], image["State"]) == ("gputx-sandbox-1", "available")
    assert (tags["gputx:contract"], tags["gputx:model"]) == ("1", "gputx/tiny-sv")
    assert len(tags["gputx:model-revision"]) == 64
    assert tags["gputx:ssh-user"] == "ubuntu"
    assert tags["gputx:ssh-port"] in ("22", "2222")
    assert (lab.account.model / "model.safetensors").is_file()


def test_a_copied_image_boots_and_has_no_tags(lab: Lab) -> None:
    copy = lab.ec2.copy_image(Name="copy", SourceImageId=lab.image, SourceRegion="eu-north-1")["ImageId"]
    assert not lab.ec2.describe_images(ImageIds=[copy])["Images"][0].get("Tags")
    lab.account.advance(60)
    assert lab.row(lab.launch(ImageId=copy))["image_id"] == copy
    lab.ec2.deregister_image(ImageId=copy)


def test_another_region_is_empty_and_still_answers(lab: Lab) -> None:
    elsewhere = lab.client("ec2", region_name="us-east-1")
    assert elsewhere.describe_images(Owners=["self"])["Images"] == []
    by_type = [{"Name": "instance-type", "Values": ["g4dn.xlarge"]}]
    offers = elsewhere.describe_instance_type_offerings(LocationType="availability-zone", Filters=by_type)
    assert len(offers["InstanceTypeOfferings"]) >= 3
    here = lab.launch()
    lab.account.advance(LAG)
    assert error_of(lambda: elsewhere.describe_instances(InstanceIds=[here]))[0] == "InvalidInstanceID.NotFound"


def test_a_region_that_is_none_is_refused(lab: Lab) -> None:
    nowhere = lab.client("ec2", region_name="eu-nrth-1")
    assert error_of(nowhere.describe_instances) == ("SignatureDoesNotMatch", 403)


def test_status_tells_how_to_reach_the_account_but_not_the_secret(lab: Lab) -> None:
    status = lab.account.status()
    assert status["endpoint_url"] == lab.account.endpoint_url
    assert status["access_key"] == lab.account.access_key
    assert "secret" not in status
    assert abs(status["time"] - lab.account.clock.time()) < 5
    assert json.dumps(status)
    now = datetime.fromtimestamp(lab.account.clock.time(), UTC)
    assert now.timestamp() >= time.time()
