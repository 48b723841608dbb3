"""Asking again what may go better the next time: a busy AWS, a lost answer, a thing not visible yet."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_exponential

from gputx.aws.errors import AwsError, Meaning
from gputx.clock import Clock, Stop

T = TypeVar("T")

RETRIED = frozenset({Meaning.BACK_OFF, Meaning.GONE})
_TRIES, _FIRST_PAUSE = 4, 0.5


def patiently(clock: Clock, ask: Callable[[], T], *, stop: Stop | None = None) -> T:
    """Call ``ask`` up to four times, pausing 0.5, 1 and 2 seconds on the given clock.

    Raises:
        AwsError: the last one, or the first whose meaning is not in ``RETRIED``.
        InterruptedBySignal: in a pause, when a stop is requested.
    """
    # retry_if_exception with a test of our own: tenacity's negated forms would retry an interrupt as well.
    retrying = Retrying(
        retry=retry_if_exception(lambda error: isinstance(error, AwsError) and error.meaning in RETRIED),
        stop=stop_after_attempt(_TRIES),
        wait=wait_exponential(multiplier=_FIRST_PAUSE),
        sleep=lambda seconds: clock.sleep(seconds, stop),
        reraise=True,
    )
    return retrying(ask)
