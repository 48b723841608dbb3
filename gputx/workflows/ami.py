"""``gputx ami``: the images of an account, and taking them away with their snapshots."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from gputx.aws import identity, image_making, image_shelf, regions, tags
from gputx.aws.custody import AccountCustody
from gputx.aws.errors import AwsError
from gputx.aws.image_shelf import Shelved
from gputx.aws.session import AwsSession
from gputx.clock import Stop
from gputx.errors import ConfigurationError, GputxError, InputError
from gputx.events import EventStream
from gputx.lease.guard import Guard
from gputx.lease.record import RunRecord
from gputx.models import Kind
from gputx.workflows.naming import run_id
from gputx.workflows.place import Place, open_place
from gputx.workflows.story import Story

COPYING_SECONDS = 2 * 3600.0
"""A snapshot of some ten GB takes minutes from one region to another; one that takes hours is given up."""

_COPY_LIFE_SECONDS = 3 * 3600.0


@dataclass(frozen=True)
class AmiPlace:
    """The account: ``on`` is "aws" or "sandbox"."""

    on: str
    region: str
    profile: str | None


@dataclass
class Pruned:
    """What was taken away, or in a rehearsal would be, and what could not be."""

    due: list[Shelved]
    kept: list[Shelved]
    dry_run: bool
    gone: list[Shelved] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    """Image id → why."""

    @property
    def ending(self) -> GputxError | None:
        if not self.failed:
            return None
        return GputxError(
            f"{len(self.failed)} image{'s' * (len(self.failed) > 1)} could not be taken away",
            details=tuple(f"{id_}: {why}" for id_, why in self.failed.items()),
            hint="gputx ami prune again, or gputx reap: what was begun is finished by either",
        )


def images(where: AmiPlace) -> list[Shelved]:
    """All images of the region with a tag of ours, newest first. Raises GputxError."""
    with open_place(where.on, region=where.region, profile=where.profile) as place:
        return image_shelf.shelf(place.session)


def chosen(found: Iterable[Shelved]) -> Shelved | None:
    """The one that `gputx run` boots where none is named."""
    return next((image for image in found if image.usable), None)


def find(found: Sequence[Shelved], wanted: str) -> Shelved:
    """An image by id, name, or ``latest``.

    Raises:
        ConfigurationError: there is none.
    """
    if wanted == "latest":
        image = chosen(found)
    else:
        image = next((image for image in found if wanted in {image.id, image.name}), None)
    if image is None:
        what = "no image to run on" if wanted == "latest" else f"no gputx image {wanted}"
        raise ConfigurationError(f"there is {what} in this account and region", hint="gputx ami list; gputx build-ami")
    return image


def prune(
    where: AmiPlace,
    keep: int,
    events: EventStream,
    stop: Stop,
    *,
    dry_run: bool,
    only: frozenset[str] | None = None,
) -> Pruned:
    """Take away all built images but the newest so many of each profile. Those that are being made are left alone.

    Args:
        only: ids that a person has seen and agreed to; None for whatever is due.

    Raises:
        GputxError: the images can't be looked for.
    """
    with open_place(where.on, region=where.region, profile=where.profile) as place:
        story = Story(events, place.session.clock)
        due, kept = _due(image_shelf.shelf(place.session), keep)
        due = [image for image in due if only is None or image.id in only]
        pruned = Pruned(due, kept, dry_run)
        if dry_run:
            return pruned
        for image in due:
            stop.check()
            try:
                with story.phase("prune", image.id) as phase:
                    image_shelf.take_away(place.session, image)
                    phase.detail = f"{image.id} and {len(image.snapshots)} snapshot{'s' * (len(image.snapshots) != 1)}"
            except AwsError as error:
                pruned.failed[image.id] = error.message
            else:
                pruned.gone.append(image)
        return pruned


def _due(found: Sequence[Shelved], keep: int) -> tuple[list[Shelved], list[Shelved]]:
    due: list[Shelved] = []
    kept: list[Shelved] = []
    counts: dict[str, int] = {}
    for image in found:  # newest first
        if not image.built_here or image.unfinished is not None:
            continue  # not ours to take away, or somebody's at work: that is for `gputx reap`
        counts[image.profile] = counts.get(image.profile, 0) + 1
        (kept if counts[image.profile] <= keep else due).append(image)
    return due, kept


@dataclass(frozen=True)
class Copied:
    """A copy; ``found`` says that it was there already."""

    source: str
    region: str
    image_id: str
    found: bool = False


def copy(where: AmiPlace, wanted: str, to: str, events: EventStream, stop: Stop) -> Copied:
    """Copy a finished image to another region, and see it to its end; what is cut short is undone.

    Raises:
        InputError: it is there already by its region, or the region is none that the account may use.
        ConfigurationError: there is no such image, or it is not finished.
        GputxError: EC2 could not make the copy.
        InterruptedBySignal: a stop was requested.
    """
    with open_place(where.on, region=where.region, profile=where.profile) as place:
        session = place.session
        story = Story(events, session.clock)
        if to == session.region:
            raise InputError(f"the image is in {to} already", hint="name another region: --to eu-west-1")
        if to not in (enabled := regions.enabled(session)):
            raise InputError(f"this account has no region {to!r}", hint=f"one of: {', '.join(sorted(enabled))}")
        image = find(image_shelf.shelf(session), wanted)
        if image.unfinished is not None:
            raise ConfigurationError(f"image {image.id} can't be copied: {image.unfinished}", hint="gputx ami list")
        there = session.elsewhere(to)
        if image.recipe and (same := image_shelf.find_built(there, image.recipe)):
            return Copied(image.id, to, same.id, found=True)
        return Copied(image.id, to, _copied(place, there, image, story, stop))


def _copied(place: Place, there: AwsSession, image: Shelved, story: Story, stop: Stop) -> str:
    who = identity.whoami(there)
    name = f"{run_id(there.clock)}-image"
    record = RunRecord(
        place.journal,
        account=who.account,
        region=there.region,
        run_id=name,
        deadline=there.clock.time() + _COPY_LIFE_SECONDS,
        say=story.warn,
    )
    guard = Guard(record=record, custody=AccountCustody(there), clock=there.clock, say=story.note)
    guard.arm()
    try:
        with story.phase("image", f"copy of {image.id} in {there.region}") as phase:
            stamp = tags.Stamp(
                name, who.arn, started=there.clock.time(), deadline=guard.deadline, journal=guard.journal_id
            )
            inherited = {key: value for key, value in image.labels.items() if key not in stamp.as_tags()}
            # It says what it is only when it is there.
            first = {key: value for key, value in inherited.items() if key != tags.CONTRACT}
            guard.making(Kind.IMAGE, image.name)
            try:
                copied = image_making.copy(
                    there,
                    image_id=image.id,
                    region=image.region,
                    name=image.name,
                    description=f"copy of {image.id} of {image.region}",
                    token=uuid.uuid4().hex,
                    labels={**first, **stamp.as_tags(), "Name": image.name},
                    stop=stop,
                )
            except AwsError as error:
                if not error.lost:
                    guard.refused(Kind.IMAGE)
                raise
            guard.made(Kind.IMAGE, copied)
            phase.detail = f"{copied} in {there.region}, pending"
            made = image_making.wait(there, copied, timeout=COPYING_SECONDS, stop=stop)
            image_making.finish(there, made, {**inherited, "gputx:copy-of": f"{image.region}/{image.id}"})
            guard.finished(Kind.IMAGE)
            phase.detail = f"{copied} in {there.region}"
        return copied
    finally:
        guard.end()
        guard.abandon()
