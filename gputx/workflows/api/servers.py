"""Servers that were brought up from here: how to reach them again, in files of this person's own.

The journal beside these files says what has to end; a file says how to get in. One that is lost costs the way in and
nothing else: the server ends by itself.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from gputx.errors import ConfigurationError
from gputx.lease.journal import Journal
from gputx.ssh.keys import KeyPair
from gputx.workflows.hosts.machine import Keys

PUBLIC_PORT = 8443


@dataclass(frozen=True)
class Server:
    """One server. Times are seconds since the epoch, durations seconds, money USD."""

    run_id: str
    account: str
    region: str
    instance_id: str
    address: str
    ssh_port: int
    ssh_user: str
    port: int
    """Where the server listens, on the instance."""
    token: str
    model: str
    image_model: str
    """The model inside its image, and its revision."""
    image_revision: str
    market: str
    instance_type: str
    zone: str
    hourly: float | None
    started: float
    until: float
    """Its deadline."""
    idle_timeout: float
    public: bool
    certificate: str | None
    """PEM; what a public server is known by."""
    version: str
    """What runs there: the payload's name and a hash of how it was started."""
    user_private: str
    user_public: str
    host_private: str
    host_public: str
    asked: dict[str, Any] = field(default_factory=dict)
    """What it was asked for with, by :func:`gputx.workflows.api.request.stored`."""
    results: str | None = None
    """Where it puts the texts of its jobs, too: ``s3://BUCKET/results``; and the region of that bucket."""
    results_region: str | None = None

    @property
    def keys(self) -> Keys:
        return Keys(KeyPair(self.user_private, self.user_public), KeyPair(self.host_private, self.host_public))

    @property
    def public_url(self) -> str | None:
        """Where anybody in the allowed ranges finds it; None where there is only the tunnel."""
        return f"https://{self.address}:{self.port}" if self.public else None


class Servers:
    """The files, beside the journal."""

    def __init__(self, journal: Journal) -> None:
        self._directory = journal.directory / "servers"

    def add(self, server: Server) -> None:
        """Write down how to reach it; replaces what was known of it.

        Raises:
            ConfigurationError: it can't be written.
        """
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            path = self._file(server.run_id)
            unfinished = path.with_suffix(".new")
            unfinished.unlink(missing_ok=True)
            descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                json.dump(asdict(server), file, indent=2)
                file.flush()
                os.fsync(file.fileno())  # the journal says KEPT durably; so is the way in to what is kept
            unfinished.replace(path)
        except OSError as error:
            raise ConfigurationError(
                f"how to reach the server can't be written down: {error}", hint="free the disk, or set GPUTX_STATE_DIR"
            ) from None

    def known(self, *, region: str | None = None, account: str | None = None) -> list[Server]:
        """Those that were not seen gone, newest first; they may have ended all the same."""
        found = [
            server for server in self._all() if region in {None, server.region} and account in {None, server.account}
        ]
        return sorted(found, key=lambda server: (server.started, server.run_id), reverse=True)

    def forget(self, run_id: str) -> None:
        """It has ended."""
        self._file(run_id).unlink(missing_ok=True)

    def _all(self) -> Iterator[Server]:
        for path in self._directory.glob("*.json"):
            try:
                fields = json.loads(path.read_text(encoding="utf-8"))
                yield Server(**fields)
            except (OSError, ValueError, TypeError):
                continue  # another gputx's, or one that was taken away just now

    def _file(self, run_id: str) -> Path:
        return self._directory / f"{run_id}.json"
