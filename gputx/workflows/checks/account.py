"""What ``gputx setup`` and ``gputx build-ami`` make, and what runs may have left: whether it is there, and whole."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence

from gputx.aws import images, storage
from gputx.aws.bucket import ResultsBucket
from gputx.aws.budget import Budget
from gputx.aws.inventory import Inventory
from gputx.aws.log_groups import LogGroup
from gputx.aws.part import Found, Part, Standing
from gputx.aws.roles import InstanceProfile, Role
from gputx.aws.schedule import ROLE as SCHEDULER
from gputx.aws.schedule_group import ScheduleGroup
from gputx.aws.spot_role import SpotRole
from gputx.errors import ConfigurationError, ExitCode, GputxError
from gputx.lease.verdict import GRACE_SECONDS, RUNNING, Policy, judge
from gputx.models import Kind, Leftover
from gputx.workflows.checks.finding import Finding, failed, ok, skipped, warning
from gputx.workflows.checks.ground import Ground
from gputx.workflows.setup_parts import NO_BUCKET, Wanted, parts

_RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
_ASK_FOR_ADDRESS = "printf 'e-mail for alerts: ' && read -r email && {} --email \"$email\""
"""Nobody but the person knows the address; POSIX shells and zsh read it this way."""


def image(ground: Ground) -> Finding:
    """Whether there is an image that a run can boot."""
    wanted, remedies = ground.wishes.image, ground.remedies
    try:
        found = images.find_image(ground.session, wanted)
    except ConfigurationError as error:
        if wanted:
            return failed(error.message, remedies.gputx("ami", "list"))
        being_made = Inventory(ground.session).leftovers((Kind.IMAGE,))
        if being_made:
            ids = ", ".join(thing.id for thing in being_made)
            return failed(f"{error.message}; {ids} is being made", remedies.gputx("ami", "list"))
        return failed(error.message, remedies.gputx("build-ami"))
    return ok(
        f"{found.name or found.id}: {found.model}, contract {found.contract}",
        facts={
            "id": found.id,
            "name": found.name,
            "contract": found.contract,
            "model": found.model,
            "model_revision": found.model_revision,
        },
    )


def bucket(ground: Ground) -> Finding:
    """Whether results have a place that is private."""
    if ground.wishes.bucket == NO_BUCKET:
        return skipped("runs are asked to use no S3")
    (part,) = _parts(ground, ResultsBucket)
    setup = ground.remedies.setup()
    found = part.look(ground.session)
    facts = {"name": part.name, "standing": found.standing}
    match found.standing:
        case Standing.ABSENT:
            return failed(f"there is no bucket {part.name}", setup, facts=facts)
        case Standing.TAKEN:
            own = f"{part.name}-{ground.session.region}"
            remedy = f"{ground.remedies.setting('bucket', own)} && {ground.remedies.gputx('setup')}"
            return failed(f"{part.name}: {found.detail}", remedy, facts=facts)
        case Standing.PARTLY:
            return warning(f"{part.name} lacks: {', '.join(found.lacking)}", setup, facts=facts)
    if not storage.refuses_the_public(ground.session, part.name):
        block = ",".join(f"{name}=true" for name in storage.PUBLIC_ACCESS)
        remedy = ground.remedies.aws(
            "s3api", "put-public-access-block", "--bucket", part.name, "--public-access-block-configuration", block
        )
        return warning(f"{part.name} can be made public; {found.detail}", remedy, facts=facts)
    return ok(_standing(part, found), facts=facts)


def roles(ground: Ground) -> Finding:
    """The instances' role and its profile, and the one that spot needs."""
    name = ground.wishes.instance_role
    chosen = [p for p in _parts(ground, Role) if p.name == name] + _parts(ground, InstanceProfile, SpotRole)
    return _whole(ground, chosen, "Instances can't write logs or metrics, and spot may be refused")


def schedule_role(ground: Ground) -> Finding:
    """The account's own lock: the role that ends instances, and the group its schedules are in."""
    chosen = [part for part in _parts(ground, Role) if part.name == SCHEDULER] + _parts(ground, ScheduleGroup)
    return _whole(ground, chosen, "The account's own lock is off; the instance's own and gputx's hold")


def logs(ground: Ground) -> Finding:
    """The log groups that instances write to."""
    return _whole(ground, _parts(ground, LogGroup), "What instances log is kept nowhere, or for ever")


def budget(ground: Ground) -> Finding:
    """Whether somebody is told before the month gets dear."""
    (part,) = _parts(ground, Budget)
    remedy = _ASK_FOR_ADDRESS.format(ground.remedies.setup())
    return _whole(ground, [part], "Nobody is told when the month gets dear", if_absent=remedy)


def _parts(ground: Ground, *kinds: type[Part]) -> list[Part]:
    wanted = Wanted(bucket=ground.wishes.bucket, instance_role=ground.wishes.instance_role)
    return [part for part in parts(wanted, ground.who().account) if isinstance(part, kinds)]


def _whole(ground: Ground, chosen: Sequence[Part], without: str, *, if_absent: str | None = None) -> Finding:
    """Whether all these parts stand; a run does without them, and ``without`` says what it then lacks."""
    found = [(part, part.look(ground.session)) for part in chosen]
    facts = {part.name: seen.standing for part, seen in found}
    absent = [pair for pair in found if pair[1].standing is Standing.ABSENT]
    lacking = [f"no {_told(absent)}"] if absent else []
    lacking += [f"{part.name} lacks: {', '.join(seen.lacking)}" for part, seen in found if seen.lacking]
    if lacking:
        remedy = (if_absent if absent else None) or ground.remedies.setup()
        return warning(f"{'; '.join(lacking)}. {without}", remedy, facts=facts)
    return ok(_told(found), facts=facts)


def _told(found: Sequence[tuple[Part, Found]]) -> str:
    """Parts by their kind, and what else there is to say of them: ``log group a, b (kept for 30 days)``."""
    words = []
    for kind in dict.fromkeys(part.kind for part, _ in found):
        some = [(part, seen) for part, seen in found if part.kind == kind]
        details = "; ".join(dict.fromkeys(seen.detail for _, seen in some if seen.standing is not Standing.ABSENT))
        words.append(f"{kind} {', '.join(part.name for part, _ in some)}" + (f" ({details})" if details else ""))
    return ", ".join(words)


def _standing(part: Part, found: Found) -> str:
    return f"{part.name}, {found.detail}" if found.detail else part.name


def leftovers(ground: Ground) -> Finding:
    """What runs have left: looked for as ``gputx reap --dry-run`` does, and left as it is."""
    session, who = ground.session, ground.who()
    blind: list[str] = []
    deaf: list[Kind] = []

    def failing(kind: Kind, error: GputxError) -> None:
        blind.append(f"{kind}s ({error.message})")
        deaf.append(kind)

    found = Inventory(session).leftovers(failed=failing)
    policy = Policy(
        caller=who.arn,
        journal_id="" if ground.journal.idle else ground.journal.id,
        held=_held(ground),
        now=session.clock.time(),
        grace=max(GRACE_SECONDS, ground.wishes.grace),
        deaf=Kind.INSTANCE in deaf,
    )
    verdicts = judge(found, policy)
    due = [verdict.leftover for verdict in verdicts if verdict.ends]
    kept = [verdict.leftover for verdict in verdicts if not verdict.ends]
    running = [thing for thing in due if thing.kind in RUNNING]
    facts = {"due": [thing.id for thing in due], "kept": [thing.id for thing in kept]}
    details = tuple(f"could not look for {what}" for what in blind)
    remedy = ground.remedies.gputx("reap")
    if running:
        return failed(
            f"{_count(due)} left over, and running: {', '.join(thing.id for thing in running)}",
            remedy,
            details=details,
            code=ExitCode.STILL_RUNNING,
            facts=facts,
        )
    open_still = 0 if ground.journal.idle else len(ground.journal.unfinished(who.account, session.region))
    if due:
        return warning(f"{_count(due)} left over: {_kinds(due)}", remedy, details=details, facts=facts)
    if blind:
        return warning(
            "not everything could be looked for", ground.remedies.gputx("iam", "show", "reap"), details=details
        )
    if kept:
        return ok(f"nothing; at work or not yours: {_kinds(kept)}", facts=facts)
    if open_still:
        return warning(f"the journal has {open_still} open, and nothing is to be seen of it", remedy, facts=facts)
    return ok("nothing", facts=facts)


def _held(ground: Ground) -> Callable[[str], bool]:
    def held(run_id: str) -> bool:
        # A tag is anybody's to write, and what it says becomes the name of a file here.
        try:
            return bool(_RUN_ID.fullmatch(run_id)) and ground.journal.held(run_id)
        except ConfigurationError:
            return True

    return held


def _count(things: Sequence[Leftover]) -> str:
    return f"{len(things)} thing{'s' * (len(things) > 1)}"


def _kinds(things: Sequence[Leftover]) -> str:
    counts = Counter(thing.kind for thing in things)
    return ", ".join(f"{count} {kind}{'s' * (count > 1)}" for kind, count in counts.items())
