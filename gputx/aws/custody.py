"""The account as the lease sees it: the few calls that find and end what a run made."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from gputx.aws import instances, network, removal, schedule, tags
from gputx.aws.inventory import Inventory
from gputx.aws.session import AwsSession
from gputx.errors import ConfigurationError
from gputx.models import Instance, Kind


class AccountCustody:
    """Implements ``gputx.lease.custody.Custody`` on EC2."""

    def __init__(self, session: AwsSession) -> None:
        # The guard asks again by itself, and wants to know soon.
        self._session = session.single_minded()

    def instances(self, run_id: str) -> Sequence[Instance]:
        return instances.find(self._session, run_id=run_id)

    def terminate(self, instance_id: str) -> bool:
        return instances.terminate(self._session, instance_id)

    def disowned(self, instance_id: str) -> bool:
        seen = instances.describe(self._session, instance_id)
        return seen is not None and seen.live and not seen.tags.get(tags.RUN)

    def ending_command(self, instance_id: str) -> str:
        return f"aws ec2 terminate-instances --region {self._session.region} --instance-ids {instance_id}"

    def delete_key(self, run_id: str) -> None:
        network.delete_key(self._session, network.resource_name(run_id))

    def release_group(self, instance: Instance) -> bool:
        if instance.vpc_id and instance.live:
            network.move_to_default_group(self._session, instance_id=instance.id, vpc_id=instance.vpc_id)
        return True

    def delete_groups(self, run_id: str) -> bool:
        groups = network.find_belongings(self._session, run_id).groups
        deleted = [network.delete_group(self._session, group) for group, _ in groups]
        return all(deleted)

    def delete_schedule(self, run_id: str) -> None:
        schedule.delete(self._session, schedule.name_of(run_id))

    def delete_images(self, run_id: str) -> int:
        unfinished = Inventory(self._session).leftovers((Kind.IMAGE, Kind.SNAPSHOT))
        mine = [thing for thing in unfinished if thing.run_id == run_id]
        for thing in mine:  # images first: a snapshot is held by the image that is made of it
            removal.remove(self._session, thing)
        return len(mine)

    def renew(self) -> None:
        # Nothing to be had now is no news: the next call says so again.
        with contextlib.suppress(ConfigurationError):
            self._session.renew()
