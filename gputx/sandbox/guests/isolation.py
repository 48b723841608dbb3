"""How a guest is kept away from this machine, chosen by trying."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import tempfile
import threading
import zlib
from pathlib import Path

from gputx.errors import ConfigurationError
from gputx.sandbox.guests import walls
from gputx.sandbox.guests.doorway import Doorway
from gputx.sandbox.trees import remove_tree

log = logging.getLogger(__name__)

# Within the range that systemd reserves for containers, so that no person's login has them.
_FIRST_UID, _UIDS = 1_000_000_000, 500_000_000
_LOGIN_UID = 1000
_PROBE_SECONDS = 20
_CLEAN = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}
# What a runaway guest may take: a fork bomb must end in the guest, a file in the size of its volume.
_PROCESSES = 2048
_FILE_BYTES = 30 * 1024**3
_WALLED = ("namespace", "user-namespace")


class Isolation:
    """Puts commands behind walls.

    ``namespace``: own mount, PID, network, IPC and UTS namespaces and an unprivileged user of its own, where the
    daemon is root.
    ``user-namespace``: the same inside a user namespace, where it is not. ``user``: only a user of its own
    for each guest, where root may make no namespaces (a container). ``process``: a directory, a session and a
    PATH, where nothing else works (macOS, hardened kernels).

    Args:
        directory: where the tools that guests share are laid out.
        forced: a mode to be used untried.
    """

    def __init__(self, directory: Path, *, forced: str | None = None) -> None:
        self._forced = forced
        self._directory = directory
        self._tools = directory / ".tools"
        self._mounts = directory / ".mounts"
        self._outside: Path | None = None
        self._ready = threading.Event()
        self._mode = ""
        self._own_network = False
        self._failure = ""
        threading.Thread(target=self._prepare, name="guests-isolation", daemon=True).start()

    @property
    def mode(self) -> str:
        """Waits until it is known.

        Raises:
            ConfigurationError: guests would run as root of this machine.
        """
        self._ready.wait()
        if not self._mode:
            raise ConfigurationError(
                f"guests can't be kept away from this machine: {self._failure}",
                hint="run the sandbox as an ordinary user, or with a Python that other users may run",
            )
        return self._mode

    @property
    def own_network(self) -> bool:
        """Whether a guest has a network of its own."""
        return self.mode in _WALLED and self._own_network

    @property
    def environment(self) -> dict[str, str]:
        """What a guest's first process starts with: nothing of this machine's."""
        return dict(_CLEAN)

    def disk(self, directory: Path) -> Path:
        """Where the disk of the guest with this directory has to be."""
        if self.mode == "user" and self._outside is not None:
            return self._outside / directory.name / "disk"
        return directory.resolve() / "disk"

    @property
    def grace(self) -> float:
        """Seconds a guest gets to power off before its plug is pulled.

        Longer where the first process has to end the others itself, and would leave them if it were killed.
        """
        return 1.0 if self.mode in _WALLED else 5.0

    def tools(self) -> Path:
        """Where the tools are, as the guest sees them."""
        return walls.TOOLS if self.mode in _WALLED else self._tools

    def root(self, disk: Path) -> Path:
        """Where the disk is, as the guest sees it."""
        return Path("/") if self.mode in _WALLED else disk

    def own(self, disk: Path) -> None:
        """Give a fresh disk to the user that the guest runs as."""
        if self.mode in {"namespace", "user"}:
            uid = self._uid(self.mode, disk)
            subprocess.run(["chown", "-hR", f"{uid}:{uid}", str(disk)], check=True)
        if self.mode == "user":
            disk.chmod(0o700)

    def command(self, disk: Path, hostname: str, *, door: Doorway) -> list[str]:
        """The command line of a guest's first process; ``door`` leads out of its network."""
        start = (
            f"import runpy, sys; sys.path.insert(0, {str(self.tools())!r}); "
            "runpy.run_module('machine', run_name='__main__', alter_sys=True)"
        )
        return self._enter(self.mode, disk, hostname, [sys.executable, "-I", "-c", start], door)

    def sweep(self, disk: Path) -> None:
        """Kill what may be left of a guest whose first process has ended; a namespace does so by itself."""
        if self.mode == "user":
            # As that user, "all processes" means all of its own; the shell is one, and dies last.
            drop = self._drop(self._uid("user", disk))
            subprocess.run([*drop, "sh", "-c", "kill -9 -1"], check=False, capture_output=True)

    def close(self) -> None:
        """Remove what was put outside the directory."""
        self._ready.wait()
        if self._outside is not None:
            remove_tree(self._outside)

    def _uid(self, mode: str, disk: Path) -> int:
        if mode in {"namespace", "user"}:
            return _FIRST_UID + 1 + zlib.crc32(disk.parent.name.encode()) % _UIDS
        return 0

    def _drop(self, uid: int) -> list[str]:
        return [
            *("setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups"),
            *("--inh-caps=-all", "--bounding-set=-all", "--no-new-privs"),
        ]

    def _enter(self, mode: str, disk: Path, hostname: str, inner: list[str], door: Doorway) -> list[str]:
        # Without a namespace the first process has to end the others itself when the daemon has gone.
        if mode == "process":
            return inner
        uid = self._uid(mode, disk)
        inner = ["prlimit", f"--nproc={_PROCESSES}", f"--fsize={_FILE_BYTES}", *inner]
        if mode == "user":
            return [*self._drop(uid), *inner]
        script = Path(walls.__file__).parent / "enter.sh"
        walled = ["sh", str(script), str(disk), str(self._mounts), hostname, str(uid)]
        apart = ["--mount", "--pid", "--ipc", "--uts", "--fork", "--kill-child"]
        if self._own_network:
            apart.append("--net")
            control = str(next(iter(door.descriptors), -1))
            readied = [sys.executable, "-I", "-S", str(script.with_name("network.py")), control, str(door.port)]
            walled = [*readied, *walled]
        # Killing the first process kills the namespace. The wish is lost with a change of user, so it is made
        # again after it.
        dying = ["setpriv", "--pdeathsig", "KILL"]
        if mode == "namespace":
            drop = [*self._drop(uid), "--pdeathsig", "KILL"]
            return [*dying, "unshare", *apart, *walled, *drop, *inner]
        login = ["unshare", "--user", f"--map-user={_LOGIN_UID}", f"--map-group={_LOGIN_UID}"]
        drop = [*login, "setpriv", "--no-new-privs", "--pdeathsig", "KILL"]
        return [*dying, "unshare", "--user", "--map-root-user", *apart, *walled, *drop, *inner]

    def _prepare(self) -> None:
        try:
            walls.lay_out_tools(self._tools)
            self._mode = self._choose()
        except (OSError, ValueError) as error:
            self._failure = str(error)
        finally:
            self._ready.set()

    def _choose(self) -> str:
        candidates = ("namespace", "user") if os.geteuid() == 0 else ("user-namespace", "process")
        for mode in (self._forced,) if self._forced else candidates:
            if mode in _WALLED and sys.platform == "linux":
                self._mounts.write_text(walls.mounts(self._tools), encoding="utf-8")
                self._own_network = True
                if not (refused := self._probe(mode)):
                    return mode
                self._own_network = False
                log.info("mode %s without a network of the guest's own: %s", mode, refused)
            if mode == "user":
                self._move_outside()
            if mode in {self._forced, "process"}:
                return mode
            self._failure = self._probe(mode)
            if not self._failure:
                return mode
        return ""

    def _move_outside(self) -> None:
        """Disks and tools go where a user can get to whose way root's own directories would bar."""
        self._outside = Path(tempfile.mkdtemp(prefix="gputx-guests-")).resolve()
        self._outside.chmod(0o711)
        self._tools = self._outside / "tools"
        walls.lay_out_tools(self._tools)

    def _probe(self, mode: str) -> str:
        """Why a mode can't be had here; empty if it can."""
        if sys.platform != "linux":
            return "this is not Linux"
        with tempfile.TemporaryDirectory(dir=self._directory, prefix=".probe-") as scratch:
            disk = Path(scratch).resolve() / "disk"
            disk.mkdir()
            # By way of a shell, because the first program is still found with the rights of before the drop.
            program = ["sh", "-c", 'exec "$0" -I -c "import socket"', sys.executable]
            command = self._enter(mode, disk, "probe", program, Doorway(None))
            try:
                tried = subprocess.run(
                    command,
                    env=_CLEAN,
                    cwd="/",
                    stdin=subprocess.DEVNULL,
                    capture_output=True,
                    text=True,
                    timeout=_PROBE_SECONDS,
                    check=False,
                )
            except (OSError, subprocess.TimeoutExpired) as error:
                return str(error)
            return "" if tried.returncode == 0 else tried.stderr.strip() or f"exit status {tried.returncode}"
