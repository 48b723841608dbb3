"""A run's own key and security group, and the subnets it may launch in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gputx.aws import tags
from gputx.aws.errors import AwsError, Meaning
from gputx.aws.patience import patiently
from gputx.aws.session import AwsSession
from gputx.errors import ConfigurationError


@dataclass(frozen=True)
class Network:
    """A VPC and its subnets by zone."""

    vpc_id: str
    subnets: dict[str, str]


def find_network(session: AwsSession, subnet: str | None) -> Network:
    """The named subnet's network, or the default VPC with its default subnet in each zone.

    Raises:
        ConfigurationError: the subnet does not exist, or there is no default VPC and none was named.
    """
    if subnet:
        try:
            found = session.call("ec2", "DescribeSubnets", SubnetIds=[subnet])["Subnets"][0]
        except AwsError as error:
            raise ConfigurationError(
                f"subnet {subnet} can't be used: {error.message}",
                hint="name another with --subnet, or none for the default VPC",
            ) from error
        return Network(found["VpcId"], {found["AvailabilityZone"]: found["SubnetId"]})
    subnets = session.pages(
        "ec2", "DescribeSubnets", "Subnets", Filters=[{"Name": "default-for-az", "Values": ["true"]}]
    )
    if not subnets:
        raise ConfigurationError(
            f"there is no default VPC in {session.region}, so gputx can't tell where to launch",
            hint="name a subnet with internet access: --subnet subnet-…, or `aws ec2 create-default-vpc`",
        )
    return Network(subnets[0]["VpcId"], {s["AvailabilityZone"]: s["SubnetId"] for s in subnets})


def resource_name(run_id: str) -> str:
    """The name of a run's key pair and security group."""
    return f"gputx-{run_id}"


def create_group(session: AwsSession, *, stamp: tags.Stamp, vpc_id: str, port: int, cidrs: Sequence[str]) -> str:
    """A security group that lets ``cidrs`` reach ``port`` over TCP and nothing else in. Returns its id."""
    try:
        group: str = session.call(
            "ec2",
            "CreateSecurityGroup",
            GroupName=resource_name(stamp.run_id),
            Description="SSH to one gputx run, deleted with it",
            VpcId=vpc_id,
            TagSpecifications=[tags.specification("security-group", stamp.as_tags())],
        )["GroupId"]
    except AwsError as error:
        # The name is ours alone: it is there because botocore asked again after a lost answer.
        if error.meaning is not Meaning.EXISTS:
            raise
        group = find_belongings(session, stamp.run_id).groups[0][0]

    def authorize() -> None:
        try:
            _authorize(session, group, port, cidrs)
        except AwsError as error:
            if error.meaning is not Meaning.EXISTS:
                raise

    # A group made a moment ago may not be visible yet.
    patiently(session.clock, authorize)
    return group


def _authorize(session: AwsSession, group: str, port: int, cidrs: Sequence[str]) -> None:
    rule = {
        "IpProtocol": "tcp",
        "FromPort": port,
        "ToPort": port,
        "IpRanges": [{"CidrIp": cidr, "Description": "the person who runs gputx"} for cidr in cidrs],
    }
    session.call("ec2", "AuthorizeSecurityGroupIngress", GroupId=group, IpPermissions=[rule])


def open_port(session: AwsSession, *, run_id: str, port: int, cidrs: Sequence[str]) -> None:
    """Let ``cidrs`` reach one more port of a run's instance over TCP. Raises AwsError."""
    for group, _ in find_belongings(session, run_id).groups:
        try:
            _authorize(session, group, port, cidrs)
        except AwsError as error:
            if error.meaning is not Meaning.EXISTS:
                raise


def import_key(session: AwsSession, *, stamp: tags.Stamp, public_openssh: str) -> str:
    """Make the run's public key known to EC2. Returns the key pair's name."""
    name = resource_name(stamp.run_id)
    try:
        session.call(
            "ec2",
            "ImportKeyPair",
            KeyName=name,
            PublicKeyMaterial=public_openssh.encode(),
            TagSpecifications=[tags.specification("key-pair", stamp.as_tags())],
        )
    except AwsError as error:
        # As with the group: it is the same key, from an answer that was lost.
        if error.meaning is not Meaning.EXISTS:
            raise
    return name


def delete_key(session: AwsSession, name: str) -> None:
    """Deleting a key that is not there succeeds in EC2. Raises AwsError."""
    session.call("ec2", "DeleteKeyPair", KeyName=name)


def delete_group(session: AwsSession, group_id: str) -> bool:
    """Delete a security group; False where something still holds it.

    Raises:
        AwsError: anything but "in use" and "gone".
    """
    try:
        session.call("ec2", "DeleteSecurityGroup", GroupId=group_id)
    except AwsError as error:
        if error.meaning is Meaning.GONE:
            return True
        if error.meaning is Meaning.IN_USE:
            return False
        raise
    return True


def move_to_default_group(session: AwsSession, *, instance_id: str, vpc_id: str) -> None:
    """Free a run's group at once: an instance holds its groups until terminated, minutes after shutting-down.

    Raises:
        AwsError: the instance is past moving (then its group is free soon anyway), or the call failed.
    """
    groups = session.call(
        "ec2",
        "DescribeSecurityGroups",
        Filters=[{"Name": "vpc-id", "Values": [vpc_id]}, {"Name": "group-name", "Values": ["default"]}],
    )["SecurityGroups"]
    ids = [group["GroupId"] for group in groups]
    session.call("ec2", "ModifyInstanceAttribute", single_attempt=True, InstanceId=instance_id, Groups=ids)


@dataclass(frozen=True)
class Belongings:
    """Keys and groups that carry our tag: name or id, the run's id, and its deadline."""

    keys: tuple[tuple[str, dict[str, str]], ...]
    groups: tuple[tuple[str, dict[str, str]], ...]


def find_belongings(session: AwsSession, run_id: str | None = None) -> Belongings:
    """The keys and groups of one run, or of all runs. Raises AwsError."""
    mine = [{"Name": f"tag:{tags.RUN}", "Values": [run_id]} if run_id else {"Name": "tag-key", "Values": [tags.RUN]}]
    keys = session.call("ec2", "DescribeKeyPairs", Filters=mine)["KeyPairs"]
    groups = session.pages("ec2", "DescribeSecurityGroups", "SecurityGroups", Filters=mine)
    return Belongings(
        keys=tuple((key["KeyName"], tags.read(key.get("Tags"))) for key in keys),
        groups=tuple((group["GroupId"], tags.read(group.get("Tags"))) for group in groups),
    )
