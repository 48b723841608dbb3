"""Launching with an instance profile, and without it where EC2 will not have it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from gputx.aws.errors import AwsError
from gputx.aws.launch import LaunchPlan
from gputx.clock import Clock, Stop
from gputx.models import Instance

PAUSES = (1.0, 2.0, 4.0, 8.0, 15.0)
"""Seconds. A profile that IAM has shown is on its way to EC2: mostly it is there within ten seconds."""


def launched(
    launch: Callable[[LaunchPlan], Instance],
    plan: LaunchPlan,
    *,
    clock: Clock,
    stop: Stop,
    note: Callable[[str], None],
) -> Instance:
    """What ``launch`` makes of a plan; without the plan's profile where that is all that stands in the way.

    What the profile is for, texts in a bucket, is less than what the launch is for, which has no need of it. So it is
    given up rather than the launch, and it is said. Who may launch and not hand over a role (``iam:PassRole``) hears
    the same as who may not launch at all: EC2 has one code for both, and need not name the permission. Only the
    launch without shows which it was.

    Raises:
        AwsError, CapacityError: as :func:`gputx.aws.launch.launch`.
        InterruptedBySignal: in a pause.
    """
    for pause in (*PAUSES, None):
        try:
            return launch(plan)
        except AwsError as error:
            # A launch whose answer was lost may have made an instance: another one could be a second.
            if plan.profile is None or error.lost or not (error.denied or error.profile_unknown):
                raise
            if error.denied or pause is None:
                why = error
                break
            clock.sleep(pause, stop)
    instance = launch(replace(plan, profile=None))
    told = "may not be handed over (iam:PassRole)" if why.denied else "is not known to EC2 yet"
    note(f"launched without a role: {plan.profile} {told}")
    return instance
