"""User-data, taken apart and run as cloud-init does."""

from __future__ import annotations

import base64
import gzip
import json

import pytest

from gputx.sandbox.guests.machine.imds import MetadataService
from gputx.sandbox.guests.machine.userdata import parts

from .conftest import Booted, Room, eventually

MIME = (
    b'Content-Type: multipart/mixed; boundary="=="\nMIME-Version: 1.0\n\n'
    b'--==\nContent-Type: text/cloud-config\nContent-Disposition: attachment; filename="c.yaml"\n\n'
    b"runcmd: []\n"
    b"--==\nContent-Type: text/plain\n\n#!/bin/sh\nexit 0\n"
    b"--==\nContent-Type: text/x-shellscript\nContent-Transfer-Encoding: base64\n\n"
    + base64.b64encode(b"#!/bin/sh\nexit 1\n")
    + b"\n--==--\n"
)


@pytest.mark.parametrize(
    ("raw", "kinds"),
    [
        (b"", []),
        (b"#!/bin/sh\n", ["script"]),
        (b"#cloud-config\nruncmd: []\n", ["config"]),
        (b"#cloud-boothook\n#!/bin/sh\n", ["boothook"]),
        (b"hello", ["unknown"]),
        (gzip.compress(b"#!/bin/sh\n", mtime=0), ["script"]),
        (MIME, ["config", "script", "script"]),
        (gzip.compress(MIME, mtime=0), ["config", "script", "script"]),
    ],
)
def test_kinds(raw: bytes, kinds: list[str]) -> None:
    assert [part.kind for part in parts(raw)] == kinds


def test_parts_keep_names_order_and_content() -> None:
    found = parts(MIME)
    assert [part.name for part in found] == ["c.yaml", "part-002", "part-003"]
    assert found[2].content == b"#!/bin/sh\nexit 1\n"


def test_gzip_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="gzip"):
        parts(b"\x1f\x8bnonsense")


def done(machine: Booted) -> str:
    eventually(lambda: "Cloud-init finished" in machine.guest.console(), "cloud-init")
    return machine.guest.console()


def test_stages_run_in_their_order_and_as_root(room: Room) -> None:
    machine = room.boot(
        gzip.compress(
            b"MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n\n"
            b"--b\nContent-Type: text/x-shellscript\n\n#!/bin/sh\necho script $USER >> /var/order\nexit 9\n"
            b"--b\nContent-Type: text/cloud-config\n\n#cloud-config\n"
            b"runcmd:\n- [echo, 'run cmd']\n- echo runcmd >> /var/order\n"
            b"bootcmd:\n- echo bootcmd $INSTANCE_ID >> /var/order\n"
            b"write_files:\n- {path: /etc/x/y, content: aGVq, encoding: b64, permissions: '0600'}\n"
            b"packages: [nginx]\n"
            b"--b\nContent-Type: text/cloud-boothook\n\n#cloud-boothook\n#!/bin/sh\n"
            b"echo boothook $INSTANCE_ID $USER >> /var/order\n--b--\n"
        )
    )
    console = done(machine)
    name = machine.spec.instance_id
    assert machine.run("cat /var/order").out == f"boothook {name} root\nbootcmd {name}\nscript root\nruncmd\n"
    assert machine.run("cat /etc/x/y; stat -c %a /etc/x/y").out == "hej600\n"
    assert "key 'packages' is not known" in console
    assert "part-001 [9]" in console
    assert "run cmd" in machine.run("cat /var/log/cloud-init-output.log").out


def test_sshd_does_not_wait_for_the_script_but_for_the_boothook(room: Room) -> None:
    machine = room.boot(
        b"MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n\n"
        b"--b\nContent-Type: text/cloud-boothook\n\n#cloud-boothook\n"
        b"#!/bin/sh\nsleep 0.5; touch /var/hooked\n"
        b"--b\nContent-Type: text/x-shellscript\n\n#!/bin/sh\nsleep 1000\n--b--\n"
    )
    assert machine.run("ls /var/hooked").status == 0
    assert "Cloud-init finished" not in machine.guest.console()


@pytest.mark.parametrize(
    ("user_data", "complaint"),
    [
        ("hello", "Unhandled"),
        (b"\x1f\x8bnonsense", "not gzip"),
        ("#cloud-config\n{", "Failed loading yaml"),
        ("#cloud-config\nwrite_files: [{content: x}, nonsense]\n", "entry not written"),
        ("#cloud-boothook\necho no interpreter\n", "Failed to run boothook"),
        ("#!/no/such/interpreter\n", "Failed to run script"),
        ("#cloud-config\nssh_keys: {ed25519_private: nonsense}\n", "boot failed"),
    ],
)
def test_bad_user_data_is_told_on_the_console(room: Room, user_data: str | bytes, complaint: str) -> None:
    machine = room.boot(user_data, wait=False)
    eventually(lambda: complaint in machine.guest.console(), complaint, machine.guest.console)
    assert machine.powers.empty()


def test_metadata_from_inside(room: Room) -> None:
    machine = room.boot("#!/bin/sh\n# ours\n")
    machine.guest.set_metadata("spot/instance-action", {"action": "terminate", "time": "2023-11-15T12:02:00Z"})
    program = """
import os, urllib.error, urllib.request as r
base = os.environ["AWS_EC2_METADATA_SERVICE_ENDPOINT"] + "/latest/"
def ask(path, method="GET", **headers):
    try:
        return r.urlopen(r.Request(base + path, method=method, headers=headers)).read().decode()
    except urllib.error.HTTPError as error:
        return error.code
token = ask("api/token", "PUT", **{"X-aws-ec2-metadata-token-ttl-seconds": "60"})
mine = {"X-aws-ec2-metadata-token": token}
import json
print(json.dumps([
  ask("meta-data/instance-id"),
  ask("meta-data/instance-id", **mine),
  ask("meta-data/", **mine),
  ask("meta-data/placement/availability-zone", **mine),
  ask("user-data", **mine),
  ask("meta-data/none", **mine),
  json.loads(ask("meta-data/spot/instance-action", **mine))["action"],
]))
"""
    answers = json.loads(machine.run("python3 -", stdin=program.encode()).out)
    assert answers == [
        401,
        machine.spec.instance_id,
        "instance-id\nplacement/\npublic-keys/\nservices/\nspot/",
        "eu-north-1a",
        "#!/bin/sh\n# ours\n",
        404,
        "terminate",
    ]


def test_metadata_tokens() -> None:
    service = MetadataService({"instance-id": "i-1"}, b"")
    ttl = "x-aws-ec2-metadata-token-ttl-seconds"
    assert service.answer("PUT", "/latest/api/token", {})[0] == 400
    assert service.answer("PUT", "/latest/api/token", {ttl: "0"})[0] == 400
    assert service.answer("GET", "/latest/api/token", {ttl: "9"})[0] == 405
    status, token = service.answer("PUT", "/latest/api/token", {ttl: "21600"})
    assert status == 200
    headers = {"x-aws-ec2-metadata-token": token.decode()}
    assert service.answer("GET", "/latest/meta-data/instance-id", headers) == (200, b"i-1")
    assert service.answer("GET", "/latest/user-data", headers)[0] == 404
    assert service.answer("POST", "/latest/meta-data/instance-id", headers)[0] == 405
    service.set("instance-id", None)
    assert service.answer("GET", "/latest/meta-data/instance-id", headers)[0] == 404


def test_a_forwarded_request_gets_no_token() -> None:
    headers = {"x-aws-ec2-metadata-token-ttl-seconds": "60", "x-forwarded-for": "203.0.113.9"}
    assert MetadataService({}, b"").answer("PUT", "/latest/api/token", headers) == (403, b"")


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("meta-data/services/domain", "amazonaws.com"),
        ("meta-data/public-keys/", "0=mine here"),
        ("meta-data/public-keys/0/", "openssh-key"),
        ("meta-data/public-keys/0/openssh-key", "ssh-ed25519 AAAA mine here"),
        ("meta-data/placement/", "availability-zone"),
    ],
)
def test_metadata_that_is_the_guest_s_own(path: str, expected: str) -> None:
    assert ask({"placement/availability-zone": "eu-north-1a"}, path) == expected


def test_the_identity_document() -> None:
    document = json.loads(ask({"instance-id": "i-1", "ami-id": "ami-1"}, "dynamic/instance-identity/document"))
    assert (document["instanceId"], document["imageId"], document["architecture"]) == ("i-1", "ami-1", "x86_64")


def ask(metadata: dict[str, object], path: str) -> str:
    service = MetadataService(metadata, b"", ("ssh-ed25519 AAAA mine here",))
    _, token = service.answer("PUT", "/latest/api/token", {"x-aws-ec2-metadata-token-ttl-seconds": "60"})
    status, body = service.answer("GET", f"/latest/{path}", {"x-aws-ec2-metadata-token": token.decode()})
    assert status == 200
    return body.decode()
