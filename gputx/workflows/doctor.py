"""``gputx doctor``: look at everything that a run needs, side by side, and change nothing.

Alone of the commands that talk to an account it settles nothing of what earlier ones left: it tells of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial

from gputx.clock import Stop, SystemClock
from gputx.errors import ExitCode, GputxError
from gputx.models import Market
from gputx.workflows.checks import access, account, capacity, machine
from gputx.workflows.checks.finding import Finding, Remedies, Verdict, skipped
from gputx.workflows.checks.ground import Ground, Wishes
from gputx.workflows.checks.rounds import Check, Result, Tell, carry_out, counted
from gputx.workflows.hosts.local import ChildStream
from gputx.workflows.place import Place, open_place

TIMEOUT = "20s"
"""Each check's own. AWS answers within a second or two; what takes longer is told as what it is."""
_LOCAL = "local engine"
_ALWAYS_KNOWN = "eu-north-1"
_CALLER, _ACCOUNT = ("credentials",), ("credentials", "region")

NAMES = (
    "credentials",
    "region",
    "clock",
    "spot quota",
    "on-demand quota",
    "zones",
    "spot price",
    "image",
    "bucket",
    "roles",
    "schedule role",
    "log groups",
    "budget",
    "leftovers",
    "SSH outbound",
    _LOCAL,
)
"""The checks, in the order in which they are told."""


@dataclass(frozen=True)
class DoctorRequest:
    """Where jobs run (``on`` is "aws", "sandbox" or "local"), and with what.

    Attributes:
        timeout: seconds for each check.
    """

    on: str
    region: str
    profile: str | None
    wishes: Wishes
    remedies: Remedies
    timeout: float

    @property
    def names(self) -> tuple[str, ...]:
        """What is looked at: where jobs run here, there is no account to look at."""
        return (_LOCAL,) if self.on == "local" else NAMES


@dataclass
class DoctorReport:
    """What all checks came to, in their order."""

    request: DoctorRequest
    results: Sequence[Result] = field(default_factory=list)

    @property
    def counts(self) -> dict[Verdict, int]:
        return counted(self.results)

    @property
    def ending(self) -> GputxError | None:
        """Why the exit code is not 0; None where nothing failed.

        The code is the one that all failures share, 1 where they differ; what may still run comes before all.
        """
        failures = [result for result in self.results if result.finding.verdict is Verdict.FAILED]
        if not failures:
            return None
        codes = {result.finding.code for result in failures}
        first = failures[0]
        if ExitCode.STILL_RUNNING in codes:
            first = next(result for result in failures if result.finding.code is ExitCode.STILL_RUNNING)
        error = GputxError(
            f"{len(failures)} of {len(self.results)} checks failed: {', '.join(result.name for result in failures)}",
            hint=first.finding.remedy,
        )
        urgent = first.finding.code is ExitCode.STILL_RUNNING
        error.exit_code = first.finding.code if urgent or len(codes) == 1 else ExitCode.FAILED
        return error


def doctor(request: DoctorRequest, tell: Tell, stop: Stop) -> DoctorReport:
    """Carry out all checks.

    Args:
        tell: given each result as soon as it is there.

    Raises:
        InterruptedBySignal: a stop was requested.
    """
    with ExitStack() as stack:
        if request.on == "local":
            checks, place = [_local_engine(wanted=True)], None
        else:
            place, refusal = _opened(request, stack)
            checks = _checks(request, place, refusal)
        results = carry_out(
            checks,
            clock=place.session.clock if place else SystemClock(),
            timeout=request.timeout,
            stop=stop,
            tell=tell,
            remedies=request.remedies,
        )
        if place:
            place.session.give_up()  # what has not answered by now is not asked again
    return DoctorReport(request, results)


def _opened(request: DoctorRequest, stack: ExitStack) -> tuple[Place | None, GputxError | None]:
    """The account, and what was wrong with the region or the profile. A wrong region does not hide who is calling."""
    try:
        return stack.enter_context(open_place(request.on, region=request.region, profile=request.profile)), None
    except GputxError as error:
        try:
            place = stack.enter_context(open_place(request.on, region=_ALWAYS_KNOWN, profile=request.profile))
        except GputxError:
            return None, error
        return place, error


def _checks(request: DoctorRequest, place: Place | None, refusal: GputxError | None) -> list[Check]:
    """What is looked at in an account, in the order of ``NAMES``."""
    if place is None:
        nothing = partial(_nothing_without, "credentials")
        told = {"credentials": lambda _: access.missing(refusal, request.remedies)} if refusal else {}
        checks = [Check(name, told.get(name, nothing)) for name in NAMES if name != _LOCAL]
        return [*checks, _local_engine(wanted=False)]
    session, wishes, remedies = place.session, request.wishes, request.remedies
    ground = Ground(session, place.journal, wishes, remedies)

    def region(_: Stop) -> Finding:
        if refusal:
            return access.unknown_region(request.region, refusal, session.known_regions())
        return access.region(ground)

    return [
        Check("credentials", lambda _: access.credentials(ground)),
        Check("region", region, needs=_CALLER, needed=False),
        Check("clock", lambda _: access.clock(ground)),
        Check("spot quota", lambda _: capacity.quota(ground, Market.SPOT), needs=_ACCOUNT, needed=False),
        Check("on-demand quota", lambda _: capacity.quota(ground, Market.ON_DEMAND), needs=_ACCOUNT, needed=False),
        Check("zones", lambda _: capacity.zones(ground), needs=_ACCOUNT),
        Check("spot price", lambda _: capacity.price(ground), needs=(*_ACCOUNT, "zones"), needed=False),
        Check("image", lambda _: account.image(ground), needs=_ACCOUNT),
        Check("bucket", lambda _: account.bucket(ground), needs=_ACCOUNT, needed=False),
        Check("roles", lambda _: account.roles(ground), needs=_ACCOUNT, needed=False),
        Check("schedule role", lambda _: account.schedule_role(ground), needs=_ACCOUNT, needed=False),
        Check("log groups", lambda _: account.logs(ground), needs=_ACCOUNT, needed=False),
        Check("budget", lambda _: account.budget(ground), needs=_ACCOUNT, needed=False),
        Check("leftovers", lambda _: account.leftovers(ground), needs=_ACCOUNT),
        Check("SSH outbound", lambda stop: machine.ssh_outbound(session, wishes.cidrs, remedies, stop)),
        _local_engine(wanted=False),
    ]


def _local_engine(*, wanted: bool) -> Check:
    return Check(_LOCAL, lambda stop: machine.local_engine(ChildStream, wanted=wanted, stop=stop))


def _nothing_without(name: str, _: Stop) -> Finding:
    return skipped(f"can't be looked at without: {name}")
