"""Going on with a builder that was kept: it is ours again, and ends with us."""

from __future__ import annotations

from dataclasses import dataclass

from gputx.ami.recipe import Recipe
from gputx.aws import identity, instances, tags
from gputx.aws.custody import AccountCustody
from gputx.aws.session import AwsSession
from gputx.errors import GputxError, InputError
from gputx.lease.guard import Guard
from gputx.lease.record import RunRecord
from gputx.models import Instance
from gputx.workflows.hosts.machine import KEEP_FILE, Machine
from gputx.workflows.kept_builders import KeptBuilders, Record
from gputx.workflows.place import Place
from gputx.workflows.story import Story


@dataclass(frozen=True)
class Resumed:
    """A builder to go on with."""

    record: Record

    @classmethod
    def find(cls, kept: KeptBuilders, session: AwsSession, recipe: Recipe) -> Resumed:
        """The one that was kept last for this recipe's profile.

        Raises:
            InputError: there is none.
            ConfigurationError: there are no credentials.
        """
        account = identity.whoami(session).account
        now = session.clock.time()
        record = kept.newest(account=account, region=session.region, profile=recipe.profile.name, now=now)
        if record is None:
            raise InputError(
                f"there is no builder of profile {recipe.profile.name} in {session.region} to go on with",
                hint="one is kept where a step fails under --keep-on-failure 2h; without --resume a new one is made",
            )
        return cls(record)

    def guard(self, place: Place, story: Story) -> Guard:
        """The guard of what the journal has open of it.

        Raises:
            ConfigurationError: another gputx is at work on it.
        """
        session, journal = place.session, place.journal
        record = RunRecord(
            journal,
            account=self.record.account,
            region=session.region,
            run_id=self.record.run_id,
            deadline=self.record.until,
            say=story.warn,
        )
        guard = Guard(record=record, custody=AccountCustody(session), clock=session.clock, say=story.note)
        guard.resume(journal.unfinished(self.record.account, session.region, self.record.run_id))
        record.take_back()
        return guard

    def take_back(self, session: AwsSession, guard: Guard, stamp: tags.Stamp) -> Instance:
        """Say in the account that it is at work again.

        Raises:
            GputxError: it has ended meanwhile.
        """
        instance = instances.describe(session, self.record.instance_id)
        if instance is None or not instance.live:
            raise GputxError(
                f"the builder {self.record.instance_id} has ended meanwhile", hint="build again, without --resume"
            )
        guard.launched(instance)
        instances.label(session, instance.id, {tags.PURPOSE: stamp.as_tags()[tags.PURPOSE]})
        instances.tell_alive(session, instance.id)
        return instance

    @staticmethod
    def wake(machine: Machine) -> None:
        """From here on it lives as long as its client is heard, as any other. Raises GputxError."""
        machine.connection.run(f"rm -f {KEEP_FILE}")
