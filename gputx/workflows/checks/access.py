"""Who is calling, where, and by which clock."""

from __future__ import annotations

import difflib
import shutil
import sys

from gputx.aws import identity, regions, skew
from gputx.aws.errors import AwsError, Meaning
from gputx.errors import ConfigurationError, GputxError
from gputx.units import duration
from gputx.workflows.checks.finding import Finding, Remedies, failed, ok, warning
from gputx.workflows.checks.ground import Ground

_ENDS_SOON_SECONDS = 900.0
"""A run, with the wait for its instance, takes minutes; one that outlives its credentials asks for new ones."""
_WORTH_A_WORD_SECONDS = 60.0
"""Of skew. A deadline is counted in minutes, and the account's own lock leaves two of them."""


def credentials(ground: Ground) -> Finding:
    """Whether there are credentials that AWS takes, whose they are, and for how long."""
    session, remedies = ground.session, ground.remedies
    try:
        who = ground.who()
    except AwsError as error:
        if error.meaning is not Meaning.CREDENTIALS:
            raise
        try:
            # A region that is not enabled refuses everybody's; that is for the next check to say.
            who = identity.whoami(regions.always_there(session))
        except AwsError:
            return refused(error, ground)
    except ConfigurationError as error:
        return missing(error, remedies)
    source = identity.origin(session)
    line = f"{who.arn.partition(':::')[2] or who.arn.split(':', 5)[-1]} of account {who.account} ({source})"
    facts = {"account": who.account, "arn": who.arn, "source": source.method, "ends_at": source.ends_at}
    if who.arn.endswith(":root"):
        return warning(
            f"the root user of account {who.account}, who may do everything", log_in(remedies, anew=True), facts=facts
        )
    left = None if source.ends_at is None else source.ends_at - session.clock.time()
    if left is not None and left < _ENDS_SOON_SECONDS:
        return warning(f"{line}; they end in {duration(max(0.0, left))}", log_in(remedies), facts=facts)
    return ok(line, facts=facts)


def missing(error: GputxError, remedies: Remedies) -> Finding:
    """There are no credentials: no profile of that name, nothing found, a log-in that has run out; or no sandbox."""
    if not error.renewable:
        why = (error.hint,) if error.hint else ()
        return failed(error.message, "gputx sandbox up", details=(*error.details, *why))
    anew = "token" not in error.message.lower()  # else there is a log-in, and it only has to be renewed
    return failed(error.message, log_in(remedies, anew=anew), details=(*error.details, *_no_command_line()))


def refused(error: AwsError, ground: Ground) -> Finding:
    """AWS does not take the credentials that there are: they have expired, or this machine's clock is wrong."""
    try:
        off = skew.measure(ground.session)
    except GputxError:
        off = 0.0
    if abs(off) >= skew.TOLERATED_SECONDS:
        return failed(f"AWS refuses what is signed at another time ({error.code}): see clock", set_clock())
    return failed(f"AWS refuses the credentials: {error.message}", log_in(ground.remedies), details=_no_command_line())


def log_in(remedies: Remedies, *, anew: bool = False) -> str:
    """The command that gets credentials, as AWS's own command line takes it."""
    return remedies.aws(*(("configure", "sso") if anew else ("sso", "login")), regional=False)


def _no_command_line() -> tuple[str, ...]:
    if shutil.which("aws"):
        return ()
    return ("AWS's own command line is not installed: https://docs.aws.amazon.com/cli/latest/userguide/",)


def region(ground: Ground) -> Finding:
    """Whether the account may use the region."""
    name = ground.session.region
    state = regions.status(ground.session)
    if state == "not-opted-in":
        return failed(
            f"{name} is not enabled in this account",
            ground.remedies.aws("account", "enable-region", "--region-name", name, regional=False),
            details=("it takes minutes to hours; every account has eu-north-1",),
            facts={"status": state},
        )
    return ok(f"{name}, enabled", facts={"status": state})


def unknown_region(name: str, error: GputxError, known: list[str]) -> Finding:
    """There is no such region."""
    close = (*difflib.get_close_matches(name, known, n=1), "eu-north-1")[0]
    return failed(error.message, f"export GPUTX_REGION={close}", details=(f"the nearest name is {close}",))


def clock(ground: Ground) -> Finding:
    """Whether this machine's clock is AWS's, near enough."""
    off = skew.measure(ground.session)
    way = "ahead of" if off > 0 else "behind"
    line = f"{duration(abs(off))} {way} AWS's"
    facts = {"skew_seconds": round(off, 1)}
    if abs(off) >= skew.TOLERATED_SECONDS:
        return failed(f"{line}: AWS refuses calls at {duration(skew.TOLERATED_SECONDS)}", set_clock(), facts=facts)
    if abs(off) >= _WORTH_A_WORD_SECONDS:
        return warning(f"{line}; at {duration(skew.TOLERATED_SECONDS)} AWS refuses calls", set_clock(), facts=facts)
    return ok("within a second or two of AWS's" if abs(off) < 2 else line, facts=facts)


def set_clock() -> str:
    """The command that sets this machine's clock by the network."""
    return "sudo sntp -sS time.apple.com" if sys.platform == "darwin" else "sudo timedatectl set-ntp true"
