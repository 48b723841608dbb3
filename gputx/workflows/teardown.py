"""``gputx teardown``: take away what ``gputx setup`` made, and nothing else. The bucket stays unless told."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from gputx.aws import identity, image_shelf, instances, regions
from gputx.aws.bucket import ResultsBucket
from gputx.aws.errors import AwsError, Meaning
from gputx.aws.schedule_group import ScheduleGroup
from gputx.aws.session import AwsSession
from gputx.aws.spot_role import SpotRole
from gputx.clock import Stop
from gputx.errors import GputxError, InterruptedBySignal
from gputx.events import EventStream
from gputx.units import size
from gputx.workflows.place import Place, open_place
from gputx.workflows.reap import Where
from gputx.workflows.settling import settle_earlier
from gputx.workflows.setup_parts import Found, Part, Sighting, Standing, Wanted, look_at, parts
from gputx.workflows.setup_report import Named, Row, SetupReport, Verdict, agreed, row
from gputx.workflows.story import Story

_END_SECONDS = 180.0
"""A GPU instance is seldom shutting down for longer."""
_END_POLL_SECONDS = 3.0


@dataclass(frozen=True)
class TeardownRequest:
    """What to take away.

    Attributes:
        with_bucket: the bucket, too, where it holds nothing that anybody may want.
        with_results: the bucket and all that is in it.
        only: what a person has seen and agreed to; None for whatever is ours.
    """

    dry_run: bool
    bucket: str | None
    instance_role: str
    with_bucket: bool = False
    with_results: bool = False
    only: frozenset[Named] | None = None


@dataclass(frozen=True)
class _Account:
    """What bears on more than one part. ``elsewhere`` are the other regions in which gputx is set up."""

    session: AwsSession
    request: TeardownRequest
    elsewhere: tuple[str, ...]


def teardown(request: TeardownRequest, where: Where, events: EventStream, stop: Stop) -> SetupReport:
    """Take away what is ours, in the opposite order of its making; go on past what can't be.

    Raises:
        ConfigurationError: there are no usable credentials, or the region is none.
        GputxError: instances of gputx run.
        AwsError: AWS does not say who is calling, or what runs.
        InterruptedBySignal: before anything was removed.
    """
    with open_place(where.on, region=where.region, profile=where.profile) as place:
        session, story = place.session, Story(events, place.session.clock)
        if not request.dry_run:
            _settle(place, story, stop)
        with story.phase("account", session.region) as phase:
            account = identity.whoami(session).account
            _refuse_while_something_runs(session)
            stop.check()
            wanted = Wanted(bucket=request.bucket, instance_role=request.instance_role, markets=())
            seen = look_at(session, parts(wanted, account)[::-1])
            here = _Account(session, request, _elsewhere(session, seen))
            images = image_shelf.shelf(session)
            phase.detail = f"{account}, {session.region}"
        stop.check()
        plan = [(sighting.part, it) for sighting in seen if (it := _row(sighting, here))]
        report = SetupReport(where.on, account, session.region, request.dry_run, [it for _, it in plan])
        if images:
            many = len(images) > 1
            report.notes.append(
                f"{len(images)} image{'s' * many} of gputx stay{'s' * (not many)} in {session.region}, with what their "
                "snapshots cost; to take them away: gputx ami prune --keep 0"
            )
        if not request.dry_run:
            _wait_for_ends(plan, session, story, stop)
            _remove(plan, here, story, stop, report)
        report.ending = report.ending or _left(report.rows, request)
    return report


def _settle(place: Place, story: Story, stop: Stop) -> None:
    for line in settle_earlier(place, story.note, stop):
        story.warn(line)


def _refuse_while_something_runs(session: AwsSession) -> None:
    """The schedules and their role are the last lock on an instance."""
    if live := [instance.id for instance in instances.find(session) if instance.live]:
        raise GputxError(
            f"{len(live)} instance{'s' * (len(live) > 1)} of gputx run{'s' * (len(live) == 1)}: {', '.join(live)}",
            hint="gputx ps shows them, gputx reap ends what is yours; then gputx teardown again",
        )


def _wait_for_ends(plan: list[tuple[Part, Row]], session: AwsSession, story: Story, stop: Stop) -> None:
    """Instances that are ending hold the role of spot for a minute or two; past that, its own removal says why."""
    if not any(isinstance(part, SpotRole) and it.due for part, it in plan):
        return
    ending = _ending(session)
    if not ending:
        return
    give_up = session.clock.time() + _END_SECONDS
    with story.phase("ends", ", ".join(ending)) as phase:
        phase.detail = ", ".join(ending)
        while _ending(session) and session.clock.time() < give_up:
            session.clock.sleep(_END_POLL_SECONDS, stop)


def _ending(session: AwsSession) -> list[str]:
    return [instance.id for instance in instances.find(session) if instance.state == "shutting-down"]


def _elsewhere(session: AwsSession, seen: list[Sighting]) -> tuple[str, ...]:
    """Other regions that use what belongs to the whole account; not looked for where none of that is left."""
    if not any(s.part.everywhere and s.found and s.found.ours and s.found.standing in _STANDS for s in seen):
        return ()
    others = [session.elsewhere(name) for name in regions.enabled(session) if name != session.region]
    with ThreadPoolExecutor(_REGIONS_AT_ONCE, thread_name_prefix="region") as together:
        return tuple(other.region for other, used in zip(others, together.map(_is_set_up, others), strict=True) if used)


_REGIONS_AT_ONCE = 8
_STANDS = {Standing.PARTLY, Standing.WHOLE}


def _is_set_up(session: AwsSession) -> bool:
    try:
        found = ScheduleGroup().look(session)
    except AwsError as error:
        # What an organisation forbids in a region holds nothing of gputx.
        if error.meaning is Meaning.DENIED:
            return False
        raise
    return found.standing in _STANDS and found.ours


def _row(sighting: Sighting, here: _Account) -> Row | None:
    """What is to be done about a part, and why; None for what is not there."""
    part, found, region = sighting.part, sighting.found, here.session.region
    if found is None:
        error = sighting.error
        return row(part, region, Verdict.UNSEEN, error.message if error else "", error.hint if error else None)
    if found.standing is Standing.ABSENT:
        return None
    if not found.ours:
        by_hand = f"aws s3 rb s3://{part.name} --force" if isinstance(part, ResultsBucket) else None
        return row(part, region, Verdict.LEFT_ALONE, found.detail, by_hand)
    if isinstance(part, ResultsBucket):
        return _bucket_row(part, found, here)
    if part.everywhere and here.elsewhere:
        there = here.elsewhere[0]
        why = f"gputx is set up in {', '.join(here.elsewhere)}, too"
        return row(part, region, Verdict.KEPT, why, f"gputx teardown --region {there}")
    return row(part, region, Verdict.WOULD_REMOVE, found.detail)


def _bucket_row(bucket: ResultsBucket, found: Found, here: _Account) -> Row:
    request, region = here.request, here.session.region
    if found.detail:  # where it is, if that is elsewhere
        return row(bucket, region, Verdict.KEPT, f"it is {found.detail}", "gputx teardown --region, with that region")
    inside = bucket.contents(here.session)
    held = f"{inside.kept} object{'s' * (inside.kept != 1)}, {size(inside.kept_bytes)}"
    if inside.kept and not request.with_results:
        return row(bucket, region, Verdict.KEPT, f"it holds {held}", "gputx teardown --with-results deletes them, too")
    if not (request.with_bucket or request.with_results):
        return row(bucket, region, Verdict.KEPT, "it holds no results", "gputx teardown --with-bucket")
    return row(bucket, region, Verdict.WOULD_REMOVE, f"with {held}" if inside.kept else "it holds no results")


def _remove(plan: list[tuple[Part, Row]], here: _Account, story: Story, stop: Stop, report: SetupReport) -> None:
    for part, intended in agreed(plan, here.request.only):
        try:
            stop.check()
            with story.phase("remove", f"{part.kind} {part.name}") as phase:
                if isinstance(part, ResultsBucket) and here.request.with_results:
                    part.empty(here.session)
                part.unmake(here.session)
                phase.detail = f"{part.kind} {part.name}"
        except InterruptedBySignal as error:
            report.ending = error
            break
        except GputxError as error:
            _set(report, replace(intended, verdict=Verdict.NOT_REMOVED, why=error.message, command=error.hint))
        else:
            _set(report, replace(intended, verdict=Verdict.REMOVED))
    for it in [it for it in report.rows if it.due]:
        _set(report, replace(it, verdict=Verdict.NOT_REMOVED))


def _left(rows: list[Row], request: TeardownRequest) -> GputxError | None:
    """Why not all went that was to go."""
    asked_for = request.with_bucket or request.with_results
    stuck = [
        it
        for it in rows
        if it.verdict in {Verdict.NOT_REMOVED, Verdict.UNSEEN}
        or (asked_for and it.kind == ResultsBucket.kind and it.verdict in {Verdict.KEPT, Verdict.LEFT_ALONE})
    ]
    if not stuck:
        return None
    return GputxError(
        f"{len(stuck)} part{'s' * (len(stuck) > 1)} could not be removed",
        details=tuple(f"{it.kind} {it.name}: {it.why}" for it in stuck),
        hint=stuck[0].command or "gputx teardown again",
    )


def _set(report: SetupReport, new: Row) -> None:
    report.rows = [new if (it.kind, it.name) == (new.kind, new.name) else it for it in report.rows]
