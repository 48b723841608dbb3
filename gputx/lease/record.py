"""One run's lines in the journal, with the lock that says who may end the run."""

from __future__ import annotations

from collections.abc import Callable

from gputx.errors import ConfigurationError
from gputx.lease.journal import Hold, Journal, State
from gputx.models import Kind


class RunRecord:
    """What one run makes. Before a thing is made a journal that fails is an error; afterwards it is only said.

    Args:
        deadline: seconds since the epoch after which nothing of the run can still be there.
        say: told once if the journal fails when something has to be ended all the same.
        hold: the run's lock, where it was taken already.
    """

    def __init__(
        self,
        journal: Journal,
        *,
        account: str,
        region: str,
        run_id: str,
        deadline: float,
        say: Callable[[str], None] = lambda _: None,
        hold: Hold | None = None,
    ) -> None:
        self.run_id = run_id
        self.deadline = deadline
        self._journal = journal
        self._account = account
        self._region = region
        self._say = say
        self._hold = hold
        self._failed = False

    @property
    def journal_id(self) -> str:
        """Raises ConfigurationError."""
        return self._journal.id

    def hold(self) -> None:
        """Take the run's lock, for as long as this process lives or until :meth:`close`.

        Raises:
            ConfigurationError: it can't be taken; nothing may be made.
        """
        if self._hold is None:
            self._hold = self._journal.hold(self.run_id)
            if self._hold is None:
                raise ConfigurationError(f"another gputx process is at work on run {self.run_id}")

    def will_make(self, kind: Kind, *, key: str | None = None, name: str | None = None, sent: bool = False) -> None:
        """INTENT, on disk; or SENT at once, where the call is the very next thing.

        Args:
            key: a launch's token; other kinds have one of each in a run.

        Raises:
            ConfigurationError: it could not be written; the thing may not be made.
        """
        self._journal.intend(
            [(key or self.key(kind), kind, name)],
            account=self._account,
            region=self._region,
            run_id=self.run_id,
            deadline=self.deadline,
            state=State.SENT if sent else State.INTENT,
        )

    def sending(self, key: str) -> None:
        """SENT, on disk: the very next thing is the call.

        Raises:
            ConfigurationError: it could not be written; the call may not be sent.
        """
        self._journal.advance(key, State.SENT)

    def known(self, kind: Kind, resource: str, key: str | None = None) -> None:
        self._note(key or self.key(kind), State.KNOWN, resource)

    def terminating(self, kind: Kind, key: str | None = None) -> None:
        self._note(key or self.key(kind), State.TERMINATING)

    def gone(self, kind: Kind, key: str | None = None) -> None:
        self._note(key or self.key(kind), State.GONE)

    def keep(self, until: float) -> None:
        """Everything known stays until then, in seconds since the epoch. Raises ConfigurationError."""
        self._journal.keep(self.run_id, until)

    def take_back(self) -> None:
        """What was kept is ours again. Raises ConfigurationError."""
        self._journal.take_back(self.run_id)

    def close(self) -> None:
        """Let go of the run: whatever is still open in the journal is anybody's to end."""
        if self._hold is not None:
            self._hold.release()
            self._hold = None

    def key(self, kind: Kind) -> str:
        return f"{self.run_id}/{kind}"

    def _note(self, key: str, state: State, resource: str | None = None) -> None:
        try:
            self._journal.advance(key, state, resource)
        except ConfigurationError as error:
            if not self._failed:
                self._say(error.message)
            self._failed = True
