"""What a guest's first process is told by the daemon, before anything else."""

from __future__ import annotations

import base64
import dataclasses
import json
from dataclasses import dataclass


@dataclass(frozen=True)
class Configuration:
    """Sent as one JSON line.

    ``listener`` is the descriptor of the socket bound for sshd; ``user_data`` is base64; ``offset`` the
    seconds by which the sandbox's clock is ahead; ``root`` and ``tools`` are paths as the guest sees them;
    ``own_network`` says that no other host is on its network; ``account`` is the URL that stands in for AWS, if any.
    """

    instance_id: str
    address: str
    listener: int
    authorized_keys: list[str]
    user_data: str
    metadata: dict[str, object]
    offset: float
    root: str
    tools: str
    own_network: bool
    account: str = ""

    @classmethod
    def parse(cls, line: bytes) -> Configuration:
        """The inverse of :meth:`line`.

        Raises:
            TypeError, ValueError: the line is not a configuration.
        """
        return cls(**json.loads(line))

    def line(self) -> bytes:
        return json.dumps(dataclasses.asdict(self)).encode("utf-8") + b"\n"

    @property
    def raw_user_data(self) -> bytes:
        return base64.b64decode(self.user_data)
