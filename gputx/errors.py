"""What can go wrong, in the words a person reads, and the exit code each kind ends in.

Every error that reaches a person is a :class:`GputxError`: one line that says what is wrong, and a hint that
says what to do. ``cli/main.py`` is the one place that turns them into text and an exit code.
"""

from __future__ import annotations

import signal
from enum import IntEnum


class ExitCode(IntEnum):
    """The table in docs/exit-codes.md."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    CONFIGURATION = 3
    CAPACITY = 4
    STILL_RUNNING = 5
    HANGUP = 128 + signal.SIGHUP
    INTERRUPTED = 128 + signal.SIGINT
    TERMINATED = 128 + signal.SIGTERM


class GputxError(Exception):
    """Some or all of the work failed; nothing is left running.

    Args:
        message: one line: what is wrong.
        hint: what the person can do now, as a command where there is one.
        details: further lines that help (what was tried, where it was looked for).
    """

    exit_code: ExitCode = ExitCode.FAILED
    renewable = False
    """Whether new credentials may mend it: then the same call is worth sending again."""

    def __init__(self, message: str, *, hint: str | None = None, details: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.details = details


class InputError(GputxError):
    """What was typed can't be carried out: no such file, a bad option value."""

    exit_code = ExitCode.USAGE


class ConfigurationError(GputxError):
    """Credentials, region, bucket, image or model are missing or wrong."""

    exit_code = ExitCode.CONFIGURATION


class CapacityError(GputxError):
    """AWS has no capacity in any pool that was allowed, or a quota forbids the launch."""

    exit_code = ExitCode.CAPACITY


class StillRunningError(GputxError):
    """Something could not be confirmed ended; the message carries ids and the command that ends them."""

    exit_code = ExitCode.STILL_RUNNING

    def joined(self, other: StillRunningError) -> StillRunningError:
        """Both, as one to be told."""
        hints = "; ".join(dict.fromkeys(hint for hint in (self.hint, other.hint) if hint))
        return StillRunningError(
            f"{self.message}; {other.message}",
            hint=hints,
            details=tuple(dict.fromkeys((*self.details, *other.details))),
        )


class InstanceLostError(GputxError):
    """The instance went away in the middle of its work (interruption, crash, a peer that stopped answering)."""


class AudioError(GputxError):
    """One input can't be read as audio. Never sinks the other files of the call."""


class InterruptedBySignal(GputxError):  # noqa: N818 - it is an ending, not an error
    """The person or the system asked for the end; clean-up has to follow."""

    def __init__(self, signum: int) -> None:
        super().__init__(f"stopped by {signal.Signals(signum).name}")
        self.signum = signum
        self.exit_code = ExitCode(128 + signum)
