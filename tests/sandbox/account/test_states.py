"""The life of an instance on the clock, and what each state allows."""

from __future__ import annotations

from typing import Any

from .lab import LAG, PENDING, SHUTTING_DOWN, Lab, error_of


def _described(lab: Lab, instance_id: str) -> dict[str, Any]:
    instances: dict[str, Any] = lab.ec2.describe_instances(InstanceIds=[instance_id])["Reservations"][0]
    return instances["Instances"][0]  # type: ignore[no-any-return]


def test_states_follow_the_clock(lab: Lab) -> None:
    instance_id = lab.launch()
    lab.account.advance(PENDING - 30)
    assert lab.state(instance_id) == "pending"
    lab.account.advance(30)
    assert lab.state(instance_id) == "running"
    (change,) = lab.ec2.terminate_instances(InstanceIds=[instance_id])["TerminatingInstances"]
    assert (change["PreviousState"]["Name"], change["CurrentState"]["Name"]) == ("running", "shutting-down")
    lab.account.advance(SHUTTING_DOWN - 30)
    assert _described(lab, instance_id)["State"] == {"Code": 32, "Name": "shutting-down"}
    lab.account.advance(30)
    ended = _described(lab, instance_id)
    assert ended["State"] == {"Code": 48, "Name": "terminated"}
    assert ended["StateReason"]["Code"] == "Client.UserInitiatedShutdown"
    assert "PublicIpAddress" not in ended


def test_a_long_turn_of_the_clock_is_as_time_that_passed(lab: Lab) -> None:
    instance_id = lab.launch()
    lab.account.add_rule("interrupt any after=60s notice=120s")
    lab.account.advance(100_000)
    since = lab.row(instance_id)["since"]
    assert since["running"] - since["pending"] == PENDING
    assert since["terminated"] - since["shutting-down"] == SHUTTING_DOWN


def test_a_pending_instance_can_be_terminated(lab: Lab) -> None:
    instance_id = lab.launch()
    lab.ec2.terminate_instances(InstanceIds=[instance_id])
    lab.account.advance(PENDING + SHUTTING_DOWN)
    row = lab.row(instance_id)
    assert row["state"] == "terminated"
    assert "running" not in row["since"]


def test_terminating_twice_is_no_error(lab: Lab) -> None:
    instance_id = lab.launch()
    lab.ec2.terminate_instances(InstanceIds=[instance_id])
    lab.account.advance(SHUTTING_DOWN)
    (change,) = lab.ec2.terminate_instances(InstanceIds=[instance_id])["TerminatingInstances"]
    assert change["CurrentState"]["Name"] == "terminated"


def test_one_bad_id_terminates_none(lab: Lab) -> None:
    instance_id = lab.launch()
    ids = [instance_id, "i-0123456789abcdef0"]
    assert error_of(lambda: lab.ec2.terminate_instances(InstanceIds=ids)) == (
        "InvalidInstanceID.NotFound",
        400,
    )
    assert lab.state(instance_id) == "pending"


def test_the_dead_do_not_rise(lab: Lab) -> None:
    instance_id = lab.launch()
    lab.ec2.terminate_instances(InstanceIds=[instance_id])
    for _ in range(2):
        for call in (lab.ec2.start_instances, lab.ec2.reboot_instances):
            assert error_of(lambda call=call: call(InstanceIds=[instance_id]))[0] == "IncorrectInstanceState"
        lab.account.advance(SHUTTING_DOWN)
    assert lab.state(instance_id) == "terminated"


def test_an_on_demand_instance_stops_and_starts(lab: Lab) -> None:
    instance_id = lab.launch_running(InstanceMarketOptions=None)
    lab.ec2.stop_instances(InstanceIds=[instance_id])
    assert lab.state(instance_id) == "stopping"
    lab.account.advance(SHUTTING_DOWN)
    assert lab.state(instance_id) == "stopped"
    assert lab.account.table()["volumes"]
    start = lambda: lab.ec2.start_instances(InstanceIds=[instance_id])  # noqa: E731
    lab.account.add_rule("pool zone=eu-north-1a market=on-demand no-capacity times=1")
    assert error_of(start) == ("InsufficientInstanceCapacity", 500)
    full = lab.account.add_rule("quota on-demand=3")
    assert error_of(start) == ("VcpuLimitExceeded", 400)
    lab.account.remove_rule(full["id"])
    start()
    assert lab.state(instance_id) == "pending"
    lab.account.advance(PENDING)
    assert lab.state(instance_id) == "running"


def test_disks_go_with_the_instance_unless_told_to_stay(lab: Lab) -> None:
    kept = {"DeviceName": "/dev/sdb", "Ebs": {"VolumeSize": 5, "DeleteOnTermination": False}}
    gone = {"DeviceName": "/dev/sda1", "Ebs": {"VolumeSize": 30}}
    instance_id = lab.launch(BlockDeviceMappings=[gone, kept])
    assert len(lab.account.table()["volumes"]) == 2
    lab.ec2.terminate_instances(InstanceIds=[instance_id])
    lab.account.advance(SHUTTING_DOWN)
    (volume,) = lab.account.table()["volumes"]
    assert (volume["size"], volume["state"]) == (5, "available")
    lab.ec2.delete_volume(VolumeId=volume["volume_id"])


def test_an_hour_after_its_end_an_instance_is_no_longer_described(lab: Lab) -> None:
    instance_id = lab.launch()
    lab.ec2.terminate_instances(InstanceIds=[instance_id])
    lab.account.advance(SHUTTING_DOWN + 3500)
    assert _described(lab, instance_id)["State"]["Name"] == "terminated"
    lab.account.advance(200)
    code, _ = error_of(lambda: lab.ec2.describe_instances(InstanceIds=[instance_id]))
    assert code == "InvalidInstanceID.NotFound"
    assert lab.state(instance_id) == "terminated"


def test_only_what_exists_can_be_tagged_and_only_with_keys_of_ones_own(lab: Lab) -> None:
    instance_id = lab.launch()
    tag = [{"Key": "run", "Value": "1"}]
    lab.ec2.create_tags(Resources=[instance_id], Tags=tag)
    assert lab.row(instance_id)["tags"] == {"run": "1"}
    nothing = lambda: lab.ec2.create_tags(Resources=["i-0123456789abcdef0"], Tags=tag)  # noqa: E731
    assert error_of(nothing)[0] == "InvalidInstanceID.NotFound"
    reserved = lambda: lab.ec2.create_tags(Resources=[instance_id], Tags=[{"Key": "aws:x", "Value": ""}])  # noqa: E731
    assert error_of(reserved)[0] == "InvalidParameterValue"


def test_an_instance_is_of_one_region_and_its_id_of_one_form(lab: Lab) -> None:
    instance_id = lab.launch()
    elsewhere = lab.client("ec2", region_name="eu-west-1")
    for call in (
        lambda client, i: client.get_console_output(InstanceId=i),
        lambda client, i: client.modify_instance_attribute(InstanceId=i, Groups=["sg-0123456789abcdef0"]),
        lambda client, i: client.terminate_instances(InstanceIds=[i]),
        lambda client, i: client.create_tags(Resources=[i], Tags=[{"Key": "a", "Value": "b"}]),
    ):
        assert error_of(lambda call=call: call(elsewhere, instance_id))[0] == "InvalidInstanceID.NotFound"
        assert error_of(lambda call=call: call(lab.ec2, "i-zzz"))[0] == "InvalidInstanceID.Malformed"


def test_describe_lags_behind_a_launch_and_terminate_does_not(lab: Lab) -> None:
    instance_id = lab.launch(ClientToken="lagging")
    by_token = [{"Name": "client-token", "Values": ["lagging"]}]
    code, _ = error_of(lambda: lab.ec2.describe_instances(InstanceIds=[instance_id]))
    assert code == "InvalidInstanceID.NotFound"
    assert lab.ec2.describe_instances(Filters=by_token)["Reservations"] == []
    by_instance = [{"Name": "instance-id", "Values": [instance_id]}]
    assert lab.ec2.describe_spot_instance_requests(Filters=by_instance)["SpotInstanceRequests"] == []
    lab.account.advance(LAG)
    assert _described(lab, instance_id)["InstanceId"] == instance_id
    assert len(lab.ec2.describe_instances(Filters=by_token)["Reservations"]) == 1
    lab.account.add_rule("lag 500s")
    unseen = lab.launch()
    lab.account.advance(400)
    lab.ec2.terminate_instances(InstanceIds=[unseen])
    assert lab.state(unseen) == "shutting-down"


def test_pages(lab: Lab) -> None:
    launched = {lab.launch(), lab.launch(InstanceMarketOptions=None)}
    lab.account.advance(LAG)
    pages = list(lab.ec2.get_paginator("describe_instances").paginate(PaginationConfig={"PageSize": 5}))
    everything = {i["InstanceId"] for page in pages for r in page["Reservations"] for i in r["Instances"]}
    assert launched <= everything


def test_a_group_in_use_cannot_be_deleted(lab: Lab) -> None:
    group_id = lab.ec2.create_security_group(GroupName="used", Description="for a test")["GroupId"]
    instance_id = lab.launch(SecurityGroupIds=[group_id])
    default = next(g["group_id"] for g in lab.account.table()["security_groups"] if g["default"])
    delete = lambda: lab.ec2.delete_security_group(GroupId=group_id)  # noqa: E731
    assert error_of(delete)[0] == "DependencyViolation"
    lab.ec2.modify_instance_attribute(InstanceId=instance_id, Groups=[default])
    delete()
    assert error_of(delete)[0] == "InvalidGroup.NotFound"


def test_an_ending_instance_can_no_longer_be_moved_out_of_its_group(lab: Lab) -> None:
    group_id = lab.ec2.create_security_group(GroupName="held", Description="for a test")["GroupId"]
    instance_id = lab.launch(SecurityGroupIds=[group_id])
    default = next(g["group_id"] for g in lab.account.table()["security_groups"] if g["default"])
    lab.ec2.terminate_instances(InstanceIds=[instance_id])
    move = lambda: lab.ec2.modify_instance_attribute(InstanceId=instance_id, Groups=[default])  # noqa: E731
    assert error_of(move)[0] == "IncorrectInstanceState"
    assert error_of(lambda: lab.ec2.delete_security_group(GroupId=group_id))[0] == "DependencyViolation"


def test_a_group_that_a_rule_or_an_interface_names_cannot_be_deleted(lab: Lab) -> None:
    named, naming = (
        lab.ec2.create_security_group(GroupName=name, Description="for a test")["GroupId"] for name in ("a", "b")
    )
    delete = lambda: lab.ec2.delete_security_group(GroupId=named)  # noqa: E731
    rule = [{"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "UserIdGroupPairs": [{"GroupId": named}]}]
    # A group may name itself.
    lab.ec2.authorize_security_group_ingress(GroupId=named, IpPermissions=rule)
    lab.ec2.authorize_security_group_ingress(GroupId=naming, IpPermissions=rule)
    assert error_of(delete)[0] == "DependencyViolation"
    lab.ec2.revoke_security_group_ingress(GroupId=naming, IpPermissions=rule)
    subnet_id = lab.ec2.describe_subnets()["Subnets"][0]["SubnetId"]
    interface = lab.ec2.create_network_interface(SubnetId=subnet_id, Groups=[named])["NetworkInterface"]
    assert error_of(delete)[0] == "DependencyViolation"
    lab.ec2.delete_network_interface(NetworkInterfaceId=interface["NetworkInterfaceId"])
    delete()
    default = next(g["group_id"] for g in lab.account.table()["security_groups"] if g["default"])
    assert error_of(lambda: lab.ec2.delete_security_group(GroupId=default))[0] == "CannotDelete"


def test_a_group_is_free_once_its_instance_has_terminated(lab: Lab) -> None:
    group_id = lab.ec2.create_security_group(GroupName="freed", Description="for a test")["GroupId"]
    instance_id = lab.launch(SecurityGroupIds=[group_id])
    lab.ec2.terminate_instances(InstanceIds=[instance_id])
    lab.account.advance(SHUTTING_DOWN)
    lab.ec2.delete_security_group(GroupId=group_id)
    assert group_id not in {group["group_id"] for group in lab.account.table()["security_groups"]}
