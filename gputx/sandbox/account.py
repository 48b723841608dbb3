"""A running sandbox as its users see it: its keys, its clock, what is in it; how to start and stop one."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gputx.errors import ConfigurationError, GputxError, InputError
from gputx.sandbox.clock import SandboxClock
from gputx.sandbox.state import StateDirectory

DEFAULT_REGION = "eu-north-1"
PENDING_SECONDS = 2.0
SHUTTING_DOWN_SECONDS = 3.0
LAG_SECONDS = 0.3
_START_TIMEOUT_SECONDS = 60.0
_STOP_TIMEOUT_SECONDS = 15.0
_ANSWER_TIMEOUT_SECONDS = 60.0
_SECRET_HEADER = "X-Gputx-Sandbox-Secret"  # noqa: S105 - the header's name
_NEEDED = ("moto", "flask", "werkzeug", "asyncssh", "yaml")


@dataclass
class Account:
    """One emulated account. All methods ask the daemon and take milliseconds.

    Attributes:
        access_key: the only key the account accepts; it opens nothing anywhere else.
        model: the directory of the tiny model that is in the account's image.
        checkip_url: answers as https://checkip.amazonaws.com does.
        outside_ssh: a host and port where an sshd says hello that is no guest's, as there are many on the internet.
    """

    endpoint_url: str
    region: str
    access_key: str
    secret_key: str = field(repr=False)
    account_id: str
    model: Path
    checkip_url: str
    outside_ssh: tuple[str, int]
    state_dir: Path
    pid: int
    _secret: str = field(repr=False)

    @property
    def clock(self) -> SandboxClock:
        """The account's clock, shared with every guest."""
        return SandboxClock(StateDirectory(self.state_dir).clock)

    def status(self) -> dict[str, Any]:
        """Endpoint, keys, clock, the state of every instance, and the rules in force."""
        return self._ask_document("GET", "status")

    def table(self) -> dict[str, Any]:
        """Everything in the account, without visibility lag: see docs/sandbox.md for the columns."""
        return self._ask_document("GET", "table")

    def calls(self, since: int = 0) -> list[dict[str, Any]]:
        """The AWS calls that came after call number ``since``, of the last 20,000; see docs/sandbox.md."""
        calls: list[dict[str, Any]] = self._ask("GET", f"calls?since={since}")
        return calls

    def advance(self, seconds: float) -> float:
        """Turn the clock forward; all that falls due has happened when it returns. The new offset in seconds.

        Raises:
            InputError: ``seconds`` is negative, or leads more than ten years ahead.
        """
        return float(self._ask_document("POST", "clock/advance", {"seconds": seconds})["offset"])

    def add_rule(self, text: str) -> dict[str, Any]:
        """Put a rule in force; returns its ``id``, ``text``, ``hits`` and ``times``.

        Raises:
            InputError: the text is no rule.
        """
        return self._ask_document("POST", "rules", {"text": text})

    def rules(self) -> list[dict[str, Any]]:
        """The rules in force, in order, with how often each took effect."""
        rules: list[dict[str, Any]] = self._ask("GET", "rules")
        return rules

    def remove_rule(self, rule_id: str) -> None:
        """Take a rule out of force.

        Raises:
            InputError: there is none of that id.
        """
        self._ask("DELETE", f"rules/{urllib.parse.quote(rule_id, safe='')}")

    def clear_rules(self) -> None:
        self._ask("DELETE", "rules")

    def stop(self) -> None:
        """End the daemon and every guest; returns when they are gone.

        Raises:
            GputxError: it does not end.
        """
        state = StateDirectory(self.state_dir)
        with contextlib.suppress(ConfigurationError):  # it may have gone meanwhile, which is what is wanted
            self._ask("POST", "stop")
        deadline = time.monotonic() + _STOP_TIMEOUT_SECONDS
        while state.owned:
            if time.monotonic() > deadline:
                raise GputxError(f"the sandbox does not end (pid {self.pid})", hint=f"kill -9 {self.pid}")
            time.sleep(0.02)
        if child := _children.pop(self.state_dir, None):
            child.wait(_STOP_TIMEOUT_SECONDS)
        if (lifeline := _lifelines.pop(self.state_dir, None)) is not None:
            os.close(lifeline)

    def _ask_document(self, method: str, path: str, document: object = None) -> dict[str, Any]:
        answer: dict[str, Any] = self._ask(method, path, document)
        return answer

    def _ask(self, method: str, path: str, document: object = None) -> Any:
        request = urllib.request.Request(  # noqa: S310 - the scheme is ours
            f"{self.endpoint_url}/_sandbox/{path}",
            method=method,
            data=None if document is None else json.dumps(document).encode(),
            headers={_SECRET_HEADER: self._secret, "Content-Type": "application/json"},
        )
        # Loopback is not to be asked for through a proxy.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=_ANSWER_TIMEOUT_SECONDS) as response:
                return json.load(response)
        except urllib.error.HTTPError as error:
            with error:
                refusal = json.load(error)
            raise InputError(refusal["error"], hint=refusal.get("hint")) from error
        except OSError as error:
            raise ConfigurationError(
                f"the sandbox at {self.endpoint_url} does not answer", hint="gputx sandbox up"
            ) from error


def find(state_dir: Path | None = None) -> Account | None:
    """The sandbox that runs in ``state_dir`` (default: the user's own), or None. Starts nothing."""
    description = StateDirectory(state_dir).read_description()
    if description is None:
        return None
    secret = description.pop("secret")
    model, directory = Path(description.pop("model")), Path(description.pop("state_dir"))
    host, port = description.pop("outside_ssh")
    return Account(**description, model=model, outside_ssh=(host, port), state_dir=directory, _secret=secret)


def up(
    state_dir: Path | None = None,
    *,
    region: str = DEFAULT_REGION,
    pending_seconds: float = PENDING_SECONDS,
    shutting_down_seconds: float = SHUTTING_DOWN_SECONDS,
    lag_seconds: float = LAG_SECONDS,
    linger: bool = True,
    bare: bool = False,
) -> Account:
    """The sandbox that runs in ``state_dir``, started if none does; one that runs stays as it is.

    Args:
        state_dir: default: ``GPUTX_SANDBOX_DIR``, else the user's state directory.
        region: the region that has an image and a bucket.
        pending_seconds: from launch to running, on the sandbox's clock.
        shutting_down_seconds: from shutting-down to terminated.
        lag_seconds: from launch until Describe shows an instance.
        bare: without bucket, image and roles: as an account is before `gputx setup`.
        linger: whether it outlives this process; else it ends with it, even if this process is killed.

    Raises:
        ConfigurationError: an extra is not installed, or this machine can't keep guests apart.
        GputxError: it did not start; the message says where its log is.
    """
    state = StateDirectory(state_dir)
    if account := find(state.path):
        return account
    _require_extras()
    state.create()
    options = {
        "--state-dir": str(state.path),
        "--region": region,
        "--pending-seconds": str(pending_seconds),
        "--shutting-down-seconds": str(shutting_down_seconds),
        "--lag-seconds": str(lag_seconds),
    }
    return _start(state, options, linger=linger, flags=["--bare"] if bare else [])


@contextlib.contextmanager
def ephemeral(
    *,
    region: str = DEFAULT_REGION,
    pending_seconds: float = PENDING_SECONDS,
    shutting_down_seconds: float = SHUTTING_DOWN_SECONDS,
    lag_seconds: float = LAG_SECONDS,
    bare: bool = False,
) -> Iterator[Account]:
    """A sandbox in a directory of its own for the length of a ``with`` block.

    It ends with this process however that ends. The arguments are those of :func:`up`.
    """
    with tempfile.TemporaryDirectory(prefix="gputx-sandbox-", ignore_cleanup_errors=True) as directory:
        account = up(
            Path(directory),
            region=region,
            pending_seconds=pending_seconds,
            shutting_down_seconds=shutting_down_seconds,
            lag_seconds=lag_seconds,
            linger=False,
            bare=bare,
        )
        try:
            yield account
        finally:
            account.stop()


# Daemons this process started, by state directory, so that a stopped one is reaped.
_children: dict[Path, subprocess.Popen[bytes]] = {}
# Write ends of pipes whose daemons are to end with this process: the kernel closes them, whatever ends it.
_lifelines: dict[Path, int] = {}


def _require_extras() -> None:
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigurationError(
            f"the sandbox needs packages that are not installed: {', '.join(missing)}",
            hint="pip install 'gputx[sandbox]'",
        )


def _start(state: StateDirectory, options: dict[str, str], *, linger: bool, flags: list[str]) -> Account:
    ready_read, ready_write = os.pipe()
    inherited = [ready_write]
    options["--ready-fd"] = str(ready_write)
    life_read = None
    if not linger:
        life_read, life_write = os.pipe()
        inherited.append(life_read)
        options["--life-fd"] = str(life_read)
        _lifelines[state.path] = life_write
    command = [sys.executable, "-m", "gputx.sandbox.daemon"]
    command += [word for pair in options.items() for word in pair] + flags
    with state.log.open("ab") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=state.path,
            env=_environment(),
            pass_fds=inherited,
            start_new_session=True,
        )
    os.close(ready_write)
    if life_read is not None:
        os.close(life_read)
    with os.fdopen(ready_read) as ready:
        said = ready.read().strip()
    if (account := find(state.path)) and account.pid == process.pid:
        _children[state.path] = process
        return account
    if account := _wait_for_other(state, process):
        return account
    message, _, hint = said.partition("\n")
    if message:
        raise ConfigurationError(message, hint=hint or None)
    raise GputxError("the sandbox did not start", hint=f"its log says why: {state.log}")


def _wait_for_other(state: StateDirectory, process: subprocess.Popen[bytes]) -> Account | None:
    """Where two start at once, one daemon wins the directory: wait until that one is ready."""
    deadline = time.monotonic() + _START_TIMEOUT_SECONDS
    while (state.owned or process.poll() is None) and time.monotonic() < deadline:
        if account := find(state.path):
            return account
        time.sleep(0.02)
    return None


def _environment() -> dict[str, str]:
    """This process's environment without what belongs to a real account, able to import what it can."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    home = Path(__file__).parents[2]
    if home.name != "site-packages":
        paths = [str(home), *filter(None, [environment.get("PYTHONPATH")])]
        environment["PYTHONPATH"] = os.pathsep.join(paths)
    return environment
