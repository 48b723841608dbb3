"""What may be ended, and why: each rule that a person is told."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gputx.lease.verdict import Policy, judge
from gputx.models import Kind, Leftover

NOW = 1_790_000_000.0
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
        (thing(deadline=NOW - 121), policy(held=True), True, "past its deadline since"),
        (thing(deadline=NOW - 119), policy(held=True), False, "held by a gputx"),
        (thing(owner=EVA), policy(), False, f"a colleague's ({EVA}): name it with --run, or --all"),
        (thing(owner=EVA, deadline=NOW - 121), policy(), True, "past its deadline"),
        (thing(owner=""), policy(), False, "nobody's name is on it"),
        (thing(purpose="api"), policy(), False, "an API server"),
        (thing(purpose="api", deadline=NOW - 121), policy(), True, "past its deadline"),
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
        (thing(owner=EVA), policy(everything=True), True, "--all, though a colleague's"),
        (thing(purpose="api"), policy(held=True, everything=True), True, "--all, though an API server"),
        (thing(run_id="", deadline=0.0), policy(everything=True), False, "gputx leaves it alone"),
        (thing(run_id="", deadline=0.0), policy(run_id=""), False, "gputx leaves it alone"),
        (thing(), policy(older_than=3600), True, "nobody holds it"),
        (thing(), policy(older_than=3601), False, "too young for --older-than"),
        (thing(created_at=None), policy(older_than=1), False, "its age: unknown"),
        (thing(created_at=None, deadline=NOW - 121), policy(older_than=1), True, "past its deadline"),
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
    schedule = thing(Kind.SCHEDULE, owner="")
    assert judge([schedule, thing()], policy())[0].ends
    assert not judge([schedule, thing(owner=EVA)], policy())[0].ends
    assert not judge([schedule, thing(purpose="api")], policy())[0].ends


def test_only_runs_of_this_journal_are_asked_for_their_lock() -> None:
    """The tag of another journal may say anything, and a lock here says nothing of it."""
    asked: list[str] = []

    def held(run_id: str) -> bool:
        asked.append(run_id)
        return False

    elsewhere = thing(journal="elsewhere", run_id="../../etc/passwd")
    judge([elsewhere, thing()], replace(policy(), held=held))
    assert asked == ["r1"]
