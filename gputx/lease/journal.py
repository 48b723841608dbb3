"""What gputx made and must end, on disk before it is made: INTENT → SENT → KNOWN → (KEPT →) TERMINATING → GONE.

An SQLite database in the user's state directory, in WAL mode with ``synchronous=FULL``: each change is fsynced
before the call it announces is sent, a torn write is undone by SQLite and not by us, and several gputx processes
may write at once. A log of our own would have to win all three again.

Beside it lies one lock file per run. Whoever holds the lock is the one who may end that run's things; the kernel
lets go of it when its holder dies, however it dies, so a run that nobody holds is one that nobody ends any more.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import sqlite3
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from gputx.clock import Clock
from gputx.errors import ConfigurationError

_BUSY_SECONDS = 10.0
_KEPT_SECONDS = 30 * 24 * 3600.0
"""How long the record of something gone is kept, for whoever wants to know what happened."""

_SCHEMA = """
create table if not exists journal (id text not null);
create table if not exists entries (
  key text primary key, account text not null, region text not null, run text not null, kind text not null,
  resource text, state text not null, deadline real not null, made real not null, changed real not null
);
create index if not exists unfinished on entries (account, region, state);
"""


class State(StrEnum):
    """How far a thing has come, in order. Only forward."""

    INTENT = "intent"
    """It will be asked for. Nothing has been sent."""
    SENT = "sent"
    """It was asked for; it may exist, whether or not an answer came."""
    KNOWN = "known"
    """It exists, under the id in ``resource``."""
    KEPT = "kept"
    """Somebody asked that it stays until its deadline. Until then nobody ends it who was not told to."""
    TERMINATING = "terminating"
    """Its end was asked for."""
    GONE = "gone"
    """Its end was seen, or it never came to be."""


_ORDER = list(State)


@dataclass(frozen=True)
class Entry:
    """One thing: ``key`` is the launch token of an instance, else kind and run. Times are seconds since the epoch."""

    key: str
    account: str
    region: str
    run_id: str
    kind: str
    resource: str | None
    state: State
    deadline: float
    changed: float

    def kept(self, now: float) -> bool:
        """Whether it is to stay for now, with nobody who holds it."""
        return self.state is State.KEPT and now < self.deadline


class Journal:
    """Opened on first use; safe from any thread, and beside other processes."""

    def __init__(self, directory: Path, clock: Clock) -> None:
        self.directory = directory
        self._clock = clock
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._id = ""

    @property
    def id(self) -> str:
        """Made with the journal, and put on everything it records: who finds the tag knows whose locks to ask.

        Raises:
            ConfigurationError: the journal can't be written.
        """
        with self._writing():
            return self._id

    def intend(
        self,
        things: Iterable[tuple[str, str, str | None]],
        *,
        account: str,
        region: str,
        run_id: str,
        deadline: float,
        state: State = State.INTENT,
    ) -> None:
        """Record that things will be made, all or none: each is (key, kind, its name where it is ours to choose).

        Raises:
            ConfigurationError: the journal can't be written; then nothing may be made.
        """
        now = self._clock.time()
        rows = [(key, account, region, run_id, kind, name, state, deadline, now, now) for key, kind, name in things]
        with self._writing() as connection:
            connection.executemany("insert or ignore into entries values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)

    def advance(self, key: str, state: State, resource: str | None = None) -> None:
        """Move a thing forward; a thing that is further already, or is not there, stays as it is.

        Raises:
            ConfigurationError: the journal can't be written.
        """
        earlier = _ORDER[: _ORDER.index(state)]
        marks = ", ".join("?" * len(earlier))
        with self._writing() as connection:
            connection.execute(
                f"update entries set state = ?, resource = coalesce(?, resource), changed = ? "  # noqa: S608 - marks
                f"where key = ? and state in ({marks})",
                (state, resource, self._clock.time(), key, *earlier),
            )

    def keep(self, run_id: str, until: float) -> None:
        """Leave what a run has made to itself until then, in seconds since the epoch. Its lock has to be held.

        Raises:
            ConfigurationError: the journal can't be written.
        """
        with self._writing() as connection:
            connection.execute(
                "update entries set state = ?, deadline = ?, changed = ? where run = ? and state = ?",
                (State.KEPT, until, self._clock.time(), run_id, State.KNOWN),
            )

    def take_back(self, run_id: str) -> None:
        """What was kept is worked on again, and so ends with whoever holds it: the one step back there is.

        Raises:
            ConfigurationError: the journal can't be written.
        """
        with self._writing() as connection:
            connection.execute(
                "update entries set state = ?, changed = ? where run = ? and state = ?",
                (State.KNOWN, self._clock.time(), run_id, State.KEPT),
            )

    def unfinished(self, account: str, region: str | None = None, run_id: str | None = None) -> list[Entry]:
        """Everything that was not seen gone, oldest first; of one region or run where given.

        Raises:
            ConfigurationError: the journal can't be read.
        """
        if not self._file.exists():
            return []
        with self._writing() as connection:
            rows = connection.execute(
                "select key, account, region, run, kind, resource, state, deadline, changed from entries "
                "where account = ? and (? is null or region = ?) and (? is null or run = ?) and state != ? "
                "order by made, key",
                (account, region, region, run_id, run_id, State.GONE),
            ).fetchall()
        return [
            Entry(key, who, where, run, kind, id_, State(state), due, at)
            for key, who, where, run, kind, id_, state, due, at in rows
        ]

    @property
    def idle(self) -> bool:
        """Whether nothing at all is open, in any account: then there is no need to ask who is calling."""
        if not self._file.exists():
            return True
        with self._writing() as connection:
            found = connection.execute("select 1 from entries where state != ? limit 1", (State.GONE,)).fetchone()
        return found is None

    def hold(self, run_id: str) -> Hold | None:
        """Take the run's lock; None where a living process has it. Taking it makes its directory.

        Raises:
            ConfigurationError: the lock file can't be made.
        """
        path = self.directory / "held" / run_id
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            while True:
                descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    # Whoever held it may have taken the file away between our open and our lock.
                    if _same_file(descriptor, path):
                        return Hold(path, descriptor)
                except BlockingIOError:
                    os.close(descriptor)
                    return None
                os.close(descriptor)
        except OSError as error:
            raise self._unusable(error) from error

    def held(self, run_id: str) -> bool:
        """Whether a living process holds the run. Asking changes nothing.

        Raises:
            ConfigurationError: the lock file can't be opened.
        """
        try:
            descriptor = os.open(self.directory / "held" / run_id, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        except OSError as error:
            raise self._unusable(error) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
        return False

    @property
    def _file(self) -> Path:
        return self.directory / "journal.sqlite3"

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """One transaction, on disk when the block has ended."""
        with self._lock:
            try:
                if self._connection is None:
                    self._connection = self._open()
                with self._connection:
                    yield self._connection
            except (sqlite3.Error, OSError) as error:
                raise self._unusable(error) from error

    def _open(self) -> sqlite3.Connection:
        self.directory.mkdir(parents=True, exist_ok=True)
        # What was launched where is nobody else's business.
        os.close(os.open(self._file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        connection = sqlite3.connect(self._file, timeout=_BUSY_SECONDS, check_same_thread=False)
        try:
            connection.execute("pragma journal_mode = wal")
            connection.execute("pragma synchronous = full")
            # On macOS an fsync alone leaves data in the disk's own cache.
            connection.execute("pragma fullfsync = on")
            connection.executescript(_SCHEMA)
            with connection:
                connection.execute("begin immediate")
                connection.execute(
                    "insert into journal select ? where not exists (select 1 from journal)", (secrets.token_hex(8),)
                )
                self._id = str(connection.execute("select id from journal").fetchone()[0])
                connection.execute(
                    "delete from entries where state = ? and changed < ?",
                    (State.GONE, self._clock.time() - _KEPT_SECONDS),
                )
        except BaseException:
            connection.close()
            raise
        return connection

    def _unusable(self, error: Exception) -> ConfigurationError:
        return ConfigurationError(
            f"the journal of what runs can't be used: {error} ({self._file})",
            hint="nothing is launched without it; free the disk, or name another place with GPUTX_STATE_DIR",
        )

    def close(self) -> None:
        """Let go of the file. What is used afterwards opens it again."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None


class Hold:
    """The lock of one run, kept until released or until this process dies."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self._path = path
        self._descriptor: int | None = descriptor

    def release(self) -> None:
        """Let go. The file goes first, while it is ours, so that what is left is only ever locked files."""
        if self._descriptor is not None:
            self._path.unlink(missing_ok=True)
            os.close(self._descriptor)
            self._descriptor = None

    def __enter__(self) -> Hold:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def _same_file(descriptor: int, path: Path) -> bool:
    try:
        there = path.stat()
    except FileNotFoundError:
        return False
    ours = os.fstat(descriptor)
    return (ours.st_dev, ours.st_ino) == (there.st_dev, there.st_ino)
