"""The one place that decides which account is talked to, a real one or the sandbox, and where its journal is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from gputx import sandbox
from gputx.aws.session import AwsSession, Emulator
from gputx.clock import SystemClock
from gputx.config import state_directory
from gputx.errors import ConfigurationError
from gputx.lease.journal import Journal


@dataclass(frozen=True)
class Place:
    """An account in one region, and the journal of what gputx made in it."""

    session: AwsSession
    journal: Journal


ACCOUNTS = ("aws", "sandbox")
_NAME_ONE = "--on aws or --on sandbox; servers and --on auto are for gputx run"

_RECIPES = {"sandbox": "cpu"}
"""The profile of a recipe that fits what runs there, where it is not the default one: a guest has no GPU."""


def recipe_for(on: str) -> str:
    """The profile that an image is built with where none is named."""
    return _RECIPES.get(on, "t4")


def journal_here(on: str) -> Journal | None:
    """The journal of the account that ``on`` names, without a word to the account; None where there is none to ask."""
    if on == "sandbox":
        account = sandbox.find()
        return Journal(_beside(account), account.clock) if account else None
    return Journal(state_directory(), SystemClock())


@contextmanager
def open_place(on: str, *, region: str, profile: str | None) -> Iterator[Place]:
    """The account that ``on`` names.

    For ``sandbox`` the emulated account that is up is used, or one is started that ends with this block.

    Raises:
        ConfigurationError: the profile or region is wrong, or the sandbox can't be started; or it names no account.
    """
    if on not in ACCOUNTS:
        raise ConfigurationError(f"--on {on} names no account, and this command needs one", hint=_NAME_ONE)
    with ExitStack() as stack:
        if on == "sandbox":
            account = sandbox.find() or stack.enter_context(sandbox.ephemeral(region=region))
            session, home = _emulated(account, region), _beside(account)
        else:
            session, home = AwsSession(region=region, profile=profile, clock=SystemClock()), state_directory()
        journal = Journal(home, session.clock)
        stack.callback(journal.close)
        yield Place(session, journal)


def _beside(account: sandbox.Account) -> Path:
    """Where the journal of an emulated account is kept: with the account, because what it records ends with it."""
    return state_directory(account.state_dir) / "journals" / account.access_key


def _emulated(account: sandbox.Account, region: str) -> AwsSession:
    emulator = Emulator(
        account.endpoint_url, account.access_key, account.secret_key, account.checkip_url, account.outside_ssh
    )
    return AwsSession(region=region, clock=account.clock, emulator=emulator)
