"""What AWS and instances do wrong: each ends in one clear line, the right code, and nothing left running."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from product import HELD_OUT, REFERENCES, Cli, Ended, descendants, frozen, leftovers, wer

from gputx.cli import group

pytestmark = pytest.mark.slow

CLIP = HELD_OUT / "clip01.flac"
LONG = HELD_OUT / "long3min.flac"
"""Takes an instance well over a second, so that what is lost a second after it began to run is lost in mid-run."""


def one_clear_line(err: str) -> str:
    """The single line that says what is wrong."""
    lines = [line for line in err.splitlines() if line.startswith(("error:", "warning: could not confirm"))]
    assert len(lines) == 1, err
    return lines[0]


def test_pools_without_capacity_are_passed_over_and_shown(cli: Cli) -> None:
    cli.account.add_rule("pool market=spot no-capacity")
    document = cli("run", CLIP, "--json").document

    codes = [(a["market"], a["code"]) for a in document["run"]["attempts"]]
    assert codes == [("spot", "InsufficientInstanceCapacity")] * 3 + [("on-demand", None)]
    assert document["run"]["market"] == "on-demand"


def test_each_pool_is_asked_once_although_the_error_is_a_500(cli: Cli) -> None:
    rule = cli.account.add_rule("RunInstances error=InsufficientInstanceCapacity")
    ended = cli("run", CLIP, code=4)

    assert "no pool had capacity" in one_clear_line(ended.err)
    hits = next(r["hits"] for r in cli.account.rules() if r["id"] == rule["id"])
    assert hits == 6  # three zones, two markets


def test_the_spot_quota_sends_a_run_to_on_demand(cli: Cli) -> None:
    cli.account.add_rule("quota spot=0")
    document = cli("run", CLIP, "--json").document

    assert [a["code"] for a in document["run"]["attempts"]] == ["MaxSpotInstanceCountExceeded", None]


@pytest.mark.parametrize("market", ["spot", "on-demand"])
def test_a_quota_of_zero_says_where_to_ask_for_more(cli: Cli, market: str) -> None:
    cli.account.add_rule(f"quota {market}=0")
    ended = cli("run", CLIP, "--market", market, code=4)

    assert f"allows this account 0 {market} GPU vCPUs" in one_clear_line(ended.err)
    assert "servicequotas" in ended.err


def test_a_lost_answer_launches_one_instance(cli: Cli) -> None:
    before = len(cli.account.table()["instances"])
    cli.account.add_rule("RunInstances drop=after times=1")
    cli("run", CLIP, "--json")

    assert len(cli.account.table()["instances"]) == before + 1


def test_an_instance_behind_a_lost_answer_is_found_and_ended(cli: Cli) -> None:
    """Launched, the answer lost, every repeat throttled, and not visible for a while: still none is left."""
    cli.account.add_rule("RunInstances drop=after times=1")
    cli.account.add_rule("RunInstances error=RequestLimitExceeded")
    cli.account.add_rule("lag 15s")

    def turn(line: str, _process: object) -> None:
        if line.startswith("ending the instance"):
            cli.account.advance(14)

    ended = cli.watch("run", CLIP, "--bucket", "none", on=turn)
    assert ended.code == 1
    assert "RequestLimitExceeded" in one_clear_line(ended.err)


def test_a_launch_that_is_never_seen_is_owned_up_to(cli: Cli) -> None:
    cli.account.add_rule("RunInstances drop=after times=1")
    cli.account.add_rule("RunInstances error=RequestLimitExceeded")
    cli.account.add_rule("lag 500s")

    def turn(line: str, _process: object) -> None:
        if line.startswith("ending the instance"):
            cli.account.advance(30)

    ended = cli.watch("run", CLIP, "--bucket", "none", "--ttl", "10m", on=turn)
    assert ended.code == 5
    assert "got no answer" in one_clear_line(ended.err)
    # The instance's own deadline ends it all the same, and a later command's sweep takes its group.
    cli.account.clear_rules()
    cli.pass_time(15 * 60)
    cli("run", CLIP, "--bucket", "none")


def test_a_key_that_may_not_be_deleted_is_said_and_swept_later(cli: Cli) -> None:
    rule = cli.account.add_rule("DeleteKeyPair error=UnauthorizedOperation")

    def turn(line: str, _process: object) -> None:
        if line.startswith("ending the instance"):
            cli.account.advance(10)

    ended = cli.watch("run", CLIP, "--bucket", "none", "--ttl", "10m", on=turn)
    assert ended.code == 0
    assert "a key pair could not be deleted yet" in ended.err
    cli.account.remove_rule(rule["id"])
    cli.pass_time(15 * 60)
    assert "ended what earlier runs left" in cli("run", CLIP, "--bucket", "none").err


def test_a_proxy_is_not_asked_the_way_to_loopback(cli: Cli) -> None:
    cli.environ |= {
        "HTTP_PROXY": "http://127.0.0.1:9",
        "http_proxy": "http://127.0.0.1:9",
        "ALL_PROXY": "http://127.0.0.1:9",
    }
    cli("run", CLIP, "--dry-run")


def test_the_images_own_model_may_be_asked_for_by_name(cli: Cli) -> None:
    document = cli("run", CLIP, "--model", "gputx/tiny-sv", "--bucket", "none", "--json").document
    assert document["run"]["model"] == "gputx/tiny-sv"


def test_throttling_is_waited_out(cli: Cli) -> None:
    cli.account.add_rule("TerminateInstances error=RequestLimitExceeded times=5")
    cli.account.add_rule("DescribeInstances error=RequestLimitExceeded times=3")
    cli("run", CLIP)


def test_an_instance_lost_in_mid_run_is_replaced_once(cli: Cli) -> None:
    cli.account.add_rule("interrupt any after=1s notice=0s times=1")
    document = cli("run", CLIP, LONG, "--json").document

    launched = [a for a in document["run"]["attempts"] if a["code"] is None]
    assert len(launched) == 2
    assert launched[0]["zone"] != launched[1]["zone"] or launched[0]["market"] != launched[1]["market"]
    assert wer(REFERENCES["clip01.flac"], document["files"][0]["text"]) <= 0.10


def test_an_instance_lost_twice_is_given_up(cli: Cli) -> None:
    cli.account.add_rule("interrupt any after=1s notice=0s times=2")
    ended = cli("run", LONG, code=1)

    assert "lost twice" in one_clear_line(ended.err)


def test_no_image(cli: Cli) -> None:
    cli.account.add_rule("DescribeImages error=InvalidAMIID.NotFound")
    ended = cli("run", CLIP, "--image", "ami-0123456789abcdef0", code=3)
    assert "ami-0123456789abcdef0" in one_clear_line(ended.err)


def test_no_bucket(cli: Cli) -> None:
    ended = cli("run", CLIP, "--bucket", "nobody-has-this-bucket", code=3)
    assert "no bucket nobody-has-this-bucket" in one_clear_line(ended.err)


def test_a_region_that_is_none(cli: Cli) -> None:
    ended = cli("run", CLIP, "--region", "eu-nowhere-1", code=3)
    assert "eu-nowhere-1" in one_clear_line(ended.err)


def test_a_region_without_our_image(cli: Cli) -> None:
    ended = cli("run", CLIP, "--region", "eu-west-1", "--bucket", "none", code=3)
    assert "eu-west-1" in one_clear_line(ended.err)


def test_no_credentials(cli: Cli) -> None:
    cli.environ |= {"AWS_EC2_METADATA_DISABLED": "true", "AWS_CONFIG_FILE": "/nonexistent"}
    ended = cli("run", CLIP, "--on", "aws", code=3)
    assert "no AWS credentials" in one_clear_line(ended.err)
    assert "--on sandbox" in ended.err


def test_a_profile_that_does_not_exist(cli: Cli) -> None:
    ended = cli("run", CLIP, "--on", "aws", "--profile", "nobody", code=3)
    assert "nobody" in one_clear_line(ended.err)


def test_a_persons_own_aws_settings_do_not_reach_the_sandbox(cli: Cli) -> None:
    cli.environ |= {
        "AWS_PROFILE": "nobody",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
        "AWS_CA_BUNDLE": "/nonexistent",
    }
    cli("run", CLIP, "--dry-run")


def test_an_expired_session_is_said(cli: Cli) -> None:
    cli.account.add_rule("GetCallerIdentity error=ExpiredToken")
    ended = cli("run", CLIP, code=3)
    assert "ExpiredToken" in one_clear_line(ended.err)
    assert "aws sso login" in ended.err


def test_a_bucket_that_refuses_writing_is_found_out_before_launching(cli: Cli) -> None:
    before = len(cli.account.table()["instances"])
    cli.account.add_rule("PutObject error=AccessDenied")
    ended = cli("run", CLIP, code=3)
    assert "can't be written to (AccessDenied)" in one_clear_line(ended.err)
    assert len(cli.account.table()["instances"]) == before


def test_results_that_s3_refuses_later_are_here_all_the_same(cli: Cli) -> None:
    cli.account.add_rule("PutObject error=AccessDenied skip=1")
    ended = cli("run", CLIP, code=1)
    assert "not whole in S3" in one_clear_line(ended.err)
    assert wer(REFERENCES["clip01.flac"], (cli.directory / "clip01.txt").read_text(encoding="utf-8")) <= 0.10


def test_an_instance_that_reaches_its_deadline_is_not_replaced(cli: Cli) -> None:
    def turn(line: str, process: subprocess.Popen[str]) -> None:
        if line.startswith("loading the model"):
            with frozen(process):
                cli.account.advance(31 * 60)

    ended = cli.watch("run", HELD_OUT / "clip03.flac", "--ttl", "30m", "--grace", "1h", "--bucket", "none", on=turn)
    assert ended.code == 1
    assert "--ttl" in one_clear_line(ended.err)


def test_a_worker_that_dies_once_costs_only_time(cli: Cli) -> None:
    ended = run_killing_workers(cli, 1, HELD_OUT / "clip03.flac", CLIP)

    assert ended.code == 0
    assert "tried once more" in ended.err
    assert [file["error"] for file in ended.document["files"]] == [None, None]


def test_a_file_that_kills_its_worker_twice_fails_alone(cli: Cli) -> None:
    ended = run_killing_workers(cli, 2, HELD_OUT / "clip03.flac", CLIP)

    assert ended.code == 1
    assert "clip03.flac" in one_clear_line(ended.err)
    assert "twice" in one_clear_line(ended.err)
    assert [file["error"] is None for file in ended.document["files"]] == [False, True]


def run_killing_workers(cli: Cli, times: int, *files: Path) -> Ended:
    """Run, and kill -9 the worker inside the guest each of the first ``times`` times it starts on a file."""
    left = times

    def kill(line: str, _process: object) -> None:
        nonlocal left
        if line.startswith("transcribing") and left:
            left -= 1
            for pid, command in descendants(cli.account.pid):
                if " gputx/payload-" in command and "python" in command.split()[0]:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)

    return cli.watch("run", *files, "--json", "--bucket", "none", on=kill)


def test_ssh_that_never_answers(cli: Cli) -> None:
    with image_tag(cli, "gputx:ssh-port", "2299"):
        ended = cli("run", CLIP, "--boot-timeout", "3s", code=1)
    assert "SSH at 127." in one_clear_line(ended.err)


def test_an_image_of_another_contract_is_refused_before_anything_is_launched(cli: Cli) -> None:
    before = len(cli.account.table()["instances"])
    with image_tag(cli, "gputx:contract", "99"):
        ended = cli("run", CLIP, code=3)
    assert "contract 99" in one_clear_line(ended.err)
    assert len(cli.account.table()["instances"]) == before


def test_another_machine_behind_the_address_is_sent_nothing(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """The client pins the key it gave the instance; here it is told to expect another one."""
    from gputx.ssh import connection, keys  # noqa: PLC0415

    genuine = connection.connect
    monkeypatch.setattr(
        connection, "connect", lambda *a, **k: genuine(*a, **{**k, "host_key": keys.generate().public_openssh})
    )
    monkeypatch.setenv("GPUTX_SANDBOX_DIR", str(cli.account.state_dir))
    monkeypatch.setattr("sys.argv", ["gputx", "run", str(CLIP), "--on", "sandbox", "-o", str(cli.directory)])
    written = io.StringIO()
    monkeypatch.setattr("sys.stderr", written)

    assert group.execute() == 1
    assert "host key" in one_clear_line(written.getvalue())
    assert not any(cli.directory.glob("*.txt"))


@contextlib.contextmanager
def image_tag(cli: Cli, key: str, value: str) -> Iterator[None]:
    """Give the account's image another tag for a while."""
    image = next(row for row in cli.account.table()["images"] if "gputx:contract" in row["tags"])
    ec2 = cli.boto("ec2")
    ec2.create_tags(Resources=[image["image_id"]], Tags=[{"Key": key, "Value": value}])
    try:
        yield
    finally:
        ec2.create_tags(Resources=[image["image_id"]], Tags=[{"Key": key, "Value": image["tags"][key]}])


def test_nothing_is_left_by_any_of_these(cli: Cli) -> None:
    """The check that every test ends with, made here once by hand so that a broken check is noticed."""
    ended = cli("run", CLIP, "--json")
    table = cli.account.table()
    mine = [i for i in table["instances"] if i["instance_id"] == ended.document["run"]["instance_id"]]
    assert [i["state"] for i in mine] in (["shutting-down"], ["terminated"])
    fake = {**table, "instances": [{**mine[0], "state": "running"}]}
    assert leftovers(fake)
