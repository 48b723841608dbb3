"""Launching one instance: one attempt per pool, in order, until one gives capacity.

The request is built by a pure function. Each attempt has a token of its own, because a ClientToken is zonal:
the same token with another zone would launch a second instance.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from gputx.aws import quotas, tags
from gputx.aws.errors import AwsError, Meaning
from gputx.aws.instances import find, from_description
from gputx.aws.patience import patiently
from gputx.aws.session import AwsSession
from gputx.clock import Stop
from gputx.errors import CapacityError, ConfigurationError
from gputx.models import Attempt, Image, Instance, Market, Pool

_DISK_GB = 30

_DENYING = frozenset({Meaning.NEXT_POOL, Meaning.NO_MORE_SPOT, Meaning.NO_SPOT_YET, Meaning.QUOTA})


@dataclass(frozen=True)
class LaunchPlan:
    """All of a launch that does not depend on the pool."""

    stamp: tags.Stamp
    image: Image
    key_name: str
    group_id: str
    subnets: dict[str, str]
    user_data: str
    profile: str | None = None
    """The name of an instance profile, whose role the instance has then; None: it has no credentials at all."""
    disk_gb: int = 0
    """The least size of the disk; never below 30 GB, or below its image."""
    volume_rate: int | None = None
    """MiB a second, 100 to 300, at which EBS fills the disk from its snapshot, at a price; None: as it is read.
    Source: EbsBlockDevice.VolumeInitializationRate in EC2's API reference."""


def run_instances_request(plan: LaunchPlan, pool: Pool, token: str) -> dict[str, Any]:
    """The parameters of RunInstances.

    IMDSv2 only with one hop; an encrypted 30 GB gp3 disk (3000 IOPS, 125 MB/s: gp3's baseline, so free of
    charge beyond its size) that goes with the instance; power-off means terminate; tags on all that is made.
    """
    labels = plan.stamp.as_tags()
    request: dict[str, Any] = {
        "ImageId": plan.image.id,
        "InstanceType": pool.instance_type,
        "MinCount": 1,
        "MaxCount": 1,
        "ClientToken": token,
        "KeyName": plan.key_name,
        "UserData": plan.user_data,
        "Placement": {"AvailabilityZone": pool.zone},
        "InstanceInitiatedShutdownBehavior": "terminate",
        "MetadataOptions": {
            "HttpTokens": "required",
            "HttpPutResponseHopLimit": 1,
            "HttpEndpoint": "enabled",
        },
        "NetworkInterfaces": [
            {
                "DeviceIndex": 0,
                "SubnetId": plan.subnets[pool.zone],
                "Groups": [plan.group_id],
                "AssociatePublicIpAddress": True,
                "DeleteOnTermination": True,
            }
        ],
        "BlockDeviceMappings": [
            {
                "DeviceName": plan.image.root_device,
                "Ebs": {
                    "VolumeType": "gp3",
                    "VolumeSize": max(_DISK_GB, plan.image.root_gb, plan.disk_gb),
                    "Iops": 3000,
                    "Throughput": 125,
                    "Encrypted": True,
                    "DeleteOnTermination": True,
                    **({"VolumeInitializationRate": plan.volume_rate} if plan.volume_rate else {}),
                },
            }
        ],
        "TagSpecifications": [tags.specification(kind, labels) for kind in ("instance", "volume", "network-interface")],
    }
    if plan.profile is not None:
        request["IamInstanceProfile"] = {"Name": plan.profile}
    if pool.market is Market.SPOT:
        request["InstanceMarketOptions"] = {
            "MarketType": "spot",
            "SpotOptions": {"SpotInstanceType": "one-time", "InstanceInterruptionBehavior": "terminate"},
        }
        request["TagSpecifications"].append(tags.specification("spot-instances-request", labels))
    return request


def launch(
    session: AwsSession,
    plan: LaunchPlan,
    pools: Iterable[Pool],
    *,
    stop: Stop,
    before: Callable[[str], None],
    sending: Callable[[str], None],
    after: Callable[[Attempt, str], None],
) -> Instance:
    """Try the pools in order; the first instance ends it.

    Args:
        before: told the token of each attempt before anything is sent, so that whoever ends the run can look for it.
        sending: told the token when the very next thing is the call.
        after: told how each attempt went, with its token.

    Raises:
        CapacityError: every pool was tried, or a quota forbids it.
        AwsError: a fatal answer, or one that stayed lost (the instance may exist: look for it by its token).
    """
    spot_is_over = False
    meanings: set[Meaning] = set()
    codes: list[str] = []
    last = ""
    for pool in pools:
        if pool.zone not in plan.subnets or (spot_is_over and pool.market is Market.SPOT):
            continue
        stop.check()
        last = pool.instance_type
        start = session.clock.time()
        token = uuid.uuid4().hex
        before(token)
        try:
            instance = _ask(session, run_instances_request(plan, pool, token), plan.stamp.run_id, stop, sending)
        except AwsError as error:
            codes.append(error.code)
            meanings.add(error.meaning)
            outcome = "no answer" if error.lost else error.meaning.value
            end = session.clock.time()
            after(Attempt(pool, error.code, error.message, outcome, start, end, answered=not error.lost), token)
            if error.meaning in {Meaning.NO_MORE_SPOT, Meaning.NO_SPOT_YET}:
                spot_is_over = True
            elif error.meaning is Meaning.QUOTA:
                raise quotas.refused(session, pool.market, pool.instance_type) from error
            elif error.meaning is not Meaning.NEXT_POOL:
                raise
            continue
        after(Attempt(pool, None, "", "launched", start, session.clock.time()), token)
        return instance
    if meanings == {Meaning.NO_MORE_SPOT}:
        raise quotas.refused(session, Market.SPOT, last)
    raise CapacityError(
        f"no pool had capacity ({', '.join(dict.fromkeys(codes)) or 'no subnet in any of their zones'})",
        hint="try again in a few minutes, allow --market auto, or more --instance-type and --zone",
    )


def _ask(
    session: AwsSession, request: dict[str, Any], run_id: str, stop: Stop, sending: Callable[[str], None]
) -> Instance:
    """Send one launch; where AWS is busy or the answer got lost, send it again with the same token.

    Only this process does that, and only within these seconds: after a crash nobody resends a launch. A key or
    group made a moment ago may not be visible to the launch yet; that is asked again, too.

    Raises:
        AwsError: the last answer; ``lost`` if any of the tries may have launched and no later one denied it. A try
            that was refused for its credentials, or never left this machine, denies nothing.
    """
    token = request["ClientToken"]
    may_exist = False

    def once() -> Instance:
        nonlocal may_exist
        sending(token)
        try:
            answer = session.call("ec2", "RunInstances", single_attempt=True, **request)
            return from_description(answer["Instances"][0])
        except AwsError as error:
            may_exist = may_exist or error.lost
            if error.lost and (found := _visible(session, run_id, token)):
                return found
            # Only what says that there is no capacity for it denies that this token has launched.
            if error.meaning not in _DENYING:
                error.lost = may_exist
            raise
        except ConfigurationError as error:
            # There are no credentials to send it with; an earlier try may have been sent.
            raise AwsError(
                error.message, code="NoCredentials", meaning=Meaning.CREDENTIALS, lost=may_exist, hint=error.hint
            ) from error

    return patiently(session.clock, once, stop=stop)


def _visible(session: AwsSession, run_id: str, token: str) -> Instance | None:
    """An instance that shows up under the token needs no second request; that it does not proves nothing."""
    try:
        found = find(session, run_id=run_id, token=token)
    except AwsError:
        return None
    return found[0] if found else None
