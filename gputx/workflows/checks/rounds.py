"""Carrying out checks side by side, each with a time of its own, told in an order that is always the same."""

from __future__ import annotations

import queue
import signal
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gputx.clock import Clock, Stop
from gputx.errors import ExitCode, GputxError, InterruptedBySignal
from gputx.units import duration
from gputx.workflows.checks.finding import Finding, Remedies, Verdict, failed, of_error, skipped

_POLL_SECONDS = 0.05


@dataclass(frozen=True)
class Check:
    """One thing to look at.

    Attributes:
        examine: asks and judges; may raise GputxError. It leaves off soon after its stop is requested.
        needs: names of earlier checks without which there is nothing to see.
        needed: a run asks AWS the same, so being refused is a failure and not ignorance.
    """

    name: str
    examine: Callable[[Stop], Finding]
    needs: tuple[str, ...] = ()
    needed: bool = True


@dataclass(frozen=True)
class Result:
    """What a check came to, and the seconds it took."""

    name: str
    finding: Finding
    seconds: float


Tell = Callable[[Result], None]


def carry_out(
    checks: Sequence[Check], *, clock: Clock, timeout: float, stop: Stop, tell: Tell, remedies: Remedies
) -> list[Result]:
    """All of them, begun as soon as what they need stands, and given ``timeout`` seconds each.

    A thread that hangs can't be ended, so it is left to itself and no longer listened to: it must not have anything to
    clean up, nor hold anything that others need.

    Args:
        tell: given each result as soon as it is there, in the thread of the caller.

    Returns:
        The results in the order of the checks.

    Raises:
        InterruptedBySignal: a stop was requested.
    """
    rounds = _Rounds(checks, clock, timeout, tell, remedies)
    try:
        while rounds.go_on():
            stop.check()
    finally:
        rounds.leave_off()
    return [rounds.results[check.name] for check in checks]


@dataclass
class _UnderWay:
    check: Check
    since: float
    stop: Stop


class _Rounds:
    def __init__(self, checks: Sequence[Check], clock: Clock, timeout: float, tell: Tell, remedies: Remedies) -> None:
        self.results: dict[str, Result] = {}
        self._waiting = list(checks)
        self._under_way: dict[str, _UnderWay] = {}
        self._answers: queue.SimpleQueue[tuple[str, Finding]] = queue.SimpleQueue()
        self._clock = clock
        self._timeout = timeout
        self._tell = tell
        self._remedies = remedies

    def go_on(self) -> bool:
        """Begin what can begin, take one answer, give up what is late. False once all is told."""
        self._begin()
        if not self._under_way:
            return bool(self._waiting)
        try:
            name, finding = self._answers.get(timeout=_POLL_SECONDS)
        except queue.Empty:
            self._give_up_late()
            return True
        if name in self._under_way:  # else it was given up, and answers all the same
            self._settle(name, finding)
        return True

    def leave_off(self) -> None:
        """Ask whatever is still under way to stop; nobody waits for it."""
        for late in self._under_way.values():
            late.stop.request(signal.SIGTERM)

    def _begin(self) -> None:
        for check in list(self._waiting):
            if not all(name in self.results for name in check.needs):
                continue
            self._waiting.remove(check)
            self._under_way[check.name] = _UnderWay(check, self._clock.monotonic(), Stop())
            lacking = [name for name in check.needs if not self.results[name].finding.stands]
            if lacking:
                self._settle(check.name, skipped(f"can't be looked at without: {', '.join(lacking)}"))
            else:
                # Not a pool: Python waits for a pool's threads when it ends, however long they hang.
                threading.Thread(
                    target=self._examine, args=(self._under_way[check.name],), name=check.name, daemon=True
                ).start()

    def _examine(self, at_work: _UnderWay) -> None:
        check = at_work.check
        try:
            finding = check.examine(at_work.stop)
        except InterruptedBySignal:
            return  # it was given up
        except GputxError as error:
            finding = of_error(error, self._remedies, needed=check.needed)
        except Exception as error:  # noqa: BLE001 - a bug in one check must not cost the others
            finding = failed(
                f"gputx itself failed: {type(error).__name__}: {error}",
                self._remedies.gputx("doctor", "--debug"),
                code=ExitCode.FAILED,
            )
        self._answers.put((check.name, finding))

    def _give_up_late(self) -> None:
        for name, late in list(self._under_way.items()):
            if self._clock.monotonic() - late.since >= self._timeout:
                late.stop.request(signal.SIGTERM)
                longer = f"{round(4 * self._timeout)}s"
                self._settle(
                    name,
                    failed(
                        f"no answer within {duration(self._timeout)}",
                        self._remedies.gputx("doctor", "--timeout", longer),
                        code=ExitCode.FAILED,
                    ),
                )

    def _settle(self, name: str, finding: Finding) -> None:
        seconds = self._clock.monotonic() - self._under_way.pop(name).since
        self.results[name] = Result(name, finding, seconds)
        self._tell(self.results[name])


def in_order(checks: Sequence[str], put: Callable[[Result], None]) -> Tell:
    """Pass results on in the order of the names: each as soon as those before it have been passed on."""
    waiting: dict[str, Result] = {}
    left = list(checks)

    def tell(result: Result) -> None:
        waiting[result.name] = result
        while left and left[0] in waiting:
            put(waiting[left.pop(0)])

    return tell


def counted(results: Sequence[Result]) -> dict[Verdict, int]:
    """How many there are of each verdict that there is."""
    counts = {verdict: sum(result.finding.verdict is verdict for result in results) for verdict in Verdict}
    return {verdict: count for verdict, count in counts.items() if count}
