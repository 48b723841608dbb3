"""Starting, reaping and ending processes, as the first process of a system has to."""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

_PR_SET_CHILD_SUBREAPER = 36
_POLL_SECONDS = 0.01
_PROC = Path("/proc")


class Processes:
    """All processes of the guest.

    asyncio's own child watchers would race with the reaping of orphans, which is the first process's duty; so
    every exit is collected here, and nobody else waits for a child.
    """

    def __init__(self, *, first: bool) -> None:
        self._first = first
        self._loop = asyncio.get_running_loop()
        self._running: dict[int, tuple[subprocess.Popen[bytes], asyncio.Future[int]]] = {}
        self._sessions: set[int] = set()
        self._loop.add_signal_handler(signal.SIGCHLD, self._reap)
        if not first and sys.platform == "linux":
            ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)

    def spawn(
        self,
        arguments: Sequence[str],
        *,
        environment: Mapping[str, str],
        directory: Path,
        stdin: int = subprocess.DEVNULL,
        stdout: int = subprocess.DEVNULL,
        stderr: int = subprocess.DEVNULL,
        before_exec: Callable[[], None] | None = None,
    ) -> tuple[int, asyncio.Future[int]]:
        """Start a process in a session of its own. Has to be called on the loop's thread.

        Returns:
            Its id, and a future of its exit status (negative: the signal that ended it).

        Raises:
            OSError: it can't be started.
        """
        process = subprocess.Popen(
            list(arguments),
            env=dict(environment),
            cwd=directory,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,
            preexec_fn=before_exec,  # noqa: PLW1509 - a controlling terminal can be taken in no other way
        )
        exited: asyncio.Future[int] = self._loop.create_future()
        self._running[process.pid] = (process, exited)
        self._sessions.add(process.pid)
        return process.pid, exited

    def signal(self, pid: int, number: int) -> None:
        """Signal a process started here and its group, unless it has ended."""
        if pid in self._running:
            os.killpg(pid, number)

    @property
    def seen(self) -> bool:
        """Whether the states of processes can be looked at here."""
        return (_PROC / "self" / "stat").exists()

    def busy(self) -> bool:
        """Whether a process of the guest is at work, rather than waiting for something."""
        return any(state in "RD" for state in self._states())

    def _states(self) -> Iterator[str]:
        own = str(os.getpid())
        for entry in _PROC.iterdir() if self.seen else ():
            if not entry.name.isdigit() or entry.name == own:
                continue
            try:
                text = (entry / "stat").read_text(encoding="utf-8", errors="replace")
            except OSError:
                continue  # gone meanwhile
            # The name before it is in brackets, and may have some in it.
            state, parent, _, session = text.rpartition(") ")[2].split()[:4]
            if self._first or parent == own or int(session) in self._sessions:
                yield state

    async def end_all(self, grace: float) -> None:
        """SIGTERM to every process of the guest, SIGKILL to those still there after ``grace`` seconds."""
        self._signal_all(signal.SIGTERM)
        self._signal_all(signal.SIGCONT)
        deadline = self._loop.time() + grace
        while self._others() and self._loop.time() < deadline:
            await asyncio.sleep(_POLL_SECONDS)
        self._signal_all(signal.SIGKILL)

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            entry = self._running.pop(pid, None)
            if entry is None:
                continue  # an orphan: adopted, mourned, forgotten
            process, exited = entry
            process.returncode = os.waitstatus_to_exitcode(status)
            if not exited.done():
                exited.set_result(process.returncode)

    def _others(self) -> bool:
        if not self._first:
            return bool(self._descendants())
        try:
            # Every process of the namespace is a child of its first one by now or ends with its parent.
            os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return False
        return True

    def _signal_all(self, number: int) -> None:
        targets = [-1] if self._first else self._descendants()
        for target in targets:
            try:
                os.kill(target, number)
            except ProcessLookupError:
                continue  # gone meanwhile, which is what was wanted

    def _descendants(self) -> list[int]:
        """Without a namespace: everything below this process, and everything in a session started here."""
        listing = subprocess.run(["ps", "-axo", "pid=,ppid=,pgid="], capture_output=True, text=True, check=True).stdout
        rows = [tuple(int(field) for field in line.split()) for line in listing.splitlines()]
        found = {os.getpid()}
        grew = True
        while grew:
            more = {pid for pid, parent, group in rows if parent in found or group in self._sessions} - found
            found |= more
            grew = bool(more)
        return sorted(found - {os.getpid()})
