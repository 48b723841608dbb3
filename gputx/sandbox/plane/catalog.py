"""What the account's region sells: prices by type, zone and time, and how likely spot capacity is.

Pure functions of their arguments: the same question at the same time has the same answer. g4dn.xlarge costs
what AWS's public list for eu-north-1 says (Linux, shared tenancy); the others are of the right size. They
make the sandbox behave: nothing in gputx may take a price from here.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterable

# USD per hour.
_ON_DEMAND = {
    "g4dn.xlarge": 0.558,
    "g4dn.2xlarge": 0.798,
    "g4dn.4xlarge": 1.277,
    "g4dn.8xlarge": 2.308,
    "g4dn.12xlarge": 4.149,
    "g4dn.16xlarge": 4.616,
    "g5.xlarge": 1.068,
    "g5.2xlarge": 1.286,
    "g5.4xlarge": 1.723,
    "g5.8xlarge": 2.598,
    "g6.xlarge": 0.854,
    "g6.2xlarge": 1.037,
    "g6.4xlarge": 1.404,
    "g6.8xlarge": 2.137,
    "g6e.xlarge": 1.975,
    "g6e.2xlarge": 2.379,
}
_PER_VCPU = 0.12
_SPOT_SHARE = 0.33
# Spot prices move a few per cent over days and change at most a few times a day.
_SPOT_SWING = 0.02
_SPOT_STEP_SECONDS = 4 * 3600
_SPOT_PERIOD_SECONDS = 3 * 86400

# Accelerated types of the G and VT families share one pair of quotas.
QUOTA_CODES = {"spot": "L-3819A6DF", "on-demand": "L-DB2E81BA"}
QUOTA_NAMES = {
    "spot": "All G and VT Spot Instance Requests",
    "on-demand": "Running On-Demand G and VT instances",
}
DEFAULT_QUOTA_VCPUS = 8.0


def counts_against_quota(instance_type: str) -> bool:
    """Whether a type belongs to the families G and VT, whose quotas the sandbox enforces."""
    family = instance_type.partition(".")[0]
    return family.startswith(("g3", "g4", "g5", "g6", "g7", "gr", "vt"))


def on_demand_price(instance_type: str, vcpus: int) -> float:
    """USD per hour, Linux, shared tenancy."""
    return _ON_DEMAND.get(instance_type, round(_PER_VCPU * vcpus, 3))


def spot_steps(start: float, end: float) -> Iterable[float]:
    """The times (s since the epoch) at which the prices that held within [start, end] were set, newest first.

    The oldest one may lie before ``start``: it is the price that held then.
    """
    step = math.floor(end / _SPOT_STEP_SECONDS)
    while True:
        at = step * _SPOT_STEP_SECONDS
        yield float(at)
        if at <= start:
            return
        step -= 1


def spot_price(instance_type: str, vcpus: int, zone: str, at: float) -> float:
    """USD per hour for a pool at a time: a share of the on-demand price, each zone its own, slowly moving."""
    seed = zlib.crc32(f"{instance_type} {zone}".encode())
    level = 1 + _SPOT_SWING * (seed % 1000 / 500 - 1) * 0.5
    phase = (seed >> 10) % 1000 / 1000
    step = math.floor(at / _SPOT_STEP_SECONDS) * _SPOT_STEP_SECONDS
    swing = 0.5 * _SPOT_SWING * math.sin(2 * math.pi * (step / _SPOT_PERIOD_SECONDS + phase))
    return round(on_demand_price(instance_type, vcpus) * _SPOT_SHARE * (level + swing), 4)


def placement_score(instance_types: Iterable[str], place: str, *, has_capacity: bool) -> int:
    """1 to 10. AWS rates any request for fewer than three types low, which is why price ranks first."""
    types = sorted(set(instance_types))
    if not has_capacity:
        return 1
    seed = zlib.crc32(f"{','.join(types)} {place}".encode())
    return 1 + seed % 3 if len(types) < 3 else 7 + seed % 3
