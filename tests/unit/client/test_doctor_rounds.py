"""How ``gputx doctor`` carries out its checks: side by side, in a stable order, and none holds up the rest."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from clocks import ManualClock

from gputx.aws import skew
from gputx.aws.errors import AwsError, Meaning
from gputx.clock import Stop
from gputx.errors import ConfigurationError, ExitCode, InterruptedBySignal
from gputx.workflows.checks.finding import Finding, Remedies, Verdict, failed, ok, skipped, warning
from gputx.workflows.checks.rounds import Check, Result, carry_out, counted, in_order
from gputx.workflows.doctor import DoctorReport

REMEDIES = Remedies("eu-north-1", None, ("--on", "sandbox"))
WAIT = 20.0


def examine(
    *checks: Check,
    clock: ManualClock | None = None,
    timeout: float = 60.0,
    stop: Stop | None = None,
    tell: Callable[[Result], None] = lambda _: None,
) -> dict[str, Result]:
    results = carry_out(
        checks, clock=clock or ManualClock(), timeout=timeout, stop=stop or Stop(), tell=tell, remedies=REMEDIES
    )
    assert [result.name for result in results] == [check.name for check in checks]
    return {result.name: result for result in results}


def says(finding: Finding) -> Callable[[Stop], Finding]:
    return lambda _: finding


def raises(error: Exception) -> Callable[[Stop], Finding]:
    def examine(_: Stop) -> Finding:
        raise error

    return examine


def test_checks_wait_side_by_side() -> None:
    """Each waits for the other: one after another they would never end."""
    both = threading.Barrier(2, timeout=WAIT)

    def meet(_: Stop) -> Finding:
        both.wait()
        return ok("met")

    found = examine(Check("a", meet), Check("b", meet))
    assert {result.finding.line for result in found.values()} == {"met"}


def test_results_are_told_as_they_come_and_shown_in_their_order() -> None:
    last_is_told = threading.Event()
    came: list[str] = []
    shown: list[str] = []
    ordered = in_order(["a", "b", "c"], lambda result: shown.append(result.name))

    def tell(result: Result) -> None:
        came.append(result.name)
        ordered(result)
        if result.name == "c":
            assert shown == []  # those before it have not come
            last_is_told.set()

    def late(_: Stop) -> Finding:
        assert last_is_told.wait(WAIT)
        return ok("late")

    examine(Check("a", late), Check("b", late), Check("c", says(ok("soon"))), tell=tell)
    assert came[0] == "c"
    assert shown == ["a", "b", "c"]


def test_one_that_hangs_is_given_up_and_holds_up_nobody() -> None:
    clock, let_go, asked_to_stop = ManualClock(), threading.Event(), threading.Event()

    def hang(stop: Stop) -> Finding:
        asked_to_stop.set() if stop.wait(WAIT) else None
        let_go.wait(WAIT)
        return ok("much too late")

    def tell(result: Result) -> None:
        if result.name == "quick":
            clock.now += 61

    found = examine(
        Check("hangs", hang),
        Check("quick", says(ok("done"))),
        Check("after", says(ok("never")), needs=("hangs",)),
        clock=clock,
        tell=tell,
    )
    let_go.set()
    assert asked_to_stop.wait(WAIT)
    assert found["quick"].finding.verdict is Verdict.OK
    late = found["hangs"].finding
    assert late.verdict is Verdict.FAILED
    assert late.line == "no answer within 1 min 00 s"
    assert late.remedy == "gputx doctor --timeout 240s --on sandbox"
    assert late.code is ExitCode.FAILED
    assert found["after"].finding == skipped("can't be looked at without: hangs")
    assert found["hangs"].seconds >= 60


def test_a_check_has_its_time_from_when_it_begins() -> None:
    """What it needs may have taken long; that is not counted."""
    clock = ManualClock()

    def long(_: Stop) -> Finding:
        clock.now += 59
        return ok("long")

    found = examine(Check("first", long), Check("second", long, needs=("first",)), clock=clock)
    assert {result.finding.verdict for result in found.values()} == {Verdict.OK}


@pytest.mark.parametrize(
    ("first", "looked_at"),
    [
        (ok("x"), True),
        (warning("x", "gputx setup"), True),
        (failed("x", "gputx setup"), False),
        (skipped("x"), False),
    ],
)
def test_what_needs_another_is_looked_at_only_where_that_stands(first: Finding, looked_at: bool) -> None:
    found = examine(
        Check("a", says(first)),
        Check("b", says(ok("seen")), needs=("a",)),
        Check("c", says(ok("seen")), needs=("a", "b")),
    )
    verdict = Verdict.OK if looked_at else Verdict.SKIPPED
    assert found["b"].finding.verdict is verdict
    assert found["c"].finding.verdict is verdict


def test_a_bug_in_one_check_is_told_and_costs_no_other() -> None:
    found = examine(Check("a", raises(ZeroDivisionError("by zero"))), Check("b", says(ok("seen"))))
    bug = found["a"].finding
    assert bug.verdict is Verdict.FAILED
    assert bug.line == "gputx itself failed: ZeroDivisionError: by zero"
    assert bug.code is ExitCode.FAILED
    assert found["b"].finding.verdict is Verdict.OK


DENIED = AwsError("AccessDenied from iam:GetRole: no", code="AccessDenied", meaning=Meaning.DENIED)
UNAUTHORIZED = AwsError("no", code="UnauthorizedOperation", meaning=Meaning.FATAL)
BUSY = AwsError("Throttling from x", code="Throttling", meaning=Meaning.BACK_OFF)


@pytest.mark.parametrize(
    ("error", "needed", "verdict", "code"),
    [
        (DENIED, False, Verdict.SKIPPED, ExitCode.CONFIGURATION),
        (UNAUTHORIZED, False, Verdict.SKIPPED, ExitCode.CONFIGURATION),
        (DENIED, True, Verdict.FAILED, ExitCode.CONFIGURATION),
        (BUSY, False, Verdict.FAILED, ExitCode.FAILED),
        (ConfigurationError("no VPC"), False, Verdict.FAILED, ExitCode.CONFIGURATION),
    ],
)
def test_an_error_becomes_a_finding(error: Any, needed: bool, verdict: Verdict, code: ExitCode) -> None:
    finding = examine(Check("a", raises(error), needed=needed))["a"].finding
    assert finding.verdict is verdict
    assert finding.code is code
    assert error.message in finding.line
    assert finding.remedy


def test_a_signal_ends_it_at_once() -> None:
    stop, stopped = Stop(), threading.Event()

    def hang(own: Stop) -> Finding:
        stop.request(2)
        stopped.set() if own.wait(WAIT) else None
        own.check()
        raise AssertionError("it was asked to stop")

    with pytest.raises(InterruptedBySignal):
        examine(Check("a", hang), stop=stop)
    assert stopped.wait(WAIT)


def ended(*findings: Finding) -> Any:
    results = [Result(f"check {n}", finding, 0.0) for n, finding in enumerate(findings, 1)]
    return DoctorReport(None, results).ending  # type: ignore[arg-type]


def test_the_exit_code() -> None:
    image = failed("no image", "gputx build-ami")
    quota = failed("no quota", "gputx setup", code=ExitCode.CAPACITY)
    running = failed("i-1 runs", "gputx reap", code=ExitCode.STILL_RUNNING)
    assert ended(ok("x"), warning("x", "y"), skipped("z")) is None
    assert ended(image, ok("x")).exit_code is ExitCode.CONFIGURATION
    assert ended(quota, quota).exit_code is ExitCode.CAPACITY
    assert ended(image, quota).exit_code is ExitCode.FAILED
    assert ended(image, quota).hint == "gputx build-ami"
    last = ended(image, quota, running)
    assert last.exit_code is ExitCode.STILL_RUNNING
    assert last.hint == "gputx reap"
    assert last.message == "3 of 3 checks failed: check 1, check 2, check 3"


@pytest.mark.parametrize(
    ("seen", "doubt", "least"), [(600.0, 0.2, 599.8), (-600.0, 0.2, -599.8), (70.0, 80.0, 0.0), (0.3, 0.1, 0.2)]
)
def test_a_slow_answer_is_no_wrong_clock(seen: float, doubt: float, least: float) -> None:
    assert skew.least(seen, doubt) == pytest.approx(least)


def test_what_is_counted() -> None:
    results = [Result(str(n), f, 0.0) for n, f in enumerate((ok("x"), ok("x"), skipped("x")))]
    assert counted(results) == {Verdict.OK: 2, Verdict.SKIPPED: 1}


def test_remedies_say_again_what_only_this_command_line_said() -> None:
    remedies = Remedies("eu-west-1", "my profile", ("--profile", "my profile"))
    assert remedies.gputx("setup") == "gputx setup --profile 'my profile'"
    assert remedies.aws("ec2", "x") == "aws ec2 x --region eu-west-1 --profile 'my profile'"
    assert remedies.aws("sso", "login", regional=False) == "aws sso login --profile 'my profile'"
    assert remedies.setting("zone", "a b") == "export GPUTX_ZONE='a b'"
