"""The journal: on disk before anything is sent, one truth for many processes, a lock that dies with its holder."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from clocks import ManualClock

from gputx.errors import ConfigurationError
from gputx.lease.journal import Journal, State


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    journal = Journal(tmp_path / "state", ManualClock())
    yield journal
    journal.close()


def intend(journal: Journal, key: str = "t1", run: str = "r1", state: State = State.INTENT) -> None:
    journal.intend(
        [(key, "instance", None)], account="1", region="eu-north-1", run_id=run, deadline=1_800_000_000, state=state
    )


def test_a_thing_only_goes_forward(journal: Journal) -> None:
    intend(journal)
    journal.advance("t1", State.SENT)
    journal.advance("t1", State.KNOWN, "i-1")
    journal.advance("t1", State.SENT)
    [entry] = journal.unfinished("1")
    assert (entry.state, entry.resource, entry.run_id, entry.kind) == (State.KNOWN, "i-1", "r1", "instance")
    journal.advance("t1", State.GONE)
    assert journal.unfinished("1") == []
    journal.advance("t1", State.TERMINATING)
    assert journal.unfinished("1") == []


def test_what_was_not_recorded_can_not_come_up(journal: Journal) -> None:
    intend(journal)
    journal.advance("unheard-of", State.KNOWN, "i-9")
    assert [entry.key for entry in journal.unfinished("1")] == ["t1"]


def test_it_is_asked_by_account_region_and_run(journal: Journal) -> None:
    intend(journal)
    intend(journal, "t2", "r2")
    assert [entry.run_id for entry in journal.unfinished("1", "eu-north-1")] == ["r1", "r2"]
    assert [entry.run_id for entry in journal.unfinished("1", None, "r2")] == ["r2"]
    assert journal.unfinished("1", "us-east-1") == []
    assert journal.unfinished("2") == []


def test_asking_makes_nothing(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "nowhere", ManualClock())
    assert journal.idle
    assert journal.unfinished("1") == []
    assert not journal.held("r1")
    assert not (tmp_path / "nowhere").exists()


def test_its_id_stays_and_is_its_own(journal: Journal, tmp_path: Path) -> None:
    again, other = Journal(journal.directory, ManualClock()), Journal(tmp_path / "other", ManualClock())
    assert journal.id == again.id
    assert journal.id != other.id
    again.close()
    other.close()


def test_it_is_for_its_owner_s_eyes_only(journal: Journal) -> None:
    intend(journal)
    files = [path for path in journal.directory.iterdir() if path.is_file()]
    assert files
    assert all(path.stat().st_mode & 0o077 == 0 for path in files)


def test_every_change_is_synced_in_wal_mode(journal: Journal) -> None:
    intend(journal)
    with journal._writing() as connection:
        assert connection.execute("pragma journal_mode").fetchone()[0] == "wal"
        assert connection.execute("pragma synchronous").fetchone()[0] == 2


def test_what_is_long_gone_is_forgotten(tmp_path: Path) -> None:
    clock = ManualClock()
    journal = Journal(tmp_path, clock)
    intend(journal)
    intend(journal, "t2")
    journal.advance("t1", State.GONE)
    journal.close()
    clock.now += 31 * 86400
    assert [entry.key for entry in journal.unfinished("1")] == ["t2"]
    journal.close()
    with sqlite3.connect(tmp_path / "journal.sqlite3") as connection:
        assert connection.execute("select key from entries").fetchall() == [("t2",)]
    connection.close()


@pytest.mark.parametrize("broken", ["a directory", "a damaged file"])
def test_one_that_can_not_be_written_says_so(tmp_path: Path, broken: str) -> None:
    if broken == "a directory":
        (tmp_path / "journal.sqlite3").mkdir()
    else:
        (tmp_path / "journal.sqlite3").write_bytes(b"this was a database once " * 200)
    with pytest.raises(ConfigurationError, match="the journal of what runs") as caught:
        intend(Journal(tmp_path, ManualClock()))
    assert "GPUTX_STATE_DIR" in (caught.value.hint or "")


SENDS_AND_DIES = """
import os, signal, sys
from pathlib import Path
from gputx.clock import SystemClock
from gputx.lease.journal import Journal, State
journal = Journal(Path(sys.argv[1]), SystemClock())
held = journal.hold("r1")
journal.intend([("t1", "instance", None)], account="1", region="r", run_id="r1", deadline=2e9)
journal.advance("t1", State.SENT)
print("sent", flush=True)
sys.stdin.readline()
"""


def test_a_killed_process_leaves_its_lines_and_lets_go_of_its_lock(tmp_path: Path) -> None:
    """The line was read from another process's disk: what SENT says was on it before the call could go out."""
    journal = Journal(tmp_path, ManualClock())
    with subprocess.Popen(
        [sys.executable, "-c", SENDS_AND_DIES, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "sent\n"
        assert journal.held("r1")
        assert journal.hold("r1") is None
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert process.stdin is not None
        process.stdin.close()
    assert not journal.held("r1")
    assert [entry.state for entry in journal.unfinished("1")] == [State.SENT]
    with journal.hold("r1") as hold:
        assert hold is not None
        assert journal.held("r1")
    assert not (tmp_path / "held" / "r1").exists()
    journal.close()


WRITES_MANY = """
import sys
from pathlib import Path
from gputx.clock import SystemClock
from gputx.lease.journal import Journal, State
journal = Journal(Path(sys.argv[1]), SystemClock())
for number in range(20):
    key = f"{sys.argv[2]}-{number}"
    journal.intend([(key, "instance", None)], account="1", region="r", run_id=sys.argv[2], deadline=2e9)
    journal.advance(key, State.SENT)
"""


def test_many_processes_write_at_once(tmp_path: Path) -> None:
    """From nothing: each of them also wants to make the file, set its mode and give it an id."""
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITES_MANY, str(tmp_path), f"run{number}"], stderr=subprocess.PIPE)
        for number in range(6)
    ]
    said = [writer.communicate(timeout=60)[1].decode() for writer in writers]
    assert said == [""] * 6
    journal = Journal(tmp_path, ManualClock())
    assert len(journal.unfinished("1")) == 120
    assert {entry.state for entry in journal.unfinished("1")} == {State.SENT}
    journal.close()


def test_only_one_of_many_takes_a_lock(journal: Journal) -> None:
    holds = [journal.hold("r1") for _ in range(3)]
    assert [hold is not None for hold in holds] == [True, False, False]
    first = holds[0]
    assert first is not None
    first.release()
    again = journal.hold("r1")
    assert again is not None
    again.release()
    assert list((journal.directory / "held").iterdir()) == []
