"""One part of what ``gputx setup`` makes: how it stands, how to make what lacks, how to take it away again."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar

from gputx.aws.errors import AwsError, Meaning
from gputx.aws.session import AwsSession
from gputx.errors import ConfigurationError, GputxError

_PAUSES = (1.0, 2.0, 4.0)
"""Seconds between looks for what was made just now."""


class Standing(StrEnum):
    """How a part stands in the account. The words are those that people and ``--json`` see."""

    ABSENT = "absent"
    PARTLY = "incomplete"
    """It is ours, and something of it is missing."""
    WHOLE = "there"
    ASKED = "asked for"
    """AWS has been asked and has not answered."""
    FOREIGN = "not ours"
    """It is in the account without our tag: a person made it. It is used as it is, and never changed."""
    TAKEN = "taken"
    """The name belongs to another account, so that it can't be used."""


@dataclass(frozen=True)
class Found:
    """What a look at a part came to.

    Attributes:
        detail: a few words for people.
        lacking: what is missing of it, in the words of its ``make``.
        ours: whether ``gputx setup`` made it, so that ``gputx teardown`` takes it away.
        remedy: a command that changes this for the better, where gputx does not do it by itself.
    """

    standing: Standing
    detail: str = ""
    lacking: tuple[str, ...] = ()
    ours: bool = True
    remedy: str | None = None


@dataclass(frozen=True)
class Part(ABC):
    """A thing of the account's. ``name`` is the account's name for it."""

    kind: ClassVar[str]
    everywhere: ClassVar[bool] = False
    """It is the account's, whatever the region: roles, the budget."""
    name: str

    @property
    def cost(self) -> str:
        """What it costs, in a few words."""
        return "nothing"

    @property
    def unmade_because(self) -> str | None:
        """Why it is not made although it is absent: what is missing is a person's word."""
        return None

    @abstractmethod
    def look(self, session: AwsSession) -> Found:
        """How it stands. Changes nothing. Raises AwsError."""

    @abstractmethod
    def make(self, session: AwsSession, found: Found) -> None:
        """Make what is missing by ``found``, which is ABSENT or PARTLY.

        It may be broken off after any of its calls, and be called again.

        Raises:
            GputxError: AWS refuses or does not answer, or it is there by now and not ours.
        """

    @abstractmethod
    def unmake(self, session: AwsSession) -> None:
        """Take away what is ours. What has gone already is no error.

        Raises:
            GputxError: something else holds it, AWS refuses or does not answer.
        """

    def _create(self, session: AwsSession, create: Callable[[], object], found: Found) -> Found:
        """Make the thing itself where it is absent, tag and all in one call; return how it stands then.

        An answer that was lost has botocore ask again, and AWS say that it is there: then it is looked at, and goes
        on as if it had been there from the start, if it is ours.
        """
        if found.standing is not Standing.ABSENT:
            return found
        try:
            create()
        except AwsError as error:
            if error.meaning is not Meaning.EXISTS:
                raise
        again = self._shown(session)
        if again.standing in {Standing.FOREIGN, Standing.TAKEN}:
            raise ConfigurationError(f"{self.kind} {self.name} is not ours: {again.detail}", hint=again.remedy)
        if again.standing is Standing.ABSENT:
            raise GputxError(
                f"{self.kind} {self.name} was made, and AWS does not show it yet", hint="gputx setup goes on from here"
            )
        return again

    def _shown(self, session: AwsSession) -> Found:
        """How it stands once AWS shows it: IAM takes seconds over that."""
        for pause in _PAUSES:
            if (found := self.look(session)).standing is not Standing.ABSENT:
                return found
            session.clock.sleep(pause)
        return self.look(session)


def unless_gone(ask: Callable[[], dict[str, Any]]) -> dict[str, Any] | None:
    """The answer; None where AWS says that there is no such thing. Raises AwsError for everything else."""
    try:
        return ask()
    except AwsError as error:
        if error.meaning is Meaning.GONE:
            return None
        raise
