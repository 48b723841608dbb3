"""C3: each lock alone. The others are taken away, and the instance ends all the same, within this lock's bound.

A variant names what is taken away and what then has to end the instance. The ones that begin with "not" take away the
lock under test as well: they have to leak, or the trials of that lock would prove nothing.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import schedules
from .schedules import Call, Census, Schedule, Strike
from .stage import Client, Holdings, Stage
from .trial import LONGEST_SECONDS, Played, Turner, play, run_arguments

KEY = "C3"
TITLE = "each lock alone"
UNIT = 1
PROMISE = "0 live past the bound of the lock that is left; a leak where that one is taken away, too"

SILENCE_SECONDS = 15 * 60.0
GRACE_SECONDS = 10 * 60.0
_ROLE = "gputx-scheduler"
_POWERED_OFF, _ASKED_FOR = "InstanceInitiatedShutdown", "UserInitiatedShutdown"
_FREEZING_SECONDS = 20.0

_LAUNCH = Call("ec2", "RunInstances", 0)
_ARMING = Call("scheduler", "CreateSchedule", 0)
_BOOTING = Call("ec2", "DescribeInstances", 0)
_CLEANING = Call("ec2", "DeleteKeyPair", 0)
_MOVING = Call("ec2", "ModifyInstanceAttribute", 0)
_ENDING = Call("ec2", "TerminateInstances", 0)
_LAUNCHED = ((_LAUNCH, "after"), (_LAUNCH, "response"))
_ARMED = ((_ARMING, "response"), (_CLEANING, "before"), (_MOVING, "before"), (_ENDING, "before"))
_AT_WORK = (*_LAUNCHED, (_ARMING, "before"), (_BOOTING, "response"), *_ARMED)


@dataclass(frozen=True)
class Variant:
    """One lock under test.

    Attributes:
        without: what is taken away: "user-data", "role", "journal", "tags".
        then: what happens after the kill: "silence", "ps", "reap", or "thaw" for a client that was only frozen.
        at: the points at which the client is struck; each of them after the launch.
        ended_by: the reason that the account has to give for the end; empty for any.
        leaks: whether it has to leak.
    """

    name: str
    without: tuple[str, ...]
    then: str
    at: tuple[tuple[Call, str], ...]
    ended_by: str = ""
    leaks: bool = False


VARIANTS = (
    Variant("watchdog", (), "silence", _AT_WORK, _POWERED_OFF),
    Variant("watchdog, no journal", ("journal",), "silence", _AT_WORK, _POWERED_OFF),
    Variant("journal", ("user-data",), "ps", _AT_WORK),
    Variant("schedule", ("user-data", "journal"), "silence", _ARMED, _ASKED_FOR),
    Variant("journal, no role", ("user-data", "role"), "ps", _LAUNCHED),
    Variant("tags", ("user-data", "role", "journal"), "reap", _LAUNCHED),
    Variant("watchdog, frozen client", (), "thaw", _AT_WORK),
    Variant("not the watchdog", ("user-data", "role"), "silence", _LAUNCHED, leaks=True),
    Variant("not the journal", ("user-data", "journal"), "ps", _AT_WORK, leaks=True),
    Variant("not the schedule", ("user-data", "role", "journal"), "silence", _LAUNCHED, leaks=True),
    Variant("not the tags", ("user-data", "role", "journal", "tags"), "reap", _LAUNCHED, leaks=True),
)
_BY_NAME = {variant.name: variant for variant in VARIANTS}


def points(_seed: int, _census: Census) -> list[str]:
    """All variants at all of their points."""
    return [_point(variant, call, at) for variant in VARIANTS for call, at in variant.at]


def schedule(seed: int, index: int, _census: Census) -> Schedule:
    rng = schedules.dice(seed, KEY, index)
    turn = index % schedules.AGAIN
    variant = VARIANTS[turn % len(VARIANTS)]
    call, at = variant.at[turn // len(VARIANTS) % len(variant.at)]
    signals = ("STOP",) if variant.then == "thaw" else ("KILL",)
    faults = ("no-user-data",) if "user-data" in variant.without else ()
    market = rng.choice(("auto", "spot", "on-demand"))
    strike = Strike(signals, call, at)
    point = _point(variant, call, at)
    return Schedule(KEY, seed, index, (strike,), point=point, faults=faults, variant=variant.name, market=market)


def _point(variant: Variant, call: Call, at: str) -> str:
    return f"{variant.name}: {at} {call}"


def perform(stage: Stage, unit: Sequence[Schedule]) -> list[dict[str, Any]]:
    return [_perform(stage, each) for each in unit]


def _perform(stage: Stage, each: Schedule) -> dict[str, Any]:
    variant = _BY_NAME[each.variant]
    with contextlib.ExitStack() as stack:
        if "role" in variant.without:
            stack.enter_context(no_role(stage))
        if variant.then == "thaw":
            played, violations = _thawed(stage, each)
        else:
            # An instance may boot after its client was killed, and has to find the faults in force.
            played = play(stage, each, faults_stay=True)
            stage.settle()
            violations = _outlived(stage, played, variant)
    record = played.record(violations, variant=variant.name, leaks=variant.leaks)
    # A point at which nothing ran yet, or where the lock under test was not there yet, says nothing about it.
    armed = variant.name != "schedule" or bool(played.at_exit.schedules)
    if record["counted"] and (played.reached[-1]["alive"] < 1 or not armed):
        record.update(counted=False, why_not_counted="nothing for this lock to end yet")
    if not record["counted"]:
        record["violations"] = []
    stage.sweep()
    shutil.rmtree(played.home)
    return record


def _outlived(stage: Stage, played: Played, variant: Variant) -> list[str]:
    """Let happen what is to happen after the kill, and say what is wrong with how it ended."""
    if "journal" in variant.without:
        shutil.rmtree(played.home / "state", ignore_errors=True)
    orphans = stage.look().since(played.before).live
    if "tags" in variant.without and orphans:
        ours = [{"Key": key} for row in stage.account.table()["instances"] for key in row["tags"]]
        stage.boto("ec2").delete_tags(Resources=sorted(orphans), Tags=ours)
    trouble = _AFTERMATHS[variant.then](stage, played)
    left = stage.look().since(played.before)
    leaked = sorted(left.live | left.launching)
    if variant.leaks:
        return [] if leaked else ["no leak was seen: this harness is blind"]
    if leaked:
        trouble.append(f"live past the bound: {leaked}")
    rows = {row["instance_id"]: row for row in stage.account.table()["instances"]}
    trouble += [
        f"{id_} was ended by {rows[id_]['reason']}, not by the lock under test"
        for id_ in sorted(orphans - left.live)
        if variant.ended_by not in rows[id_]["reason"]
    ]
    return trouble


def _silence(stage: Stage, _played: Played) -> list[str]:
    stage.pass_time(SILENCE_SECONDS)
    return []


def _ps(stage: Stage, played: Played) -> list[str]:
    code, said = stage.run(played.home, "ps")
    return [] if code == 0 else [f"ps ended with {code}: {said[-1500:]}"]


def _reap(stage: Stage, played: Played) -> list[str]:
    stage.pass_time(GRACE_SECONDS + 5)
    with Turner(stage, pace=10):  # where it has to wait
        code, said = stage.run(played.home, "reap", "--yes")
    return [] if code == 0 else [f"reap ended with {code}: {said[-1500:]}"]


_AFTERMATHS: dict[str, Callable[[Stage, Played], list[str]]] = {"silence": _silence, "ps": _ps, "reap": _reap}


def _thawed(stage: Stage, each: Schedule) -> tuple[Played, list[str]]:
    """A client that is alive and silent, for longer than the grace; then it goes on."""
    first_call, before, home = stage.last_call(), stage.look(), stage.home()
    client = stage.start(home, *run_arguments(each))
    (strike,) = each.strikes
    rule = stage.account.add_rule(strike.rule(client.pid))
    frozen = _wait_for_frost(client)
    stage.pass_time(SILENCE_SECONDS)
    asleep = stage.look().since(before)
    client.send(signal.SIGCONT)
    hung = False
    try:
        code = client.process.wait(LONGEST_SECONDS)
    except subprocess.TimeoutExpired:
        code, hung = -signal.SIGKILL, True
        client.process.kill()
    seconds = time.monotonic() - client.started
    at_exit = stage.look().since(before)
    reached = [hit for row in stage.account.rules() if row["id"] == rule["id"] for hit in row["reached"]]
    stage.reset()
    calls = stage.account.calls(first_call)
    played = Played(each, home, code, seconds, before, at_exit, reached, calls, client.stderr, hung=hung)
    return played, _wrong_with_thaw(stage, played, asleep, frozen=frozen)


def _wrong_with_thaw(stage: Stage, played: Played, asleep: Holdings, *, frozen: bool) -> list[str]:
    violations = []
    if frozen and asleep.live:
        violations.append(f"live after {SILENCE_SECONDS:.0f} s of frost: {sorted(asleep.live)}")
    if played.hung:
        violations.append("it did not end when it was thawed")
    if "Traceback" in played.stderr:
        violations.append("a traceback")
    stage.settle()
    stage.account.advance(2)
    if left := stage.look().since(played.before).everything:
        violations.append(f"left: {left}")
    return violations


def _wait_for_frost(client: Client) -> bool:
    deadline = time.monotonic() + _FREEZING_SECONDS
    while client.process.poll() is None and time.monotonic() < deadline:
        if Path(f"/proc/{client.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0] == "T":
            return True
        time.sleep(0.02)
    return False


@contextlib.contextmanager
def no_role(stage: Stage) -> Iterator[None]:
    """The account without the role of schedules, for the length of a ``with`` block."""
    iam = stage.boto("iam")
    trust = iam.get_role(RoleName=_ROLE)["Role"]["AssumeRolePolicyDocument"]
    names = iam.list_role_policies(RoleName=_ROLE)["PolicyNames"]
    policies = {name: iam.get_role_policy(RoleName=_ROLE, PolicyName=name)["PolicyDocument"] for name in names}
    for name in names:
        iam.delete_role_policy(RoleName=_ROLE, PolicyName=name)
    iam.delete_role(RoleName=_ROLE)
    try:
        yield
    finally:
        iam.create_role(RoleName=_ROLE, AssumeRolePolicyDocument=json.dumps(trust))
        for name, policy in policies.items():
            iam.put_role_policy(RoleName=_ROLE, PolicyName=name, PolicyDocument=json.dumps(policy))
