"""How far this machine's clock is from AWS's."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from botocore import UNSIGNED
from botocore.exceptions import ClientError

from gputx.aws.errors import AwsError, Meaning, from_botocore
from gputx.aws.session import AwsSession

TOLERATED_SECONDS = 300.0
"""A signature of another time is refused. Source: IAM User Guide, "Signing AWS API requests": "In most cases, a request
must reach AWS within five minutes of the time stamp in the request."."""


def measure(session: AwsSession) -> float:
    """Seconds that this machine's clock is ahead of AWS's; behind it where below 0. The least that it can be.

    AWS dates the answer to a call that nobody signed, so it needs no credentials, nor a clock that AWS would accept.

    Raises:
        AwsError: AWS can't be reached, or its answer has no date.
    """
    bare = session.elsewhere(session.region)  # a client of its own: from this one no call is signed
    client = bare.client("sts")
    client.meta.events.register("choose-signer.sts.*", lambda **_: UNSIGNED)
    before = session.clock.time()
    try:
        answer = client.get_caller_identity()
    except ClientError as error:
        answer = error.response  # it refuses, which is no news
    except Exception as error:
        raise from_botocore(error, service="sts", operation="GetCallerIdentity", place=session.region) from error
    after = session.clock.time()
    return least((before + after) / 2 - _dated(answer), (after - before) / 2)


def least(seen: float, doubt: float) -> float:
    """The least that a difference can be which was seen with a doubt of so much to either side; seconds.

    AWS dated its answer somewhen while we waited for it: a slow network must not look like a wrong clock.
    """
    return math.copysign(max(0.0, abs(seen) - doubt), seen)


def _dated(answer: dict[str, Any]) -> float:
    """The Date header, in seconds since the epoch. It has whole seconds: half of one is added."""
    text = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date", "")
    try:
        when: datetime = parsedate_to_datetime(text)
    except ValueError:
        raise AwsError(
            f"an answer that is not from AWS: it has no date ({text!r})",
            code="NoDate",
            meaning=Meaning.BACK_OFF,
            hint="a proxy or a log-in page of the network may have answered",
        ) from None
    return when.replace(tzinfo=when.tzinfo or UTC).timestamp() + 0.5
