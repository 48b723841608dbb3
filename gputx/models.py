"""The nouns of gputx: pools, instances, attempts, costs and reports. Plain values, no behaviour beyond their own."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from gputx.errors import GputxError, StillRunningError
from gputx_remote.transcript import Transcript

CONTRACT = 1
"""The image contract this client speaks (docs/contracts.md)."""

DEFAULT_MODEL = "KBLab/kb-whisper-small"


class Market(StrEnum):
    """How capacity is bought."""

    SPOT = "spot"
    ON_DEMAND = "on-demand"


@dataclass(frozen=True)
class Pool:
    """A (zone, instance type, market) that may have capacity. ``hourly`` is USD, None where unknown."""

    zone: str
    instance_type: str
    market: Market
    hourly: float | None = None
    score: int | None = None

    def __str__(self) -> str:
        return f"{self.zone} {self.instance_type} {self.market}"


@dataclass(frozen=True)
class Attempt:
    """One launch call in one pool. ``code`` is AWS's error code, None where an instance came of it."""

    pool: Pool
    code: str | None
    message: str
    outcome: str
    start: float
    end: float
    answered: bool = True
    """False where no answer came: an instance may exist all the same."""


@dataclass(frozen=True)
class Image:
    """An AMI that is booted: one that keeps image contract 1, or the base that such a one is made of (contract 0)."""

    id: str
    name: str
    contract: int
    model: str
    model_revision: str
    ssh_user: str
    ssh_port: int
    root_device: str = "/dev/sda1"
    root_gb: int = 0
    """The size of the root snapshot: no volume made of it can be smaller."""


@dataclass(frozen=True)
class Instance:
    """An EC2 instance as the account describes it. Times are seconds since the epoch."""

    id: str
    state: str
    instance_type: str
    zone: str
    market: Market
    launched_at: float
    public_address: str | None = None
    vpc_id: str | None = None
    token: str | None = None
    profile: str | None = None
    """The name of its instance profile."""
    tags: dict[str, str] = field(default_factory=dict)
    reason: str = ""
    """EC2's code for why it is in its state, such as Client.UserInitiatedShutdown; empty where it gives none."""

    @property
    def live(self) -> bool:
        """Whether it can still cost money: everything but an end that was seen."""
        return self.state not in {"shutting-down", "terminated"}

    @property
    def taken(self) -> bool:
        """Whether AWS has ended it (Server.SpotInstanceTermination and the like), and nobody who meant to."""
        return not self.live and self.reason.startswith("Server.")


class Kind(StrEnum):
    """What gputx makes in an account, and therefore has to take away again."""

    INSTANCE = "instance"
    FLEET = "fleet"
    SPOT_REQUEST = "spot request"
    SCHEDULE = "schedule"
    KEY_PAIR = "key pair"
    SECURITY_GROUP = "security group"
    NETWORK_INTERFACE = "network interface"
    VOLUME = "volume"
    LAUNCH_TEMPLATE = "launch template"
    QUEUE = "queue"
    IMAGE = "image"
    SNAPSHOT = "snapshot"


@dataclass(frozen=True)
class Leftover:
    """One thing in an account that carries our tag. Times are seconds since the epoch, None where nobody says."""

    kind: Kind
    id: str
    """What ends it: an id, a name (key pairs, schedules) or an address (queues)."""
    region: str
    run_id: str
    owner: str = ""
    """ARN of who made it."""
    journal: str = ""
    """Id of the journal it is recorded in: that journal's locks say whether a living gputx holds it."""
    purpose: str = ""
    deadline: float | None = None
    """None where its tag is missing or no time."""
    created_at: float | None = None
    heartbeat: float | None = None
    """When its client last told the account that it lives."""
    state: str = ""
    cost: float | None = None
    """USD so far, where it is billed and the price is known."""


@dataclass(frozen=True)
class Stay:
    """One instance's time: seconds from launch to its seen end, and USD an hour where known."""

    seconds: float
    hourly: float | None
    on_demand_hourly: float | None

    MINIMUM_SECONDS = 60.0

    @property
    def billed_seconds(self) -> float:
        """EC2 bills Linux by the second, sixty at least per launch. Source: Amazon EC2 pricing, per-second billing."""
        return max(self.seconds, self.MINIMUM_SECONDS)


@dataclass(frozen=True)
class Cost:
    """What the instances of a run cost, in USD.

    The disk (30 GB gp3) adds well under a tenth of a cent per hour and is left out.
    """

    stays: tuple[Stay, ...]

    @property
    def billed_seconds(self) -> float:
        return sum(stay.billed_seconds for stay in self.stays)

    @property
    def hourly(self) -> float | None:
        """The price of the last instance."""
        return self.stays[-1].hourly if self.stays else None

    @property
    def on_demand_hourly(self) -> float | None:
        return self.stays[-1].on_demand_hourly if self.stays else None

    @property
    def total(self) -> float | None:
        """None where a price is unknown."""
        return _sum([(stay.hourly, stay.billed_seconds) for stay in self.stays])

    @property
    def on_demand_total(self) -> float | None:
        """What the same time would have cost on-demand; None where that price is unknown."""
        return _sum([(stay.on_demand_hourly, stay.billed_seconds) for stay in self.stays])


def _sum(stays: list[tuple[float | None, float]]) -> float | None:
    prices = [hourly * seconds / 3600 for hourly, seconds in stays if hourly is not None]
    return sum(prices) if len(prices) == len(stays) else None


@dataclass(frozen=True)
class Phase:
    """A named stretch of a run, seconds since the epoch."""

    name: str
    start: float
    end: float


@dataclass
class FileReport:
    """What became of one input."""

    input: str
    transcript: Transcript | None = None
    processing_seconds: float | None = None
    outputs: list[Path] = field(default_factory=list)
    s3: list[str] = field(default_factory=list)
    error: str | None = None
    usage: bool = False
    """The error is about what was typed (no such file), not about what is in the file."""


@dataclass
class RunReport:
    """Everything a run leaves to be told: the source of the receipt, of ``--json`` and of metadata.json."""

    id: str
    place: str
    started_at: float
    files: list[FileReport] = field(default_factory=list)
    phases: list[Phase] = field(default_factory=list)
    attempts: list[Attempt] = field(default_factory=list)
    instance: Instance | None = None
    ended: list[str] = field(default_factory=list)
    """Ids of the instances whose end was seen; also of one that nobody knew of before it was looked for."""
    image: Image | None = None
    model: str | None = None
    model_revision: str | None = None
    device: str | None = None
    cost: Cost | None = None
    dry_run: bool = False
    plan: list[Pool] = field(default_factory=list)
    ending: GputxError | None = None
    """Why it ended early, or what may still run. Texts that were finished are none the worse for it."""

    @property
    def may_still_run(self) -> bool:
        """Whether the end of an instance could not be confirmed."""
        return isinstance(self.ending, StillRunningError)

    @property
    def failed(self) -> list[FileReport]:
        return [file for file in self.files if file.error is not None]
