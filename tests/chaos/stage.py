"""Where trials are played: an account with the sleeping decoder in its image, and clients that use it."""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import signal
import subprocess
import sys
import time
import wave
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3
import numpy as np

from gputx import sandbox

from . import decoder

PENDING_SECONDS, SHUTTING_DOWN_SECONDS, LAG_SECONDS = 0.05, 0.5, 0.05
"""Pure waiting, so next to none."""

LIVE = ("pending", "running")
CLIP_SECONDS = 2
INSTANCE_TYPE = "g4dn.xlarge"
"""What gputx launches unless told otherwise."""
_ROOM = ("quota spot=400", "quota on-demand=400")
_SETTLE_SECONDS = 20.0
_TURN_SECONDS = 60.0
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True)
class Holdings:
    """What is in the account that gputx could leave behind: ids and names, by kind."""

    live: frozenset[str]
    ending: frozenset[str]
    key_pairs: frozenset[str]
    groups: frozenset[str]
    schedules: frozenset[str]
    volumes: frozenset[str]
    spot_requests: frozenset[str]
    launching: frozenset[str]
    unfinished: frozenset[str] = frozenset()
    """Images and snapshots that no run may use, and that cost money."""

    def since(self, earlier: Holdings) -> Holdings:
        """What was not there earlier."""
        return Holdings(*(mine - theirs for mine, theirs in zip(self._all(), earlier._all(), strict=True)))

    @property
    def things(self) -> int:
        """How many, as the sandbox's ``things`` counts them."""
        return sum(map(len, (self.live, self.ending, self.key_pairs, self.groups, self.schedules, self.launching)))

    @property
    def clutter(self) -> dict[str, list[str]]:
        """What costs nothing by the hour and may not be left either."""
        kinds = {"key pair": self.key_pairs, "security group": self.groups, "schedule": self.schedules}
        return {kind: sorted(ids) for kind, ids in kinds.items() if ids}

    @property
    def everything(self) -> dict[str, list[str]]:
        kinds = {
            "live": self.live,
            "launching": self.launching,
            "ending": self.ending,
            "volume": self.volumes,
            "spot request": self.spot_requests,
            "unfinished image or snapshot": self.unfinished,
        }
        return {kind: sorted(ids) for kind, ids in kinds.items() if ids} | self.clutter

    def _all(self) -> tuple[frozenset[str], ...]:
        return (
            self.live,
            self.ending,
            self.key_pairs,
            self.groups,
            self.schedules,
            self.volumes,
            self.spot_requests,
            self.launching,
            self.unfinished,
        )


def holdings(table: dict[str, Any]) -> Holdings:
    """Read them from the sandbox's own table."""
    return Holdings(
        live=frozenset(row["instance_id"] for row in table["instances"] if row["state"] in LIVE),
        ending=frozenset(row["instance_id"] for row in table["instances"] if row["state"] == "shutting-down"),
        key_pairs=frozenset(row["name"] for row in table["key_pairs"]),
        groups=frozenset(row["group_id"] for row in table["security_groups"] if not row["default"]),
        schedules=frozenset(row["name"] for row in table["schedules"]),
        volumes=frozenset(row["volume_id"] for row in table["volumes"]),
        spot_requests=frozenset(
            row["spot_instance_request_id"] for row in table["spot_requests"] if row["state"] in ("open", "active")
        ),
        launching=frozenset(str(row["number"]) for row in table["in_flight"] if row["action"] == "RunInstances"),
        unfinished=frozenset(row["image_id"] for row in table["images"] if "gputx:deadline" in row["tags"])
        | _half_snapshots(table),
    )


def _half_snapshots(table: dict[str, Any]) -> frozenset[str]:
    """Those of a build that no finished image of it goes with. A name tells them apart: each build has one."""
    finished = {
        row["tags"].get("Name") for row in table["images"] if "gputx:run" in row["tags"] and _is_finished(row["tags"])
    }
    ours = [row for row in table["snapshots"] if "gputx:run" in row["tags"]]
    return frozenset(row["snapshot_id"] for row in ours if row["tags"].get("Name") not in finished)


def _is_finished(tags: dict[str, str]) -> bool:
    return "gputx:deadline" not in tags


@dataclass
class Client:
    """A client that was started: its process, and where it keeps what."""

    process: subprocess.Popen[bytes]
    home: Path
    started: float

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def stderr(self) -> str:
        return (self.home / "stderr").read_text(encoding="utf-8", errors="replace")

    def send(self, signum: int) -> bool:
        """Whether it was there to get it. It can't be anybody else: it has not been waited for."""
        if self.process.poll() is not None:
            return False
        self.process.send_signal(signum)
        return True


class Stage:
    """A sandbox in a directory, used by one trial after another. Ended with :meth:`close`, or with this process."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir(parents=True)
        # A signal that was ignored here would be ignored by every client, too.
        for number in _SIGNALS:
            if signal.getsignal(number) is signal.SIG_IGN:
                signal.signal(number, signal.SIG_DFL)
        self.account = sandbox.up(
            directory / "account",
            pending_seconds=PENDING_SECONDS,
            shutting_down_seconds=SHUTTING_DOWN_SECONDS,
            lag_seconds=LAG_SECONDS,
            linger=False,
        )
        decoder.install(self.account.state_dir / "images")
        self.clip = directory / "clip.wav"
        _write_clip(self.clip)
        self._homes = itertools.count()
        self.reset()

    def close(self) -> None:
        self.account.stop()
        shutil.rmtree(self.directory, ignore_errors=True)

    def reset(self) -> None:
        """No rules but room for many orphans at once."""
        self.account.clear_rules()
        for rule in _ROOM:
            self.account.add_rule(rule)

    def look(self) -> Holdings:
        return holdings(self.account.table())

    def home(self) -> Path:
        """A new directory to run a client in, with the clip and nothing else."""
        home = self.directory / f"home-{next(self._homes)}"
        home.mkdir()
        os.link(self.clip, home / "clip.wav")
        return home

    def start(self, home: Path, *arguments: str, program: tuple[str, ...] = ("-m", "gputx")) -> Client:
        """Start a client as a person would: another process, with settings of its own only."""
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "LANG": "C.UTF-8",
            "GPUTX_SANDBOX_DIR": str(self.account.state_dir),
            "GPUTX_STATE_DIR": str(home / "state"),
            "GPUTX_ON": "sandbox",
            "HF_HUB_OFFLINE": "1",
            # The AWS SDKs tell the account which application calls: here, which command.
            "AWS_SDK_UA_APP_ID": f"gputx-{arguments[0]}",
        }
        with (home / "stdout").open("wb") as out, (home / "stderr").open("wb") as err:
            process = subprocess.Popen(
                [sys.executable, *program, *arguments],
                cwd=home,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )
        return Client(process, home, time.monotonic())

    def run(self, home: Path, *arguments: str, timeout: float = 60.0) -> tuple[int, str]:
        """Run one command to its end: its exit code and what it said on stderr."""
        client = self.start(home, *arguments)
        return client.process.wait(timeout), client.stderr

    def pass_time(self, seconds: float) -> None:
        """Let time pass in which nobody does anything, each timer of each guest at its time, however many there are.

        A single turn of the clock takes some seconds of real time at most, and then skips.
        """
        while seconds > 0:
            self.account.advance(min(seconds, _TURN_SECONDS))
            seconds -= _TURN_SECONDS

    def boto(self, service: str) -> Any:
        """Plain boto3 on the account, as its owner would look into it."""
        return boto3.client(
            service,
            endpoint_url=self.account.endpoint_url,
            region_name=self.account.region,
            aws_access_key_id=self.account.access_key,
            aws_secret_access_key=self.account.secret_key,
        )

    def last_call(self) -> int:
        """The number of the newest call in the log; 0 where there is none."""
        calls = self.account.calls(self._seen)
        if calls:
            self._seen = calls[-1]["number"]
        return self._seen

    _seen = 0

    def settle(self) -> None:
        """Wait until no call is under way: a killed client's last one is still carried out."""
        deadline = time.monotonic() + _SETTLE_SECONDS
        while self.account.table()["in_flight"]:
            if time.monotonic() > deadline:
                raise TimeoutError(f"calls stay in flight: {self.account.table()['in_flight']}")
            time.sleep(0.02)

    def sweep(self) -> None:
        """End by hand whatever a trial left, so that the next one begins in an empty account. Not part of any check."""
        self.reset()
        self.settle()
        ec2 = self.boto("ec2")
        left = self.look()
        for id_ in left.live:
            ec2.terminate_instances(InstanceIds=[id_])
        self.account.advance(5)
        scheduler = self.boto("scheduler")
        for row in self.account.table()["schedules"]:
            with contextlib.suppress(scheduler.exceptions.ResourceNotFoundException):
                scheduler.delete_schedule(Name=row["name"], GroupName=row["group"])
        for name in left.key_pairs:
            ec2.delete_key_pair(KeyName=name)
        for id_ in left.groups:
            ec2.delete_security_group(GroupId=id_)
        self.remove_built()

    def remove_built(self) -> None:
        """Take away every image that was built here, finished or not, with what it is made of."""
        ec2, table = self.boto("ec2"), self.account.table()
        for row in table["images"]:
            if "gputx:run" in row["tags"]:
                ec2.deregister_image(ImageId=row["image_id"], DeleteAssociatedSnapshots=True)
        for row in self.account.table()["snapshots"]:
            if "gputx:run" in row["tags"]:
                ec2.delete_snapshot(SnapshotId=row["snapshot_id"])

    def prices(self) -> dict[str, float]:
        """USD per hour of a spot instance by zone, now."""
        now = datetime.fromtimestamp(self.account.clock.time(), UTC)
        history = self.boto("ec2").describe_spot_price_history(
            ProductDescriptions=["Linux/UNIX"], InstanceTypes=[INSTANCE_TYPE], StartTime=now
        )["SpotPriceHistory"]
        newest: dict[str, float] = {}
        for item in sorted(history, key=lambda item: item["Timestamp"]):
            newest[item["AvailabilityZone"]] = float(item["SpotPrice"])
        return newest


@contextlib.contextmanager
def staged(directory: Path) -> Iterator[Stage]:
    """A stage for the length of a ``with`` block."""
    stage = Stage(directory)
    try:
        yield stage
    finally:
        stage.close()


def _write_clip(path: Path) -> None:
    rate = 16_000
    tone = np.sin(np.arange(CLIP_SECONDS * rate) * (2 * np.pi * 440 / rate))
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((tone * 8000).astype("<i2").tobytes())
