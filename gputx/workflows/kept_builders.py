"""Builders that failed and were left to be looked at: how to get into them again, in files of this person's own."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from gputx.aws import instances, tags
from gputx.aws.session import AwsSession
from gputx.lease.guard import Guard
from gputx.lease.journal import Journal
from gputx.lease.verdict import KEPT
from gputx.ssh.keys import KeyPair
from gputx.workflows.build_report import KeptBuilder
from gputx.workflows.hosts.machine import Keys, Machine


@dataclass(frozen=True)
class Record:
    """What is needed to go on with a builder; ``until`` is seconds since the epoch."""

    run_id: str
    account: str
    region: str
    instance_id: str
    profile: str
    base: str
    until: float
    user_private: str
    user_public: str
    host_private: str
    host_public: str

    @property
    def keys(self) -> Keys:
        return Keys(KeyPair(self.user_private, self.user_public), KeyPair(self.host_private, self.host_public))


class KeptBuilders:
    """The files, beside the journal: what one knows the other has open."""

    def __init__(self, journal: Journal) -> None:
        self._directory = journal.directory / "builders"

    def keep(
        self,
        machine: Machine,
        guard: Guard,
        session: AwsSession,
        *,
        until: float,
        account: str,
        profile: str,
        base: str,
    ) -> KeptBuilder:
        """Leave a builder to itself until then, in seconds since the epoch, and remember how to get in.

        Raises:
            GputxError, OSError: it can't be; then it is to be ended as ever.
        """
        labels = {tags.PURPOSE: KEPT, tags.DEADLINE: tags.stamp_of(until)}
        instances.label(session, machine.instance.id, labels)
        machine.keep(until)
        try:
            keys = machine.keys
            record = Record(
                run_id=guard.run_id,
                account=account,
                region=session.region,
                instance_id=machine.instance.id,
                profile=profile,
                base=base,
                until=until,
                user_private=keys.user.private_openssh,
                user_public=keys.user.public_openssh,
                host_private=keys.host.private_openssh,
                host_public=keys.host.public_openssh,
            )
            kept = self._add(record, machine)
            guard.keep(until)
        except BaseException:
            machine.kept = False
            self.forget(guard.run_id)
            raise
        return kept

    def _add(self, record: Record, machine: Machine) -> KeptBuilder:
        """Write down how to get in, for us and for a person's own ssh. Raises OSError."""
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        key, known = self._file(record.run_id, "key"), self._file(record.run_id, "known_hosts")
        address, port = machine.connection.address.host, machine.connection.address.port
        _write(key, record.user_private)
        _write(known, f"[{address}]:{port} {record.host_public}\n{address} {record.host_public}\n")
        _write(self._file(record.run_id, "json"), json.dumps(asdict(record), indent=2))
        ssh = (
            f"ssh -i {key} -o IdentitiesOnly=yes -o UserKnownHostsFile={known} -p {port} "
            f"{machine.image.ssh_user}@{address}"
        )
        return KeptBuilder(record.run_id, record.instance_id, record.until, ssh)

    def newest(self, *, account: str, region: str, profile: str, now: float) -> Record | None:
        """The one of this place and profile that was kept last and may still be there; what is past its time goes."""
        found = []
        for record in self._records():
            if record.until <= now:
                self.forget(record.run_id)
            elif (record.account, record.region, record.profile) == (account, region, profile):
                found.append(record)
        return max(found, key=lambda record: record.run_id, default=None)

    def forget(self, run_id: str) -> None:
        """It has ended, or is ours again."""
        for suffix in ("json", "key", "known_hosts"):
            self._file(run_id, suffix).unlink(missing_ok=True)

    def _records(self) -> Iterator[Record]:
        for path in sorted(self._directory.glob("*.json")):
            try:
                yield Record(**json.loads(path.read_text(encoding="utf-8")))
            except (OSError, ValueError, TypeError):
                continue  # cut short as it was written, or another gputx's: its instance has a deadline all the same

    def _file(self, run_id: str, suffix: str) -> Path:
        return self._directory / f"{run_id}.{suffix}"


def _write(path: Path, text: str) -> None:
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
