"""The door to one AWS account in one region: clients made once, calls that fail in our words."""

from __future__ import annotations

import copy
import os
import threading
from dataclasses import dataclass
from typing import Any

import boto3
import botocore.session
from botocore import xform_name
from botocore.config import Config

from gputx.aws.errors import from_botocore
from gputx.clock import Clock
from gputx.errors import ConfigurationError, GputxError

CHECKIP = "https://checkip.amazonaws.com"
"""AWS's own answer to "what is my public address?"."""

_OUTSIDE_SSH = "git-codecommit.{region}.amazonaws.com"
"""AWS's own Git service, which takes SSH at port 22. Source: "AWS CodeCommit endpoints and quotas"."""

_PRICING_REGION = "eu-central-1"
"""The Price List API has three endpoints (us-east-1, eu-central-1, ap-south-1); each knows every region."""

_CONNECT_SECONDS, _READ_SECONDS, _BRISK_READ_SECONDS = 5, 20, 10

_S3 = {"signature_version": "s3v4", "s3": {"addressing_style": "virtual"}}
"""With "auto" a presigned address names the global host, which answers a redirect that its signature does not cover;
"virtual" names the region's. botocore leaves an address that is an IP, as an emulator's, in path style all the same.
"""


@dataclass(frozen=True)
class Emulator:
    """Where an emulated account listens, and the only keys it takes."""

    endpoint_url: str
    access_key: str
    secret_key: str
    checkip_url: str
    outside_ssh: tuple[str, int]


class GivenUpError(Exception):
    """A call was not sent because the session had been given up."""


class AwsSession:
    """All AWS calls of a command go through :meth:`call`.

    Two EC2 clients are kept: one that lets botocore retry (reads, clean-up), and one that makes a single
    attempt, because a launch is turned from pool to pool by gputx itself.
    """

    def __init__(
        self, *, region: str, clock: Clock, profile: str | None = None, emulator: Emulator | None = None
    ) -> None:
        """
        Raises:
            ConfigurationError: the profile does not exist, or the region is no AWS region.
        """
        self.region = region
        self.clock = clock
        self.checkip_url = emulator.checkip_url if emulator else CHECKIP
        self.outside_ssh = (
            (emulator.outside_ssh,)
            if emulator
            else tuple((_OUTSIDE_SSH.format(region=name), 22) for name in dict.fromkeys((region, "us-east-1")))
        )
        """Hosts and ports of AWS's own where an sshd says hello to anybody; not every region has one."""
        self.emulated = emulator is not None
        """On loopback, so that no proxy is asked for the way. Nothing else may depend on it."""
        self._emulator = emulator
        self._given_up = False
        self._attempts, self._read_seconds = 4, _READ_SECONDS
        self._lock = threading.Lock()
        self._clients: dict[tuple[str, bool], Any] = {}
        self._boto: Any = self._open(profile)
        self._profile = profile
        known = self.known_regions()
        if region not in known:
            raise ConfigurationError(
                f"{region!r} is not an AWS region",
                hint=f"--region takes one like eu-north-1 ({len(known)} are known)",
            )

    def single_minded(self) -> AwsSession:
        """The same, for somebody who asks again by himself: each call is tried once, and answers within seconds."""
        there = copy.copy(self)
        there._clients = {}
        there._attempts, there._read_seconds = 1, _BRISK_READ_SECONDS
        return there

    def elsewhere(self, region: str) -> AwsSession:
        """The same account in a region that AWS has named. What boto3 has read of its services is not read again."""
        there = copy.copy(self)
        there.region = region
        there._clients = {}
        return there

    def _open(self, profile: str | None) -> Any:
        """A boto3 session, with credentials as they are now."""
        try:
            if self._emulator is None:
                return boto3.Session(profile_name=profile, region_name=self.region)
            # A session of its own, with nothing of the person's AWS config: real keys never go to an emulator.
            core = botocore.session.Session(
                session_vars={
                    "profile": (None, None, None, None),
                    "config_file": (None, None, os.devnull, None),
                    "credentials_file": (None, None, os.devnull, None),
                }
            )
            return boto3.Session(
                aws_access_key_id=self._emulator.access_key,
                aws_secret_access_key=self._emulator.secret_key,
                region_name=self.region,
                botocore_session=core,
            )
        except Exception as error:
            raise from_botocore(error, service="sts", operation="Session", place=self.region) from error

    def known_regions(self) -> list[str]:
        """The names of AWS's regions, of all partitions, as boto3 knows them."""
        return [
            name
            for partition in self._boto.get_available_partitions()
            for name in self._boto.get_available_regions("ec2", partition_name=partition)
        ]

    def credentials(self) -> Any:
        """botocore's credentials, None where there are none. For ``aws/`` only."""
        return self._boto.get_credentials()

    def renew(self) -> None:
        """Read the credentials anew, for every call from now on: a person may have renewed them meanwhile.

        Raises:
            ConfigurationError: there are none now; those from before stay in use.
        """
        fresh = self._open(self._profile)
        with self._lock:
            self._boto = fresh
            self._clients.clear()

    def call(self, service: str, operation: str, *, single_attempt: bool = False, **parameters: Any) -> dict[str, Any]:
        """One API call, by its AWS name (``DescribeInstances``). Expired credentials are read anew, once.

        Raises:
            AwsError: with the meaning of what went wrong.
            ConfigurationError: there are no credentials.
        """
        try:
            return self._send(service, operation, single_attempt, parameters)
        except GputxError as error:
            if not error.renewable or self._given_up:
                raise
            # A refusal over credentials means that nothing was done: with fresh ones it may be asked again.
            self.renew()
        return self._send(service, operation, single_attempt, parameters)

    def _send(self, service: str, operation: str, single_attempt: bool, parameters: dict[str, Any]) -> dict[str, Any]:
        try:
            method = getattr(self.client(service, single_attempt=single_attempt), xform_name(operation))
            answer: dict[str, Any] = method(**parameters)
        except Exception as error:
            raise from_botocore(error, service=service, operation=operation, place=self.region) from error
        return answer

    def pages(self, service: str, operation: str, key: str, **parameters: Any) -> list[Any]:
        """All pages of a list, joined under ``key``. Raises what :meth:`call` raises."""
        try:
            paginator = self.client(service).get_paginator(xform_name(operation))
            return [item for page in paginator.paginate(**parameters) for item in page.get(key, [])]
        except Exception as error:
            raise from_botocore(error, service=service, operation=operation, place=self.region) from error

    def give_up(self) -> None:
        """Let every call that has not been sent yet fail, retries included: nobody waits for the answers.

        Only for calls that make nothing; a session that was given up cleans nothing up either.
        """
        self._given_up = True

    def _refuse_if_given_up(self, **_: Any) -> None:
        if self._given_up:
            raise GivenUpError("the run has been stopped")

    def client(self, service: str, *, single_attempt: bool = False) -> Any:
        """The boto3 client, made on first use. For ``aws/`` only."""
        with self._lock:
            key = (service, single_attempt)
            if key not in self._clients:
                attempts = 1 if single_attempt else self._attempts
                client = self._boto.client(
                    service,
                    region_name=_PRICING_REGION if service == "pricing" else self.region,
                    endpoint_url=self._emulator.endpoint_url if self._emulator else None,
                    config=Config(
                        connect_timeout=_CONNECT_SECONDS,
                        read_timeout=self._read_seconds,
                        retries={"total_max_attempts": attempts, "mode": "standard"},
                        user_agent_extra="gputx",
                        # An emulator is on loopback: no proxy knows it.
                        proxies={} if self._emulator else None,
                        **(_S3 if service == "s3" else {}),
                    ),
                )
                # Before each attempt, botocore's own retries included.
                client.meta.events.register("before-send", self._refuse_if_given_up)
                self._clients[key] = client
            return self._clients[key]
