"""The one place that decides which account is talked to: a real one, or the sandbox."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from gputx import sandbox
from gputx.aws.session import AwsSession, Emulator
from gputx.clock import SystemClock


@contextmanager
def open_session(on: str, *, region: str, profile: str | None) -> Iterator[AwsSession]:
    """A session with the account that ``on`` names.

    For ``sandbox`` the emulated account that is up is used, or one is started that ends with this block.

    Raises:
        ConfigurationError: the profile or region is wrong, or the sandbox can't be started.
    """
    if on != "sandbox":
        yield AwsSession(region=region, profile=profile, clock=SystemClock())
        return
    account = sandbox.find()
    if account is not None:
        yield _emulated(account, region)
        return
    with sandbox.ephemeral(region=region) as passing:
        yield _emulated(passing, region)


def _emulated(account: sandbox.Account, region: str) -> AwsSession:
    emulator = Emulator(account.endpoint_url, account.access_key, account.secret_key, account.checkip_url)
    return AwsSession(region=region, clock=account.clock, emulator=emulator)
