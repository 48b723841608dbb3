"""Every check of ``gputx doctor`` in every verdict it has. Each round also holds that no call was sent that changes
anything, and that every remedy is a command (``examined.py``).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from debris import Debris
from examined import Doctor, Engines, of, with_clock
from product import Cli

from gputx import sandbox
from gputx.aws import identity, pools
from gputx.aws.identity import Identity, Origin
from gputx.errors import ConfigurationError, ExitCode
from gputx.models import Market
from gputx.ssh import outbound
from gputx.workflows import doctor as workflow
from gputx.workflows.checks.finding import Verdict

pytestmark = pytest.mark.slow

OK, WARNING, FAILED, SKIPPED = Verdict.OK, Verdict.WARNING, Verdict.FAILED, Verdict.SKIPPED
OF_THE_ACCOUNT = workflow.NAMES[3:14]


@pytest.fixture
def on_aws(doctor: Doctor, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> Doctor:
    """``--on aws``, with AWS's addresses all leading to the sandbox, and no way to anywhere else."""
    config = cli.directory / "aws-config"
    config.write_text("[profile there]\nregion = eu-north-1\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(cli.directory / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_ENDPOINT_URL", cli.account.endpoint_url)
    monkeypatch.setenv("GPUTX_STATE_DIR", str(cli.directory / "state"))
    monkeypatch.setattr("gputx.workflows.place.SystemClock", lambda: cli.account.clock)
    monkeypatch.setattr("gputx.aws.session.CHECKIP", cli.account.checkip_url)
    monkeypatch.setattr(outbound, "greeting", lambda host, port, stop: "SSH-2.0-test")
    doctor.on = "aws"
    return doctor


@pytest.fixture
def keys(on_aws: Doctor, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """The account's keys, in the environment."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", cli.account.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", cli.account.secret_key)
    return monkeypatch


# credentials, region, clock


def test_who_is_calling_and_where_the_credentials_are_from(on_aws: Doctor, keys: Any) -> None:
    found = of(on_aws(), "credentials")
    assert found.verdict is OK
    assert found.facts["account"] == "123456789012"
    assert found.facts["source"] == "env"
    assert "environment" in found.line


def test_without_credentials_only_this_machine_is_looked_at(on_aws: Doctor) -> None:
    report = on_aws()
    found = of(report, "credentials")
    assert found.verdict is FAILED
    assert found.line == "no AWS credentials found"
    assert found.remedy == "aws configure sso"
    for name in OF_THE_ACCOUNT:
        assert of(report, name).verdict is SKIPPED
        assert "credentials" in of(report, name).line
    # These need nobody's leave.
    assert [of(report, name).verdict for name in ("clock", "SSH outbound", "local engine")] == [OK] * 3
    assert report.ending
    assert report.ending.exit_code is ExitCode.CONFIGURATION


def test_a_profile_that_does_not_exist(on_aws: Doctor) -> None:
    on_aws.profile = "nobody"
    report = on_aws()
    found = of(report, "credentials")
    assert found.verdict is FAILED
    assert "nobody" in found.line
    assert found.remedy == "aws configure sso --profile nobody"
    assert of(report, "local engine").verdict is OK
    assert {of(report, name).verdict for name in workflow.NAMES[1:15]} == {SKIPPED}


def test_a_log_in_that_has_run_out_is_renewed_and_not_made_anew(
    on_aws: Doctor, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    (cli.directory / "aws-config").write_text(
        "[profile sso]\nsso_session = x\nsso_account_id = 123456789012\nsso_role_name = dev\n"
        "[sso-session x]\nsso_region = eu-north-1\nsso_start_url = https://x.awsapps.com/start\n"
    )
    monkeypatch.setenv("HOME", str(cli.directory / "home"))
    on_aws.profile = "sso"
    found = of(on_aws(), "credentials")
    assert found.verdict is FAILED
    assert found.remedy == "aws sso login --profile sso"


@pytest.mark.parametrize("code", ["ExpiredToken", "ExpiredTokenException"])
def test_expired_credentials(on_aws: Doctor, keys: Any, cli: Cli, code: str) -> None:
    cli.account.add_rule(f"* error={code}")
    report = on_aws()
    found = of(report, "credentials")
    assert found.verdict is FAILED
    assert code in found.line
    assert found.remedy == "aws sso login"
    assert of(report, "region").verdict is SKIPPED


def test_keys_that_aws_does_not_know(on_aws: Doctor, keys: pytest.MonkeyPatch) -> None:
    keys.setenv("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE")
    found = of(on_aws(), "credentials")
    assert found.verdict is FAILED
    assert "InvalidClientTokenId" in found.line


def test_no_network(on_aws: Doctor, keys: pytest.MonkeyPatch, monkeypatch: pytest.MonkeyPatch) -> None:
    keys.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setattr("gputx.aws.session.CHECKIP", "http://127.0.0.1:9")

    def nowhere(host: str, port: int, stop: Any) -> str:
        raise OSError(101, "Network is unreachable")

    monkeypatch.setattr(outbound, "greeting", nowhere)
    report = on_aws()
    for name in ("credentials", "clock", "SSH outbound"):
        assert of(report, name).verdict is FAILED, name
    assert "can't be reached" in of(report, "credentials").line
    assert {of(report, name).verdict for name in OF_THE_ACCOUNT} == {SKIPPED}
    assert report.ending
    assert report.ending.exit_code is ExitCode.FAILED


def test_a_sandbox_that_can_t_be_started(doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise ConfigurationError("the sandbox needs packages", hint="pip install 'gputx[sandbox]'")

    monkeypatch.setattr(workflow, "open_place", refuse)
    report = doctor()
    found = of(report, "credentials")
    assert found.verdict is FAILED
    assert found.line == "the sandbox needs packages"
    assert found.remedy == "gputx sandbox up"
    assert found.details == ("pip install 'gputx[sandbox]'",)
    assert {of(report, name).verdict for name in workflow.NAMES[1:15]} == {SKIPPED}


def test_the_root_user_is_told_of(doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    root = Identity("123456789012", "arn:aws:iam::123456789012:root")
    monkeypatch.setattr(identity, "whoami", lambda _: root)
    found = of(doctor(), "credentials")
    assert found.verdict is WARNING
    assert "root" in found.line


def test_credentials_that_end_soon(doctor: Doctor, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    ends = cli.account.clock.time() + 300
    monkeypatch.setattr(identity, "origin", lambda _: Origin("sso", ends))
    found = of(doctor(), "credentials")
    assert found.verdict is WARNING
    assert "SSO" in found.line
    assert "they end in " in found.line
    assert found.remedy == "aws sso login"


def test_a_name_that_is_no_region(doctor: Doctor) -> None:
    doctor.region = "eu-nort-1"
    report = doctor()
    assert of(report, "credentials").verdict is OK
    found = of(report, "region")
    assert found.verdict is FAILED
    assert found.remedy == "export GPUTX_REGION=eu-north-1"
    assert of(report, "image").verdict is SKIPPED
    assert "region" in of(report, "image").line


def test_a_region_that_is_not_enabled_is_not_taken_for_wrong_credentials(doctor: Doctor, cli: Cli) -> None:
    doctor.region = "ap-east-1"
    # What such a region says to everybody: once, and once more to credentials that were read anew.
    cli.account.add_rule("GetCallerIdentity error=InvalidClientTokenId times=2")
    report = doctor()
    assert of(report, "credentials").verdict is OK
    found = of(report, "region")
    assert found.verdict is FAILED
    assert found.remedy == "aws account enable-region --region-name ap-east-1"


def test_who_may_not_ask_about_regions_is_not_failed_for_it(doctor: Doctor, cli: Cli) -> None:
    cli.account.add_rule("DescribeRegions error=UnauthorizedOperation")
    found = of(doctor(), "region")
    assert found.verdict is SKIPPED
    assert found.remedy == "gputx iam show doctor --on sandbox"


def test_another_region_than_the_one_that_was_set_up(doctor: Doctor) -> None:
    doctor.region = "eu-west-1"
    report = doctor()
    assert of(report, "region").verdict is OK
    assert of(report, "image").verdict is FAILED
    assert "eu-west-1" in of(report, "image").line


@pytest.mark.parametrize(("ahead", "verdict"), [(0, OK), (90, WARNING), (-600, FAILED), (600, FAILED)])
def test_the_clock(
    doctor: Doctor, account: sandbox.Account, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ahead: int, verdict: str
) -> None:
    monkeypatch.setenv("GPUTX_SANDBOX_DIR", str(with_clock(account, tmp_path / "elsewhere", ahead)))
    found = of(doctor(), "clock")
    assert found.verdict is verdict
    assert found.facts["skew_seconds"] == pytest.approx(ahead, abs=3)
    if ahead == 600:
        assert "10 min 0" in found.line
        assert "ahead" in found.line


def test_a_signature_of_another_time_leads_to_the_clock(
    doctor: Doctor, account: sandbox.Account, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GPUTX_SANDBOX_DIR", str(with_clock(account, tmp_path / "elsewhere", 600)))
    account.add_rule("* error=SignatureDoesNotMatch")
    report = doctor()
    found = of(report, "credentials")
    assert found.verdict is FAILED
    assert "see clock" in found.line
    assert found.remedy == of(report, "clock").remedy
    assert "ntp" in str(found.remedy) or "sntp" in str(found.remedy)


# quotas, zones, price


def test_quotas_with_room(doctor: Doctor) -> None:
    report = doctor()
    for name in ("spot quota", "on-demand quota"):
        found = of(report, name)
        assert found.verdict is OK
        assert {**found.facts, "link": ""} == {"needed": 4, "in_use": 0, "limit": 8.0, "link": ""}
        assert found.line == "g4dn.xlarge needs 4 vCPUs; 0 of 8 in use"


def test_one_quota_without_room_is_a_warning_and_both_are_a_failure(doctor: Doctor, cli: Cli) -> None:
    cli.account.add_rule("quota spot=0")
    report = doctor()
    assert of(report, "spot quota").verdict is WARNING
    assert of(report, "on-demand quota").verdict is OK
    assert "on-demand" in of(report, "spot quota").line
    assert "L-3819A6DF" in of(report, "spot quota").details[0]
    assert of(report, "spot quota").remedy == "gputx setup --on sandbox"

    cli.account.add_rule("quota on-demand=3")
    report = doctor()
    assert [of(report, name).verdict for name in ("spot quota", "on-demand quota")] == [FAILED, FAILED]
    assert "L-DB2E81BA" in of(report, "on-demand quota").details[0]
    assert report.ending
    assert report.ending.exit_code is ExitCode.CAPACITY


def test_a_market_that_is_not_wanted_is_not_looked_at(doctor: Doctor, cli: Cli) -> None:
    cli.account.add_rule("quota spot=0")
    report = doctor(markets=(Market.ON_DEMAND,))
    assert [of(report, name).verdict for name in ("spot quota", "spot price")] == [SKIPPED, SKIPPED]
    assert of(doctor(markets=(Market.SPOT,)), "spot quota").verdict is FAILED


def test_what_runs_counts_whoever_s_it_is(doctor: Doctor, cli: Cli, debris: Debris) -> None:
    cli.account.add_rule("quota spot=4")
    strangers = debris.instance({"Name": "somebody else's"})
    cli.account.advance(5)
    found = of(doctor(), "spot quota")
    assert found.verdict is WARNING
    assert found.facts["in_use"] == 4
    assert found.remedy == "gputx ps --on sandbox"
    debris.ec2.terminate_instances(InstanceIds=[strangers])


def test_a_request_that_is_open_is_waited_for(doctor: Doctor, cli: Cli) -> None:
    cli.account.add_rule("quota spot=0")
    cli.boto("service-quotas").request_service_quota_increase(ServiceCode="ec2", QuotaCode="L-3819A6DF", DesiredValue=8)
    found = of(doctor(), "spot quota")
    assert "8 asked for" in found.line
    assert str(found.remedy).startswith("aws service-quotas get-requested-service-quota-change")


def test_types_of_another_quota(doctor: Doctor) -> None:
    assert of(doctor(instance_types=("c5.large",)), "spot quota").verdict is SKIPPED


def test_quotas_that_may_not_be_seen(doctor: Doctor, cli: Cli) -> None:
    cli.account.add_rule("GetServiceQuota error=AccessDeniedException")
    found = of(doctor(), "spot quota")
    assert found.verdict is SKIPPED
    assert "not allowed" in found.line


def test_zones(doctor: Doctor) -> None:
    found = of(doctor(), "zones")
    assert found.verdict is OK
    assert found.facts["usable"] == ["eu-north-1a", "eu-north-1b", "eu-north-1c"]


def test_a_type_that_is_not_sold_here_and_one_that_is(doctor: Doctor) -> None:
    report = doctor(instance_types=("g3.4xlarge",))
    found = of(report, "zones")
    assert found.verdict is FAILED
    assert found.remedy == "export GPUTX_INSTANCE_TYPE=g4dn.xlarge"
    assert of(report, "spot price").verdict is SKIPPED


def test_a_region_that_sells_no_gpu(doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gputx.workflows.checks.capacity._KNOWN_TYPES", ("g3.4xlarge",))
    found = of(doctor(instance_types=("g3.8xlarge",)), "zones")
    assert found.verdict is FAILED
    assert found.remedy == "export GPUTX_REGION=eu-north-1"


def test_zones_that_do_not_sell_it(doctor: Doctor) -> None:
    found = of(doctor(zones=("eu-north-1d",)), "zones")
    assert found.verdict is FAILED
    assert found.remedy == "export GPUTX_ZONE=eu-north-1a,eu-north-1b,eu-north-1c"
    assert of(doctor(zones=("eu-north-1b",)), "zones").facts["usable"] == ["eu-north-1b"]


def test_a_subnet_in_another_zone_and_one_that_is_not_there(doctor: Doctor, cli: Cli) -> None:
    subnets = cli.boto("ec2").describe_subnets()["Subnets"]
    in_a = next(subnet["SubnetId"] for subnet in subnets if subnet["AvailabilityZone"] == "eu-north-1a")
    found = of(doctor(subnet=in_a, zones=("eu-north-1b",)), "zones")
    assert found.verdict is FAILED
    assert "the subnets are in eu-north-1a" in found.line
    found = of(doctor(subnet="subnet-0123456789abcdef0"), "zones")
    assert found.verdict is FAILED
    assert "describe-subnets" in str(found.remedy)


def test_no_default_vpc(doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(session: Any, subnet: Any) -> Any:
        raise ConfigurationError("there is no default VPC in eu-north-1")

    monkeypatch.setattr("gputx.workflows.checks.ground.network.find_network", none)
    found = of(doctor(), "zones")
    assert found.verdict is FAILED
    assert found.remedy == "aws ec2 create-default-vpc --region eu-north-1"


def test_the_spot_price_and_its_score(doctor: Doctor, cli: Cli) -> None:
    found = of(doctor(), "spot price")
    assert found.verdict is OK
    assert 0 < found.facts["spot"] < found.facts["on_demand"] == 0.558
    assert 1 <= found.facts["score"] <= 3
    assert not found.facts["score_counts"]

    three = ("g4dn.xlarge", "g5.xlarge", "g6.xlarge")
    found = of(doctor(instance_types=three), "spot price")
    assert found.verdict is OK
    assert found.facts["score"] >= 7

    cli.account.add_rule("pool market=spot no-capacity")
    found = of(doctor(instance_types=three), "spot price")
    assert found.verdict is WARNING
    assert "scarce" in found.line
    assert found.remedy == "export GPUTX_MARKET=on-demand"


def test_prices_that_are_not_to_be_had(doctor: Doctor, cli: Cli) -> None:
    cli.account.add_rule("DescribeSpotPriceHistory error=UnauthorizedOperation")
    found = of(doctor(), "spot price")
    assert found.verdict is WARNING
    assert "not known" in found.line


def test_a_score_that_is_not_to_be_had(doctor: Doctor, cli: Cli) -> None:
    cli.account.add_rule("GetSpotPlacementScores error=MaxConfigLimitExceeded")
    found = of(doctor(), "spot price")
    assert found.verdict is OK
    assert "score not known" in found.line


def test_spot_that_is_no_cheaper(doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pools, "_on_demand_prices", lambda session, types: {"g4dn.xlarge": 0.1})
    found = of(doctor(), "spot price")
    assert found.verdict is WARNING
    assert found.remedy == "export GPUTX_MARKET=on-demand"


# what setup and build-ami make


def test_the_image(doctor: Doctor, cli: Cli) -> None:
    ec2 = cli.boto("ec2")
    found = of(doctor(), "image")
    assert found.verdict is OK
    assert found.facts["contract"] == 1

    named = found.facts["id"]
    assert of(doctor(image=named), "image").verdict is OK
    assert of(doctor(image="ami-0123456789abcdef0"), "image").remedy == "gputx ami list --on sandbox"

    ec2.create_tags(Resources=[named], Tags=[{"Key": "gputx:contract", "Value": "7"}])
    try:
        found = of(doctor(), "image")
        assert found.verdict is FAILED
        assert "contract 7" in found.line
        assert found.remedy == "gputx build-ami --on sandbox"
    finally:
        ec2.create_tags(Resources=[named], Tags=[{"Key": "gputx:contract", "Value": "1"}])
    cli.account.add_rule("DescribeImages error=UnauthorizedOperation")
    assert of(doctor(), "image").verdict is FAILED


def test_an_image_that_is_being_made(doctor: Doctor, cli: Cli, debris: Debris) -> None:
    ec2 = cli.boto("ec2")
    (image,) = [i["ImageId"] for i in ec2.describe_images(Owners=["self"])["Images"] if i["Name"] == "gputx-sandbox-1"]
    labels = [{"Key": k, "Value": v} for k, v in debris.labels("r9", due=3600).items()]
    ec2.create_tags(Resources=[image], Tags=labels)
    try:
        found = of(doctor(), "image")
        assert found.verdict is FAILED
        assert f"{image} is being made" in found.line
        assert found.remedy == "gputx ami list --on sandbox"
    finally:
        ec2.delete_tags(Resources=[image], Tags=labels)


def test_what_may_not_be_looked_at_is_skipped(doctor: Doctor, cli: Cli) -> None:
    for action in ("iam:*", "logs:*", "budgets:*", "scheduler:*"):
        cli.account.add_rule(f"{action} error=AccessDenied")
    report = doctor()
    for name in ("roles", "schedule role", "log groups", "budget"):
        found = of(report, name)
        assert found.verdict is SKIPPED, (name, found)
        assert found.remedy == "gputx iam show doctor --on sandbox"


# leftovers


def test_nothing_left(doctor: Doctor) -> None:
    assert of(doctor(), "leftovers").line == "nothing"


def test_what_runs_past_its_deadline_comes_before_all_else(doctor: Doctor, cli: Cli, debris: Debris) -> None:
    instance = debris.instance(debris.labels("r1"))
    cli.account.advance(5)
    cli.account.add_rule("quota spot=0")
    cli.account.add_rule("quota on-demand=0")
    report = doctor()
    found = of(report, "leftovers")
    assert found.verdict is FAILED
    assert instance in found.line
    assert found.remedy == "gputx reap --on sandbox"
    assert report.ending
    assert report.ending.exit_code is ExitCode.STILL_RUNNING
    assert report.ending.hint == "gputx reap --on sandbox"


def test_what_only_clutters_is_a_warning(doctor: Doctor, debris: Debris) -> None:
    debris.key(debris.labels("r2"), "gputx-r2")
    found = of(doctor(), "leftovers")
    assert found.verdict is WARNING
    assert found.line == "1 thing left over: 1 key pair"
    assert found.facts["due"] == ["gputx-r2"]


def test_a_colleague_s_run_is_no_leftover(doctor: Doctor, debris: Debris) -> None:
    eva = "arn:aws:iam::123456789012:user/eva"
    debris.key(debris.labels("r3", owner=eva, due=3600), "gputx-r3")
    found = of(doctor(), "leftovers")
    assert found.verdict is OK
    assert "1 key pair" in found.line


def test_what_could_not_be_looked_for_is_said(doctor: Doctor, cli: Cli) -> None:
    cli.account.add_rule("DescribeVolumes error=UnauthorizedOperation")
    found = of(doctor(), "leftovers")
    assert found.verdict is WARNING
    assert "volumes" in found.details[0]


# this machine


def test_ssh_gets_out(doctor: Doctor) -> None:
    found = of(doctor(), "SSH outbound")
    assert found.verdict is OK
    assert found.facts["address"] == "127.0.0.1"


def test_an_address_that_instances_would_not_let_in(doctor: Doctor) -> None:
    found = of(doctor(cidrs=("203.0.113.0/24",)), "SSH outbound")
    assert found.verdict is WARNING
    assert found.remedy == "export GPUTX_ALLOW_CIDR=203.0.113.0/24,127.0.0.1/32"
    assert of(doctor(cidrs=("127.0.0.0/8",)), "SSH outbound").verdict is OK


def test_an_address_that_nobody_tells(on_aws: Doctor, keys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gputx.aws.session.CHECKIP", "http://127.0.0.1:9")
    assert of(on_aws(), "SSH outbound").verdict is FAILED
    assert of(on_aws(cidrs=("203.0.113.0/24",)), "SSH outbound").verdict is OK


@pytest.mark.parametrize("default", [None, "ctranslate2"])
def test_the_engine_here(doctor: Doctor, monkeypatch: pytest.MonkeyPatch, default: str | None) -> None:
    lacking = {"default": None, "missing": {"ctranslate2": ["ctranslate2", "tokenizers"]}}
    monkeypatch.setattr(Engines, "SAID", {**Engines.SAID, **({} if default else lacking)})
    found = of(doctor(), "local engine")
    assert found.verdict is (OK if default else SKIPPED)
    doctor.on = "local"
    report = doctor()
    assert [result.name for result in report.results] == ["local engine"]
    assert of(report, "local engine").verdict is (OK if default else FAILED)
    assert json.dumps(dict(of(report, "local engine").facts))
