"""One instance as the ledger keeps it, and the reasons AWS gives for its end."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Any

from gputx.sandbox.guests import Guest
from gputx.sandbox.plane.spot import SpotRequest
from gputx.sandbox.timers import Timer

# (code, message) of a state reason.
USER = ("Client.UserInitiatedShutdown", "User initiated")
POWERED_OFF = ("Client.InstanceInitiatedShutdown", "Instance initiated shutdown")
INTERRUPTED = ("Server.SpotInstanceTermination", "Spot instance termination")


@dataclass
class Machine:
    """One instance, kept after AWS has forgotten it.

    Attributes:
        since: state → when it was entered, seconds since the epoch on the sandbox's clock.
        public_key: of the key pair at the launch: deleting the pair afterwards locks nobody out.
        address: the public address it has or last had.
        visible_at: when Describe begins to show it.
        copies: one for each copy being made of its disk; set once that is done.
        restarting: held by whoever has it down for a reboot.
    """

    instance: Any
    backend: Any
    market: str
    token: str
    user_data: bytes
    visible_at: float
    spot: SpotRequest | None
    public_key: str = ""
    state: str = "pending"
    since: dict[str, float] = field(default_factory=dict)
    address: str = ""
    groups: tuple[str, ...] = ()
    reason: str = ""
    guest: Guest | None = None
    halted: bool = False
    ending: threading.Thread | None = None
    next_state: Timer | None = None
    copies: list[threading.Event] = field(default_factory=list)
    restarting: threading.Lock = field(default_factory=threading.Lock)

    @property
    def id(self) -> str:
        return str(self.instance.id)

    @property
    def zone(self) -> str:
        return str(self.instance.placement.zone)

    @property
    def live(self) -> bool:
        return self.state != "terminated"

    @property
    def facets(self) -> dict[str, str]:
        kind = str(self.instance.instance_type)
        return {"instance": self.id, "zone": self.zone, "type": kind, "market": self.market}

    def metadata(self) -> dict[str, object]:
        """The static part of what the instance metadata service tells a guest."""
        instance = self.instance
        return {
            "ami-id": instance.image_id,
            "instance-id": self.id,
            "instance-life-cycle": self.market,
            "instance-type": instance.instance_type,
            "local-ipv4": instance.private_ip,
            "placement/availability-zone": self.zone,
            "placement/region": instance.region_name,
            "public-ipv4": self.address,
            "security-groups": "\n".join(group.name for group in instance.security_groups),
        }
