"""An instance that is launched with a profile has its role: credentials of its own, and what the role may do."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import pytest

from gputx.sandbox.plane.sessions import LIFE_SECONDS

from .lab import Lab, error_of

ROLE = "a-worker"
BUCKET = "transcription-123456789012"
POLICY = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Effect": "Allow",
            "Action": ["s3:GetObject", "s3:PutObject"],
            "Resource": f"arn:aws:s3:::{BUCKET}/results/*/${{aws:userid}}/*",
            "Condition": {"StringEquals": {"aws:ResourceAccount": "${aws:PrincipalAccount}"}},
        }
    ],
}
# Run in the guest: prints what is told of its role, and what it is in the account's eyes by the way it has there.
ASK = """\
import json, os, urllib.request as r
base = os.environ["AWS_EC2_METADATA_SERVICE_ENDPOINT"] + "/latest/"
ttl = {"X-aws-ec2-metadata-token-ttl-seconds": "60"}
token = r.urlopen(r.Request(base + "api/token", method="PUT", headers=ttl)).read().decode()
def ask(path):
    headers = {"X-aws-ec2-metadata-token": token}
    return r.urlopen(r.Request(base + "meta-data/iam/" + path, headers=headers)).read().decode()
roles = ask("security-credentials/")
print(json.dumps({
    "info": json.loads(ask("info")), "roles": roles, "credentials": json.loads(ask("security-credentials/" + roles)),
    "bucket": r.urlopen(r.Request(os.environ["AWS_ENDPOINT_URL"] + "/_sandbox/checkip")).read().decode().strip(),
}))
"""


@pytest.fixture
def profile(lab: Lab) -> Iterator[str]:
    """A profile with a role in it, made as anybody would make them."""
    iam = lab.client("iam")
    role = iam.create_role(RoleName=ROLE, AssumeRolePolicyDocument="{}")["Role"]
    iam.put_role_policy(RoleName=ROLE, PolicyName="p", PolicyDocument=json.dumps(POLICY))
    iam.create_instance_profile(InstanceProfileName=ROLE)
    iam.add_role_to_instance_profile(InstanceProfileName=ROLE, RoleName=ROLE)
    yield str(role["RoleId"])
    iam.remove_role_from_instance_profile(InstanceProfileName=ROLE, RoleName=ROLE)
    iam.delete_instance_profile(InstanceProfileName=ROLE)
    iam.delete_role_policy(RoleName=ROLE, PolicyName="p")
    iam.delete_role(RoleName=ROLE)


def told(lab: Lab, instance_id: str) -> dict[str, Any]:
    answer = lab.ssh(instance_id, f"python3 -c '{ASK}'")
    assert answer.returncode == 0, answer.stderr
    said: dict[str, Any] = json.loads(answer.stdout)
    return said


def bearer(lab: Lab, said: dict[str, Any], **changes: str) -> Callable[[str], Any]:
    """Clients of whoever has these credentials."""
    keys = {
        "aws_access_key_id": said["AccessKeyId"],
        "aws_secret_access_key": said["SecretAccessKey"],
        "aws_session_token": said["Token"],
    }
    return lambda service: lab.client(service, **{**keys, **changes})


def test_a_role_is_what_its_policy_says_until_its_credentials_end(lab: Lab, profile: str) -> None:
    instance_id = lab.boot(IamInstanceProfile={"Name": ROLE})
    said = told(lab, instance_id)
    assert said["roles"] == ROLE
    assert said["info"]["InstanceProfileArn"] == f"arn:aws:iam::123456789012:instance-profile/{ROLE}"
    assert said["bucket"] == "127.0.0.1"  # its way to the account
    credentials = said["credentials"]
    ends = datetime.fromisoformat(credentials["Expiration"]).timestamp()
    assert LIFE_SECONDS - 120 < ends - lab.account.clock.time() <= LIFE_SECONDS

    client = bearer(lab, credentials)
    who = f"{profile}:{instance_id}"
    assert client("sts").get_caller_identity()["UserId"] == who
    own = {"Bucket": BUCKET, "Key": f"results/20261121_141503/{who}/job/a.txt"}
    client("s3").put_object(**own, Body=b"text")
    address = client("s3").generate_presigned_url("get_object", Params=own)
    # Whoever has the address needs nothing else.
    with urllib.request.urlopen(address) as answer:
        assert answer.read() == b"text"

    for refused in (
        lambda: client("s3").put_object(Bucket=BUCKET, Key=f"results/x/{profile}:i-another/a.txt", Body=b""),
        lambda: client("s3").put_object(Bucket=BUCKET, Key="elsewhere", Body=b""),
        lambda: client("s3").delete_object(**own),
        lambda: client("s3").list_objects_v2(Bucket=BUCKET),
    ):
        assert error_of(refused) == ("AccessDenied", 403)
    assert error_of(lambda: client("ec2").terminate_instances(InstanceIds=[instance_id])) == (
        "UnauthorizedOperation",
        403,
    )
    assert error_of(lambda: client("iam").list_roles()) == ("AccessDenied", 403)
    stolen = bearer(lab, credentials, aws_session_token="another")
    assert error_of(lambda: stolen("s3").put_object(**own, Body=b"")) == ("InvalidToken", 403)

    # There are new ones before they end, and the old ones end, with every address they have signed.
    lab.account.advance(LIFE_SECONDS - 300)
    newer = told(lab, instance_id)["credentials"]
    assert newer["AccessKeyId"] != credentials["AccessKeyId"]
    assert client("sts").get_caller_identity()["UserId"] == who
    lab.account.advance(301)
    assert error_of(lambda: client("s3").put_object(**own, Body=b"")) == ("ExpiredToken", 400)
    assert error_of(lambda: client("sts").get_caller_identity()) == ("ExpiredToken", 403)
    bearer(lab, newer)("s3").put_object(**own, Body=b"text")
    lab.client("s3").delete_object(**own)
