"""What every call has in common: each protocol's errors, dry runs, the dates in what is answered."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from datetime import datetime
from typing import Any

import pytest
from botocore.exceptions import ClientError

from .lab import LAG, Lab, error_of


@pytest.mark.parametrize(
    ("service", "method", "arguments"),
    [
        ("s3", "list_buckets", {}),
        ("sts", "get_caller_identity", {}),
        ("pricing", "describe_services", {}),
        ("sqs", "list_queues", {}),
    ],
)
def test_errors_speak_each_service_s_protocol(lab: Lab, service: str, method: str, arguments: dict[str, Any]) -> None:
    lab.account.add_rule('* error=Throttling status=400 message="slow down, please"')
    client = lab.client(service)
    assert error_of(lambda: getattr(client, method)(**arguments)) == ("Throttling", 400)


def test_what_cannot_be_read_is_refused_as_aws_would(lab: Lab) -> None:
    scope = f"AWS4-HMAC-SHA256 Credential={lab.account.access_key}/20260101/eu-north-1/pricing/aws4_request"
    request = urllib.request.Request(
        lab.account.endpoint_url,
        data=b"{not json",
        headers={"Authorization": scope, "X-Amz-Target": "AWSPriceListService.GetProducts"},
    )
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request, timeout=10)
    with caught.value as error:
        assert (error.code, json.load(error)["__type"]) == (400, "SerializationException")


@pytest.mark.parametrize(
    ("service", "method", "arguments"),
    [
        ("elasticache", "describe_events", {}),
        ("ses", "list_identities", {}),
        ("sns", "list_topics", {}),
        ("route53", "list_hosted_zones", {}),
        ("cloudfront", "list_distributions", {}),
        ("lambda", "list_functions", {}),
    ],
)
def test_an_error_can_be_read_whatever_the_service(
    lab: Lab, service: str, method: str, arguments: dict[str, Any]
) -> None:
    lab.account.add_rule('* error=Throttling status=400 message="slow down, please"')
    with pytest.raises(ClientError) as caught:
        getattr(lab.client(service), method)(**arguments)
    assert caught.value.response["Error"]["Code"] == "Throttling"
    assert caught.value.response["Error"]["Message"] == "slow down, please"
    lab.account.clear_rules()
    stranger = lab.client(service, aws_access_key_id="AKIAIOSFODNN7EXAMPLE")
    assert error_of(lambda: getattr(stranger, method)(**arguments)) == ("InvalidClientTokenId", 403)


def test_what_moto_lacks_in_a_query_service_says_so(lab: Lab) -> None:
    assert error_of(lab.client("elasticache").describe_events) == ("NotEmulated", 501)


def test_a_dry_run_changes_nothing(lab: Lab) -> None:
    instance_id = lab.launch()
    lab.account.advance(LAG)
    before = lab.account.table()
    (request,) = [row for row in before["spot_requests"] if row["instance_id"] == instance_id]
    spare = lab.ec2.create_security_group(GroupName="spare", Description="for a test")["GroupId"]
    types = {"InstanceTypes": ["g4dn.xlarge"]}
    calls: list[tuple[str, dict[str, Any]]] = [
        ("modify_instance_attribute", {"InstanceId": instance_id, "Groups": [spare]}),
        ("cancel_spot_instance_requests", {"SpotInstanceRequestIds": [request["spot_instance_request_id"]]}),
        ("describe_instances", {}),
        ("describe_instance_status", {}),
        ("describe_spot_price_history", types),
        ("describe_spot_instance_requests", {}),
        ("get_spot_placement_scores", {"TargetCapacity": 1, **types}),
        ("delete_security_group", {"GroupId": spare}),
        ("terminate_instances", {"InstanceIds": [instance_id]}),
        ("start_instances", {"InstanceIds": [instance_id]}),
        ("create_tags", {"Resources": [instance_id], "Tags": [{"Key": "a", "Value": "b"}]}),
        ("create_key_pair", {"KeyName": "dry"}),
        ("run_instances", lab.order()),
    ]
    for action, arguments in calls:
        call = getattr(lab.ec2, action)
        refused = error_of(lambda call=call, arguments=arguments: call(DryRun=True, **arguments))
        assert refused == ("DryRunOperation", 412), action
    after = lab.account.table()
    assert after["instances"] == before["instances"]
    assert after["spot_requests"] == before["spot_requests"]
    assert after["key_pairs"] == []
    absent = lambda: lab.ec2.terminate_instances(InstanceIds=["i-0123456789abcdef0"], DryRun=True)  # noqa: E731
    assert error_of(absent)[0] == "InvalidInstanceID.NotFound"
    assert error_of(lambda: lab.ec2.request_spot_instances(DryRun=True))[0] == "NotEmulated"


def test_all_that_is_dated_is_dated_by_the_sandbox_s_clock(lab: Lab) -> None:
    lab.account.advance(30 * 86400)

    def is_now(when: datetime) -> bool:
        return abs(when.timestamp() - lab.account.clock.time()) < 30

    assert lab.key_file.exists()
    (pair,) = lab.ec2.describe_key_pairs(KeyNames=["lab"])["KeyPairs"]
    assert is_now(pair["CreateTime"])
    lab.launch()
    (volume,) = lab.ec2.describe_volumes()["Volumes"]
    assert is_now(volume["CreateTime"])
    assert is_now(volume["Attachments"][0]["AttachTime"])
    store = lab.client("s3")
    bucket = f"transcription-{lab.account.account_id}"
    store.put_object(Bucket=bucket, Key="dated", Body=b"")
    assert is_now(store.head_object(Bucket=bucket, Key="dated")["LastModified"])


def test_a_message_comes_back_when_its_time_on_the_sandbox_s_clock_is_over(lab: Lab) -> None:
    queues = lab.client("sqs")
    url = queues.create_queue(QueueName="timed", Attributes={"VisibilityTimeout": "600"})["QueueUrl"]
    queues.send_message(QueueUrl=url, MessageBody="hej")
    receive = lambda: len(queues.receive_message(QueueUrl=url).get("Messages", []))  # noqa: E731
    assert (receive(), receive()) == (1, 0)
    lab.account.advance(601)
    assert receive() == 1
    queues.delete_queue(QueueUrl=url)
