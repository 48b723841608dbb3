"""Instances as hosts: reached over SSH, powered off from inside, interrupted, rebooted, ended."""

from __future__ import annotations

import shutil

import pytest

from .lab import PENDING, SHUTTING_DOWN, Lab, wait_for

needs_openssh = pytest.mark.skipif(shutil.which("ssh") is None, reason="needs an OpenSSH client")
pytestmark = needs_openssh


def test_user_data_runs_and_the_console_shows_it_with_the_host_key(lab: Lab) -> None:
    instance_id = lab.boot(UserData="#!/bin/sh\necho hello from user-data\n")

    def console() -> str:
        return str(lab.ec2.get_console_output(InstanceId=instance_id)["Output"])

    wait_for(lambda: "hello from user-data" in console())
    assert "-----BEGIN SSH HOST KEY KEYS-----\nssh-ed25519 " in console()


def test_only_the_key_pair_s_key_and_the_image_s_user_get_in(lab: Lab) -> None:
    instance_id = lab.boot()
    address = lab.row(instance_id)["public_ip"]
    assert lab.openssh("ssh", f"ubuntu@{address}", "echo $((6 * 7))").stdout == "42\n"
    assert lab.openssh("ssh", f"root@{address}", "true").returncode != 0
    other = lab.directory / "other-key"
    other.unlink(missing_ok=True)
    other.write_text(lab.ec2.create_key_pair(KeyName="other", KeyType="ed25519")["KeyMaterial"])
    other.chmod(0o600)
    refused = lab.openssh("ssh", "-o", "IdentitiesOnly=yes", "-i", str(other), f"ubuntu@{address}", "true")
    # The lab's own key is offered too: the point is that the host knows one key, the launch's.
    assert refused.returncode == 0
    (lab.directory / "lab-key").rename(lab.directory / "away")
    other.rename(lab.directory / "lab-key")
    try:
        assert "Permission denied" in lab.openssh("ssh", f"ubuntu@{address}", "true").stderr
    finally:
        (lab.directory / "away").replace(lab.directory / "lab-key")


@pytest.mark.parametrize("command", ["sudo shutdown -h now", "sudo systemctl poweroff", "sudo poweroff"])
def test_power_off_terminates_where_the_launch_said_so(lab: Lab, command: str) -> None:
    instance_id = lab.boot()
    lab.ssh(instance_id, command)
    wait_for(lambda: lab.state(instance_id) == "shutting-down")
    lab.account.advance(SHUTTING_DOWN)
    row = lab.row(instance_id)
    assert (row["state"], row["reason"]) == ("terminated", "Client.InstanceInitiatedShutdown")


def test_power_off_stops_where_the_launch_did_not(lab: Lab) -> None:
    instance_id = lab.boot(InstanceMarketOptions=None, InstanceInitiatedShutdownBehavior="stop")
    assert lab.ssh(instance_id, "echo kept > note").returncode == 0
    lab.ssh(instance_id, "sudo shutdown now")
    wait_for(lambda: lab.state(instance_id) == "stopping")
    lab.account.advance(SHUTTING_DOWN)
    assert lab.state(instance_id) == "stopped"
    lab.ec2.start_instances(InstanceIds=[instance_id])
    lab.account.advance(PENDING)
    wait_for(lambda: lab.ssh(instance_id, "cat note").stdout == "kept\n")


def test_halt_does_not_terminate(lab: Lab) -> None:
    instance_id = lab.boot()
    lab.ssh(instance_id, "sudo halt")
    wait_for(lambda: lab.row(instance_id)["halted"])
    assert lab.state(instance_id) == "running"
    assert lab.ssh(instance_id, "true").returncode == 255
    lab.account.advance(3600)
    assert lab.state(instance_id) == "running"


def test_a_deadline_fires_when_the_clock_reaches_it(lab: Lab) -> None:
    instance_id = lab.boot()
    assert lab.ssh(instance_id, "sudo shutdown -h +120").returncode == 0
    lab.account.advance(7000)
    assert lab.ssh(instance_id, "true").returncode == 0
    lab.account.advance(250)
    wait_for(lambda: lab.state(instance_id) == "shutting-down")


def test_reboot_keeps_the_disk_and_the_address(lab: Lab) -> None:
    instance_id = lab.boot()
    assert lab.ssh(instance_id, "echo kept > note; touch /run/until-reboot").returncode == 0
    lab.ec2.reboot_instances(InstanceIds=[instance_id])
    wait_for(lambda: lab.ssh(instance_id, "cat note; ls /run/until-reboot").stdout == "kept\n")
    assert lab.state(instance_id) == "running"


def test_a_guest_sees_its_interruption_coming(lab: Lab) -> None:
    instance_id = lab.boot()
    ask = (
        "python3 -c \"import os, urllib.request as r; e = os.environ['AWS_EC2_METADATA_SERVICE_ENDPOINT'];"
        "t = r.urlopen(r.Request(e + '/latest/api/token', method='PUT',"
        " headers={'X-aws-ec2-metadata-token-ttl-seconds': '60'})).read().decode();"
        "print(r.urlopen(r.Request(e + '/latest/meta-data/{path}',"
        " headers={'X-aws-ec2-metadata-token': t})).read().decode())\""
    )
    assert lab.ssh(instance_id, ask.replace("{path}", "instance-id")).stdout.strip() == instance_id
    for nothing in ("spot/instance-action", "iam/info", "iam/security-credentials/"):
        assert "404" in lab.ssh(instance_id, ask.replace("{path}", nothing)).stderr
    lab.account.add_rule(f"interrupt instance={instance_id} after=10s")
    lab.account.advance(11)
    notice = wait_for(lambda: lab.ssh(instance_id, ask.replace("{path}", "spot/instance-action")).stdout)
    assert '"action": "terminate"' in notice
    lab.account.advance(120)
    assert lab.row(instance_id)["reason"] == "Server.SpotInstanceTermination"


def test_a_key_deleted_after_the_launch_still_opens_the_instance(lab: Lab) -> None:
    path = lab.directory / "brief-key"
    path.write_text(lab.ec2.create_key_pair(KeyName="brief", KeyType="ed25519")["KeyMaterial"])
    path.chmod(0o600)
    instance_id = lab.launch(KeyName="brief")
    lab.ec2.delete_key_pair(KeyName="brief")
    lab.account.advance(PENDING)
    there = f"ubuntu@{lab.row(instance_id)['public_ip']}"
    wait_for(lambda: lab.openssh("ssh", "-i", str(path), there, "true").returncode == 0)


def test_files_go_by_scp_and_sftp(lab: Lab) -> None:
    instance_id = lab.boot()
    address = lab.row(instance_id)["public_ip"]
    source = lab.directory / "från mig.bin"
    source.write_bytes(bytes(range(256)) * 8192)
    assert lab.openssh("scp", str(source), f"ubuntu@{address}:in.bin").returncode == 0
    batch = lab.directory / "batch"
    back = lab.directory / "back.bin"
    batch.write_text(f'get in.bin "{back}"\n')
    assert lab.openssh("sftp", "-b", str(batch), f"ubuntu@{address}").returncode == 0
    assert back.read_bytes() == source.read_bytes()


def test_nothing_of_an_instance_outlives_it(lab: Lab) -> None:
    instance_id = lab.boot()
    assert lab.ssh(instance_id, "nohup sleep 54321 >/dev/null 2>&1 &").returncode == 0
    lab.ec2.terminate_instances(InstanceIds=[instance_id])
    lab.account.advance(SHUTTING_DOWN)
    assert lab.state(instance_id) == "terminated"
    assert lab.ssh(instance_id, "true").returncode == 255
    assert not (lab.account.state_dir / "guests" / instance_id / "disk").exists()


def test_a_guest_cannot_touch_the_host(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> None:
    outside = tmp_path_factory.mktemp("outside")
    (outside / "precious").write_text("here")
    outside.chmod(0o777)
    instance_id = lab.boot()
    environment = lab.ssh(instance_id, "env").stdout
    assert "HOME=/home/ubuntu\n" in environment
    assert "PYTEST" not in environment
    assert "AWS_ACCESS" not in environment
    lab.ssh(instance_id, f"echo x > {outside}/written; rm -rf {outside} /home/* /root/* /tmp/*")
    lab.ssh(instance_id, "kill -9 -1; sudo kill -9 -1")
    assert (outside / "precious").read_text() == "here"
    assert not (outside / "written").exists()
    # Whoever kills everything on a host has no host; EC2 has no opinion about that.
    assert lab.account.status()["instances"][instance_id] == "running"
