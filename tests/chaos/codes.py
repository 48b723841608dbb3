"""C8: every error code that a launch may be refused with lands in its class, and the class does what it should.

The codes are those of the table that gputx goes by, and, by another hand, those that AWS documents for a launch.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gputx.aws import errors
from gputx.aws.errors import Meaning

from .schedules import AGAIN, Census, Schedule
from .stage import Stage
from .trial import Played, Turner, play

KEY = "C8"
TITLE = "error codes of a launch"
UNIT = 1
PROMISE = "each code lands in its class; each pool is tried once; a fatal one ends the run in under 5 s"

ZONES = ("eu-north-1a", "eu-north-1b", "eu-north-1c")
MARKETS = ("spot", "on-demand")
FATAL_SECONDS = 5.0


@dataclass(frozen=True)
class Class:
    """What a class of codes has to come to.

    Attributes:
        exits: allowed exit codes.
        launches: allowed numbers of launch calls.
        tokens: how many different tokens they carry.
        says: a word that the person has to be told.
        pools: each pool is asked, once.
        spot_only: only spot launches are refused.
        quick: it has to end in FATAL_SECONDS.
    """

    exits: tuple[int, ...]
    launches: tuple[int, ...]
    tokens: int = 1
    says: str = ""
    pools: bool = False
    spot_only: bool = False
    quick: bool = False


CLASSES = {
    "next pool": Class((4,), (6,), tokens=6, says="no pool had capacity", pools=True),
    "no more spot": Class((0,), (2,), tokens=2, spot_only=True),
    "quota": Class((4,), (1,), says="quota"),
    "full": Class((4,), (1,), says="gputx ami prune"),
    # An answer that failed in the middle may have launched: only where that can be told is 1 the truth.
    "back off": Class((1, 5), (4,)),
    "credentials": Class((3,), (2,), says="renew your credentials", quick=True),
    "wait for AWS": Class((3,), (1,), says="verif", quick=True),
    "denied": Class((3,), (1,), says="may not call", quick=True),
    # What was made a moment ago may not be visible to the launch yet, so these are asked again for a few seconds.
    "not visible yet": Class((1,), (4,)),
    "fatal": Class((1, 3), (1,), quick=True),
}

_OF_MEANING = {
    Meaning.NEXT_POOL: "next pool",
    Meaning.NO_MORE_SPOT: "no more spot",
    Meaning.NO_SPOT_YET: "no more spot",
    Meaning.QUOTA: "quota",
    Meaning.FULL: "full",
    Meaning.BACK_OFF: "back off",
    Meaning.CREDENTIALS: "credentials",
    Meaning.WAIT_FOR_AWS: "wait for AWS",
    Meaning.DENIED: "denied",
    Meaning.GONE: "not visible yet",
    Meaning.IN_USE: "fatal",
    Meaning.EXISTS: "fatal",
    Meaning.FATAL: "fatal",
}

DOCUMENTED = {
    "next pool": (
        "InsufficientInstanceCapacity",
        "InsufficientHostCapacity",
        "InsufficientCapacity",
        "UnfulfillableCapacity",
        "InsufficientFreeAddressesInSubnet",
        "Unsupported",
        "SpotMaxPriceTooLow",
    ),
    "no more spot": ("MaxSpotInstanceCountExceeded", "AuthFailure.ServiceLinkedRoleCreationNotPermitted"),
    "quota": ("VcpuLimitExceeded", "InstanceLimitExceeded"),
    "back off": ("RequestLimitExceeded", "EC2ThrottledException", "InternalError", "ServiceUnavailable", "Unavailable"),
    "credentials": ("RequestExpired", "ExpiredToken", "ExpiredTokenException", "AuthFailure"),
    "wait for AWS": ("PendingVerification",),
    "denied": ("UnauthorizedOperation",),
    "not visible yet": ("InvalidKeyPair.NotFound", "InvalidGroup.NotFound"),
    "fatal": (
        "InvalidAMIID.NotFound",
        "InvalidAMIID.Malformed",
        "InvalidAMIID.Unavailable",
        "InvalidKeyPair.Format",
        "InvalidParameter",
        "InvalidParameterValue",
        "InvalidParameterCombination",
        "IdempotentParameterMismatch",
        "OptInRequired",
        "AuthFailure.Other",
    ),
}


def cases() -> list[tuple[str, str]]:
    """(code, class), each code once. A code in both tables has to be in the documented class."""
    told = {code: name for name, codes in DOCUMENTED.items() for code in codes}
    # Some codes of the table are statuses, which no error of EC2 has for a name.
    table = {code: _OF_MEANING[meaning] for code, meaning in errors._BY_CODE.items() if not code.isdigit()}
    return sorted({**table, **told}.items())


def points(_seed: int, _census: Census) -> list[str]:
    return [code for code, _ in cases()]


def schedule(seed: int, index: int, _census: Census) -> Schedule:
    known = cases()
    code, name = known[index % AGAIN % len(known)]
    status = " status=500" if name == "back off" and code.startswith(("Internal", "Service")) else ""
    if CLASSES[name].pools:
        faults = [f"RunInstances error={code} zone={zone} market={market}" for zone in ZONES for market in MARKETS]
    else:
        faults = [f"RunInstances error={code}{status}{' market=spot' if CLASSES[name].spot_only else ''}"]
    return Schedule(KEY, seed, index, faults=tuple(faults), variant=name, point=code)


def perform(stage: Stage, unit: Sequence[Schedule]) -> list[dict[str, Any]]:
    return [_perform(stage, each) for each in unit]


def _perform(stage: Stage, each: Schedule) -> dict[str, Any]:
    expected = CLASSES[each.variant]
    if expected.quick:
        played = play(stage, each)
        end = stage.account.clock.time()
    else:
        with Turner(stage, pace=10):  # it may wait
            played = play(stage, each)
        end = 0.0
    launches = [call for call in played.calls if call["action"] == "RunInstances"]
    violations = _wrong(played, expected, launches)
    took = 0.0
    if expected.quick and launches:
        took = round(end - (launches[0]["end"] or end), 2)
        if took > FATAL_SECONDS:
            violations.append(f"it took {took} s from the answer to the exit")
    stage.account.advance(2)
    if left := stage.look().since(played.before).everything:
        violations.append(f"left: {left}")
        stage.sweep()
    record = played.record(violations, launches=len(launches), seconds_to_exit=took)
    record["counted"] = bool(launches)
    record["why_not_counted"] = None if launches else "nothing was to be launched"
    shutil.rmtree(played.home)
    return record


def _wrong(played: Played, expected: Class, launches: Sequence[dict[str, Any]]) -> list[str]:
    violations = []
    if played.hung:
        violations.append("the client hung")
    if "Traceback" in played.stderr:
        violations.append("a traceback")
    if played.code not in expected.exits:
        violations.append(f"exit code {played.code}, not {expected.exits}")
    if len(launches) not in expected.launches:
        violations.append(f"{len(launches)} launch calls, not {expected.launches}")
    if len({call["token"] for call in launches}) != expected.tokens:
        violations.append(f"{len({call['token'] for call in launches})} tokens, not {expected.tokens}")
    if expected.says not in played.stderr:
        violations.append(f"the person was not told {expected.says!r}")
    if expected.pools and any(hits != 1 for hits in played.fault_hits.values()):
        violations.append(f"pools were not asked once each: {played.fault_hits}")
    if played.at_exit.live or played.at_exit.launching:
        violations.append(f"live at exit: {played.at_exit.everything}")
    return violations
