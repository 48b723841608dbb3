"""``gputx setup``: look at every part, say what is missing and what it costs, make it. Broken off, it goes on."""

from __future__ import annotations

from dataclasses import dataclass, replace

from gputx.aws import identity, quotas
from gputx.clock import Stop
from gputx.errors import ConfigurationError, GputxError, InterruptedBySignal
from gputx.events import EventStream
from gputx.models import Market
from gputx.workflows.place import Place, open_place
from gputx.workflows.reap import Where
from gputx.workflows.settling import settle_earlier
from gputx.workflows.setup_parts import Found, Part, Sighting, Standing, Wanted, look_at, parts
from gputx.workflows.setup_report import REHEARSED, Named, Row, SetupReport, Verdict, agreed, row
from gputx.workflows.story import Story

_PHASES = {Verdict.WOULD_MAKE: "make", Verdict.WOULD_COMPLETE: "complete", Verdict.WOULD_ASK: "ask"}


@dataclass(frozen=True)
class SetupRequest:
    """What an account should have.

    Attributes:
        bucket: its name, "none" for no bucket, None for ``transcription-<account id>``.
        instance_types: those that may be launched: the smallest decides whether a quota is too low.
        budget: USD a month; 0 for none, None where nobody chose.
        only: what a person has seen and agreed to; None for whatever is missing.
    """

    dry_run: bool
    bucket: str | None
    instance_role: str
    instance_types: tuple[str, ...]
    markets: tuple[Market, ...]
    budget: float | None = None
    email: str | None = None
    only: frozenset[Named] | None = None


def setup(request: SetupRequest, where: Where, events: EventStream, stop: Stop) -> SetupReport:
    """Make what is missing of it. With all of it there, no call is sent that changes anything.

    Raises:
        ConfigurationError: there are no usable credentials, or the region is none.
        AwsError: AWS does not say who is calling.
        InterruptedBySignal: before anything was made.
    """
    with open_place(where.on, region=where.region, profile=where.profile) as place:
        story = Story(events, place.session.clock)
        with story.phase("account", place.session.region) as phase:
            account = identity.whoami(place.session).account
            stop.check()
            seen = look_at(place.session, parts(_wanted(request, place), account))
            phase.detail = f"{account}, {place.session.region}"
        stop.check()
        plan = [(sighting, _row(sighting, place.session.region)) for sighting in seen]
        report = SetupReport(where.on, account, place.session.region, request.dry_run, [it for _, it in plan])
        report.ending = _hopeless(report.rows)
        if not (request.dry_run or report.ending):
            _settle(place, story, stop)
            _make(report, plan, only=request.only, place=place, story=story, stop=stop)
        report.ending = report.ending or _unseen(seen)
    if report.ending is None and any(it.verdict is Verdict.MADE for it in report.rows):
        report.notes.append("next: gputx build-ami makes an image, once; then gputx run FILE")
    return report


def _wanted(request: SetupRequest, place: Place) -> Wanted:
    counted = [name for name in request.instance_types if quotas.counts(name)]
    return Wanted(
        bucket=request.bucket,
        instance_role=request.instance_role,
        markets=request.markets if counted else (),
        vcpus=min(quotas.vcpus(place.session, counted).values(), default=0),
        budget=request.budget,
        email=request.email,
    )


def _row(sighting: Sighting, region: str) -> Row:
    """What is to be done about a part, and why."""
    part, found = sighting.part, sighting.found
    if found is None:
        error = sighting.error
        return row(part, region, Verdict.UNSEEN, error.message if error else "", error.hint if error else None)
    if found.standing is Standing.ABSENT:
        if part.unmade_because:
            return row(part, region, Verdict.SKIPPED, part.unmade_because)
        return row(part, region, _WAYS.get(part.kind, Verdict.WOULD_MAKE), found.detail)
    lacking = f"missing: {', '.join(found.lacking)}" if found.lacking else ""
    why = "; ".join(filter(None, (found.detail, lacking)))
    return row(part, region, _VERDICTS[found.standing], why, found.remedy)


_VERDICTS = {
    Standing.PARTLY: Verdict.WOULD_COMPLETE,
    Standing.WHOLE: Verdict.THERE,
    Standing.ASKED: Verdict.THERE,
    Standing.FOREIGN: Verdict.LEFT_ALONE,
    Standing.TAKEN: Verdict.TAKEN,
}
_WAYS = {"quota": Verdict.WOULD_ASK}
"""By kind: what is not made but asked for."""


def _hopeless(rows: list[Row]) -> GputxError | None:
    """What has to be put right first: nothing is made beside it, since the next name would need other policies."""
    for it in rows:
        if it.verdict is Verdict.TAKEN:
            return ConfigurationError(f"{it.kind} {it.name} can't be used: {it.why}", hint=it.command)
    return None


def _unseen(seen: list[Sighting]) -> GputxError | None:
    """Whoever may not look at a part is told which, after all else was made."""
    blind = [(sighting.part, sighting.error) for sighting in seen if sighting.error is not None]
    if not blind:
        return None
    (_, first), *_ = blind
    ending = ConfigurationError(
        f"{len(blind)} part{'s' * (len(blind) > 1)} could not be looked at, so nothing was done about "
        f"{'them' if len(blind) > 1 else 'it'}",
        details=tuple(f"{part.kind} {part.name}: {error.message}" for part, error in blind),
        hint=first.hint or "gputx setup again",
    )
    ending.exit_code = first.exit_code
    return ending


def _settle(place: Place, story: Story, stop: Stop) -> None:
    for line in settle_earlier(place, story.note, stop):
        story.warn(line)


def _make(
    report: SetupReport,
    plan: list[tuple[Sighting, Row]],
    *,
    only: frozenset[Named] | None,
    place: Place,
    story: Story,
    stop: Stop,
) -> None:
    """Make part after part, up to the first that fails: what comes later may need it."""
    found = {(s.part.kind, s.part.name): s.found for s, _ in plan}
    for part, intended in agreed([(sighting.part, it) for sighting, it in plan], only):
        about = f"{part.kind} {part.name}"
        try:
            stop.check()
            with story.phase(_PHASES[intended.verdict], about) as phase:
                part.make(place.session, found[part.kind, part.name] or Found(Standing.ABSENT))
                phase.detail = about
        except InterruptedBySignal as error:
            report.ending = error
        except GputxError as error:
            report.ending = _broken(part, error)
        if report.ending:
            break
        why, command = _afterwards(part, place)
        _set(report, replace(intended, verdict=REHEARSED[intended.verdict], why=why, command=command))
    for it in [it for it in report.rows if it.due]:
        _set(report, replace(it, verdict=Verdict.NOT_MADE))


def _afterwards(part: Part, place: Place) -> tuple[str, str | None]:
    """How what was asked for stands now, and what to do: AWS may have granted it at once, or wants to be waited for."""
    if part.kind not in _WAYS:
        return "", None
    try:
        found = part.look(place.session)
    except GputxError as error:
        return f"how it stands could not be looked at: {error.message}", error.hint
    return found.detail, found.remedy


def _broken(part: Part, error: GputxError) -> GputxError:
    """The error of one part, with what to do about the whole."""
    told = GputxError(
        f"{part.kind} {part.name}: {error.message}",
        details=tuple(filter(None, (*error.details, error.hint))),
        hint="gputx setup goes on from here, once that is put right",
    )
    told.exit_code = error.exit_code
    return told


def _set(report: SetupReport, new: Row) -> None:
    report.rows = [new if (it.kind, it.name) == (new.kind, new.name) else it for it in report.rows]
