"""What may be ended, and why: each rule that a person is told."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gputx.lease.custody import MARGIN_SECONDS
from gputx.lease.verdict import Policy, Verdict, judge, spare_what_serves
from gputx.models import Kind, Leftover

NOW = 1_790_000_000.0
LATE = MARGIN_SECONDS
ME, EVA = "arn:aws:iam::1:user/me", "arn:aws:iam::1:user/eva"


def thing(kind: Kind = Kind.INSTANCE, **more: object) -> Leftover:
    """Mine, made an hour ago under this journal, due in an hour."""
    mine = Leftover(
        kind=kind,
        id=f"{kind}-1",
        region="eu-north-1",
        run_id="r1",
        owner=ME,
        journal="here",
        deadline=NOW + 3600,
        created_at=NOW - 3600,
    )
    return replace(mine, **more)  # type: ignore[arg-type]


def policy(held: bool = False, **more: object) -> Policy:
    return replace(Policy(caller=ME, journal_id="here", held=lambda _: held, now=NOW), **more)  # type: ignore[arg-type]


def why(thing: Leftover, policy: Policy) -> tuple[bool, str]:
    verdict = judge([thing], policy)[0]
    return verdict.ends, verdict.why


@pytest.mark.parametrize(
    ("leftover", "asked", "ends", "said"),
    [
        (thing(), policy(), True, "yours, and nobody holds it"),
        (thing(), policy(held=True), False, "held by a gputx that runs here"),
        (thing(deadline=NOW - LATE - 1), policy(held=True), True, "past its deadline since"),
        (thing(deadline=NOW - LATE + 1), policy(held=True), False, "held by a gputx"),
        (
            thing(owner=EVA, journal="elsewhere"),
            policy(),
            False,
            f"a colleague's ({EVA}): name it with --run, or --all",
        ),
        (thing(owner=EVA), policy(journal_id="another"), False, "a colleague's"),
        (thing(owner=EVA, journal=""), policy(journal_id=""), False, "a colleague's"),
        (thing(owner=EVA), policy(), True, "yours, and nobody holds it"),
        (thing(owner=EVA), policy(held=True), False, "held by a gputx"),
        (thing(owner=EVA, deadline=NOW - LATE - 1), policy(), True, "past its deadline"),
        (thing(owner="", journal=""), policy(), False, "nobody's name is on it"),
        (thing(purpose="api"), policy(), False, "an API server"),
        (thing(purpose="api", deadline=NOW - LATE - 1), policy(), True, "past its deadline"),
        (thing(Kind.KEY_PAIR, purpose="api"), policy(), True, "nobody holds it"),
        (thing(journal="elsewhere"), policy(), True, "yours, and nobody holds it"),
        (thing(journal="elsewhere", heartbeat=NOW - 599), policy(), False, "heard of 9 min 59 s ago"),
        (thing(journal="elsewhere", heartbeat=NOW - 601), policy(), True, "nobody holds it"),
        (thing(journal="elsewhere", created_at=NOW - 599), policy(), False, "made 9 min 59 s ago"),
        (thing(journal="elsewhere"), policy(deaf=True), False, "which can't be seen"),
        (thing(journal=""), policy(journal_id=""), True, "nobody holds it"),
        (thing(created_at=NOW - 599), policy(journal_id=""), False, "made 9 min 59 s ago"),
        (thing(deadline=None), policy(), True, "nobody holds it"),
        (thing(), policy(only_overdue=True), False, "not past its deadline"),
        (thing(owner=EVA), policy(run_id="r1"), True, "named with --run"),
        (thing(run_id="r1-2"), policy(run_id="r1"), True, "named with --run"),
        (thing(run_id="r1-20"), policy(run_id="r1"), False, "not of run r1"),
        (thing(run_id="r2", deadline=NOW - 9999), policy(run_id="r1"), False, "not of run r1"),
        (thing(owner=EVA, journal="elsewhere"), policy(everything=True), True, "--all, though a colleague's"),
        (thing(purpose="api"), policy(held=True, everything=True), True, "--all, though an API server"),
        (thing(run_id="", deadline=0.0), policy(everything=True), False, "gputx leaves it alone"),
        (thing(run_id="", deadline=0.0), policy(run_id=""), False, "gputx leaves it alone"),
        (thing(), policy(older_than=3600), True, "nobody holds it"),
        (thing(), policy(older_than=3601), False, "too young for --older-than"),
        (thing(created_at=None), policy(older_than=1), False, "its run's age: unknown"),
        (thing(created_at=None, deadline=NOW - LATE - 1), policy(older_than=1), True, "past its deadline"),
        (thing(created_at=NOW - 5), policy(run_id="r1", older_than=60), False, "too young"),
    ],
)
def test_the_rules(leftover: Leftover, asked: Policy, ends: bool, said: str) -> None:
    verdict = why(leftover, asked)
    assert verdict[0] is ends
    assert said in verdict[1]


def test_a_run_is_alive_as_a_whole() -> None:
    """Only the instance carries the sign of life; its group and its key live by it."""
    key = thing(Kind.KEY_PAIR, journal="elsewhere")
    instance = thing(journal="elsewhere", heartbeat=NOW - 60)
    assert [verdict.ends for verdict in judge([key, instance], policy())] == [False, False]
    assert [verdict.ends for verdict in judge([key], policy())] == [True]


def test_what_a_schedule_can_not_say_its_run_says() -> None:
    """A long name of an owner does not fit into a schedule's description, and its purpose is no tag of gputx."""
    schedule = thing(Kind.SCHEDULE, owner="", journal="elsewhere")
    assert judge([schedule, thing(journal="elsewhere")], policy())[0].ends
    assert not judge([schedule, thing(owner=EVA, journal="elsewhere")], policy())[0].ends
    assert not judge([schedule, thing(journal="elsewhere", purpose="api")], policy())[0].ends


SERVING = (Kind.SCHEDULE, Kind.KEY_PAIR, Kind.SECURITY_GROUP)


def test_a_run_is_old_enough_or_not_as_a_whole() -> None:
    """Its schedule says when the run began, a moment before its instance was launched."""
    run = [thing(created_at=NOW - 595), *(thing(kind, created_at=NOW - 605) for kind in SERVING)]
    for asked in (policy(older_than=600), policy(older_than=600, run_id="r1"), policy(older_than=600, everything=True)):
        assert [verdict.ends for verdict in judge(run, asked)] == [False] * 4
    assert "its run's age: 9 min 55 s" in judge(run, policy(older_than=600))[1].why
    assert [verdict.ends for verdict in judge(run, policy(older_than=595))] == [True] * 4


def test_what_an_instance_needs_is_kept_with_it() -> None:
    run = [thing(deadline=None, purpose="api"), *(thing(kind, deadline=NOW - 9999) for kind in SERVING)]
    another = thing(Kind.SCHEDULE, run_id="r2", deadline=NOW - 9999)
    verdicts = judge([*run, another], policy())
    assert [verdict.ends for verdict in verdicts] == [False, False, False, False, True]
    assert verdicts[1].why == "instance instance-1 is kept, and needs it"
    ended = replace(verdicts[0], ends=True)
    assert spare_what_serves([ended, Verdict(run[1], True, "")])[1].ends


def test_only_runs_of_this_journal_are_asked_for_their_lock() -> None:
    """The tag of another journal may say anything, and a lock here says nothing of it."""
    asked: list[str] = []

    def held(run_id: str) -> bool:
        asked.append(run_id)
        return False

    elsewhere = thing(journal="elsewhere", run_id="../../etc/passwd")
    judge([elsewhere, thing()], replace(policy(), held=held))
    assert asked == ["r1"]
