"""Rules that strike a client at its own calls, and the log of all calls."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.config import Config

from .lab import LAG, Lab, error_of, wait_for

# Calls what it is told to on standard input, a JSON list to a line, and says what came of it; INT is told, too.
_CLIENT = """
import json, os, signal, sys, threading
import boto3
from botocore.config import Config

def say(**what):
    os.write(1, json.dumps(what).encode() + b"\\n")

signal.signal(signal.SIGINT, lambda *_: say(signal="INT"))
settings = json.loads(sys.argv[1])
config = Config(retries={"total_max_attempts": 1}, read_timeout=20)
ec2 = boto3.client("ec2", config=config, **settings)
say(ready=True)
for line in sys.stdin:
    method, arguments = json.loads(line)
    try:
        answer = getattr(ec2, method)(**arguments)
    except Exception as error:
        say(error=type(error).__name__)
    else:
        say(answered=[i["InstanceId"] for i in answer.get("Instances", [])])
"""


_numbers = itertools.count()


class Client:
    """A process that makes EC2 calls; rules can strike it."""

    def __init__(self, lab: Lab) -> None:
        account = lab.account
        settings = {
            "aws_access_key_id": account.access_key,
            "aws_secret_access_key": account.secret_key,
            "region_name": account.region,
            "endpoint_url": account.endpoint_url,
        }
        self._lab = lab
        # One token to a client: what an earlier test launched with the same one has been terminated.
        self.token = f"client-{next(_numbers)}"
        self.process = subprocess.Popen(
            [sys.executable, "-c", _CLIENT, json.dumps(settings)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self.said() == {"ready": True}

    @property
    def pid(self) -> int:
        return self.process.pid

    def call(self, method: str, **arguments: Any) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps([method, arguments]).encode() + b"\n")
        self.process.stdin.flush()

    def launch(self) -> None:
        self.call("run_instances", **self._lab.order(ClientToken=self.token))

    def said(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        said: dict[str, Any] = json.loads(self.process.stdout.readline() or b"{}")
        return said

    def end(self) -> None:
        self.process.kill()
        with self.process:
            pass


@pytest.fixture
def client(lab: Lab) -> Iterator[Client]:
    client = Client(lab)
    yield client
    client.end()


def _launched(lab: Lab, client: Client) -> list[dict[str, Any]]:
    return [row for row in lab.account.table()["instances"] if row["client_token"] == client.token]


def _last_call(lab: Lab, action: str) -> dict[str, Any]:
    return next(call for call in reversed(lab.account.calls()) if call["action"] == action)


def test_killed_before_its_launch_a_client_leaves_nothing(lab: Lab, client: Client) -> None:
    rule = lab.account.add_rule(f"RunInstances signal=KILL pid={client.pid} at=before times=1")
    assert rule["reached"] == []
    client.launch()
    assert client.process.wait(10) == -signal.SIGKILL
    assert _launched(lab, client) == []
    (reached,) = lab.account.rules()[0]["reached"]
    call = _last_call(lab, "RunInstances")
    assert (call["outcome"], call["code"], call["token"], call["instances"]) == ("cut before", None, client.token, [])
    assert {name: reached[name] for name in ("service", "action", "number", "at", "alive", "things", "sent")} == {
        "service": "ec2",
        "action": "RunInstances",
        "number": call["number"],
        "at": "before",
        "alive": 0,
        "things": 0,
        "sent": True,
    }
    assert abs(reached["time"] - lab.account.clock.time()) < 30


def test_killed_after_its_launch_a_client_leaves_an_instance(lab: Lab, client: Client) -> None:
    lab.ec2.create_key_pair(KeyName="there")
    lab.account.add_rule(f"ec2:RunInst* signal=KILL pid={client.pid} at=after times=1")
    client.launch()
    assert client.process.wait(10) == -signal.SIGKILL
    (row,) = _launched(lab, client)
    (reached,) = lab.account.rules()[0]["reached"]
    assert (reached["alive"], reached["things"]) == (1, 2)
    call = _last_call(lab, "RunInstances")
    assert (call["outcome"], call["instances"]) == ("cut after", [row["instance_id"]])


@pytest.mark.parametrize(("at", "things"), [("before", 1), ("after", 1), ("response", 1)])
def test_a_client_that_lives_on_is_answered(lab: Lab, client: Client, at: str, things: int) -> None:
    lab.account.add_rule(f"RunInstances signal=INT pid={client.pid} at={at} times=1")
    client.launch()
    said = [client.said(), client.said()]
    (row,) = _launched(lab, client)
    assert {"signal": "INT"} in said
    assert {"answered": [row["instance_id"]]} in said
    if at != "response":
        assert said[0] == {"signal": "INT"}
    reached = wait_for(lambda: lab.account.rules()[0]["reached"])
    assert (reached[0]["alive"], reached[0]["things"]) == (0 if at == "before" else 1, things)
    assert _last_call(lab, "RunInstances")["outcome"] == "answered"


def test_an_answer_is_whole_before_its_signal_kills(lab: Lab, client: Client) -> None:
    lab.account.add_rule(f"RunInstances signal=KILL pid={client.pid} at=response times=1")
    client.launch()
    assert client.process.wait(10) == -signal.SIGKILL
    assert len(_launched(lab, client)) == 1
    assert _last_call(lab, "RunInstances")["outcome"] == "answered"


def test_further_signals_follow_after_the_gap(lab: Lab, client: Client) -> None:
    lab.account.add_rule(f"DescribeRegions signal=INT,INT,KILL pid={client.pid} at=before gap=0.3s times=1")
    began = time.monotonic()
    client.call("describe_regions")
    assert client.process.wait(10) == -signal.SIGKILL
    assert time.monotonic() - began > 0.6
    said = [client.said() for _ in range(4)]
    assert said == [{"signal": "INT"}, {"answered": []}, {"signal": "INT"}, {}]


def test_a_refused_call_has_all_its_points_too(lab: Lab, client: Client) -> None:
    for at in ("before", "after", "response"):
        lab.account.add_rule(f"TerminateInstances signal=INT pid={client.pid} at={at} times=1")
        client.call("terminate_instances", InstanceIds=["i-0123456789abcdef0"])
        assert {"signal": "INT"} in (said := [client.said(), client.said()])
        assert {"error": "ClientError"} in said


def test_a_signal_goes_with_a_fault_by_another_rule(lab: Lab, client: Client) -> None:
    lab.account.add_rule("RunInstances drop=before times=1")
    lab.account.add_rule(f"RunInstances signal=INT pid={client.pid} at=response times=1")
    client.launch()
    said = [client.said(), client.said()]
    assert {"signal": "INT"} in said
    assert {"error": "ConnectionClosedError"} in said
    assert _launched(lab, client) == []


def test_whoever_is_gone_is_no_error_and_other_calls_are_let_through_first(lab: Lab) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    lab.account.add_rule(f"* signal=TERM pid={gone.pid} at=before skip=2 times=1")
    for _ in range(4):
        lab.ec2.describe_regions()
    (rule,) = lab.account.rules()
    ((reached,), hits) = rule["reached"], rule["hits"]
    assert (reached["sent"], hits) == (False, 1)
    assert reached["number"] == lab.account.calls()[-2]["number"]


def test_what_is_fetched_by_a_presigned_address_is_no_call_of_the_client(lab: Lab) -> None:
    arguments = {"Bucket": f"transcription-{lab.account.account_id}", "Key": "struck.txt"}
    store = lab.client("s3", config=Config(signature_version="s3v4"))
    store.put_object(**arguments, Body=b"hej")
    url = str(store.generate_presigned_url("get_object", Params=arguments, ExpiresIn=900))
    previous = signal.signal(signal.SIGUSR1, lambda *_: None)
    lab.account.add_rule(f"* signal=USR1 pid={os.getpid()} at=before")
    try:
        with urllib.request.urlopen(url, timeout=10) as response:
            assert response.read() == b"hej"
        fetched = lab.account.calls()[-1]
        store.get_object(**arguments)
        (rule,) = lab.account.rules()
        assert [reached["number"] for reached in rule["reached"]] == [fetched["number"] + 1]
    finally:
        signal.signal(signal.SIGUSR1, previous)
    assert (fetched["action"], fetched["presigned"], fetched["outcome"]) == ("GetObject", True, "answered")


def test_a_launch_that_is_held_is_in_flight(lab: Lab, client: Client) -> None:
    assert lab.account.table()["in_flight"] == []
    lab.account.add_rule("RunInstances delay=10m times=1")
    client.launch()
    (held,) = wait_for(lambda: lab.account.table()["in_flight"])
    assert held == {
        "number": held["number"],
        "service": "ec2",
        "action": "RunInstances",
        "token": client.token,
    }
    call = _last_call(lab, "RunInstances")
    assert (call["number"], call["outcome"], call["end"]) == (held["number"], None, None)
    # It lands, whatever became of its client.
    client.process.kill()
    lab.account.add_rule(f"DescribeRegions signal=TERM pid={client.pid} at=before times=1")
    lab.ec2.describe_regions()
    assert lab.account.rules()[1]["reached"][0]["things"] == 1
    lab.account.advance(601)
    wait_for(lambda: _launched(lab, client))
    assert lab.account.table()["in_flight"] == []


def test_the_log_says_what_was_asked_and_what_came_of_it(lab: Lab) -> None:
    before = lab.account.calls()
    start = before[-1]["number"] if before else 0
    tags = [{"ResourceType": "instance", "Tags": [{"Key": "gputx:run", "Value": "r1"}]}]
    tags += [{"ResourceType": "volume", "Tags": [{"Key": "gputx:part", "Value": "disk"}]}]
    instance_id = lab.launch(ClientToken="logged", TagSpecifications=tags)
    lab.ec2.create_tags(Resources=[instance_id], Tags=[{"Key": "a", "Value": "b"}])
    assert error_of(lambda: lab.ec2.describe_instances(InstanceIds=["i-0123456789abcdef0"]))
    stranger = lab.client("sts", aws_access_key_id="AKIAIOSFODNN7EXAMPLE")
    assert error_of(stranger.get_caller_identity)
    queues = lab.client("sqs")
    queues.create_queue(QueueName="logged", tags={"gputx:run": "r1"})
    queues.delete_queue(QueueUrl=queues.get_queue_url(QueueName="logged")["QueueUrl"])
    assert error_of(lambda: lab.client("s3").head_object(Bucket="no-such-bucket-here", Key="x"))
    calls = lab.account.calls(start)
    assert [call["number"] for call in calls] == list(range(start + 1, start + 9))
    launch, tagging, unknown, foreign, queue, _, _, absent = calls
    assert (launch["service"], launch["action"], launch["outcome"]) == ("ec2", "RunInstances", "answered")
    assert launch["token"] == "logged"
    assert launch["tags"] == {"gputx:run": "r1", "gputx:part": "disk"}
    assert launch["instances"] == [instance_id]
    assert launch["time"] <= launch["end"] <= lab.account.clock.time()
    assert (tagging["tags"], tagging["instances"], tagging["token"]) == ({"a": "b"}, [instance_id], None)
    assert (unknown["outcome"], unknown["code"]) == ("error", "InvalidInstanceID.NotFound")
    assert unknown["instances"] == ["i-0123456789abcdef0"]
    assert (foreign["outcome"], foreign["code"]) == ("error", "InvalidClientTokenId")
    assert (queue["service"], queue["action"], queue["tags"]) == ("sqs", "CreateQueue", {"gputx:run": "r1"})
    assert (absent["outcome"], absent["code"], absent["presigned"]) == ("error", "404", False)
    assert lab.account.calls(calls[-1]["number"]) == []


def test_without_user_data_a_guest_has_sshd_and_nothing_else(lab: Lab) -> None:
    rule = lab.account.add_rule("no-user-data type=g4dn.* times=1")
    user_data = "#cloud-boothook\n#!/bin/sh\ntouch /root/armed\n"
    bare = lab.boot(UserData=user_data)
    assert lab.account.rules() == [{**rule, "hits": 1}]
    assert lab.ssh(bare, "sudo test -e /root/armed").returncode == 1
    lab.ec2.reboot_instances(InstanceIds=[bare])
    lab.ec2.terminate_instances(InstanceIds=[bare])
    lab.account.advance(LAG)
    armed = lab.boot(UserData=user_data)
    assert lab.ssh(armed, "sudo test -e /root/armed").returncode == 0
