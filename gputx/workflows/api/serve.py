"""``gputx api serve``: the same server on this machine, as a child process."""

from __future__ import annotations

import importlib.util
import os
import secrets
import shlex
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from gputx.errors import ConfigurationError
from gputx.workflows.model import ModelChoice
from gputx_remote.server.seized import TakenError, seized

_NEEDED = ("fastapi", "uvicorn", "tokenizers")
_FORWARDED = (signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True)
class ServeRequest:
    """What is to be served, and where. ``token`` None has one made."""

    host: str
    port: int
    model: ModelChoice
    state: Path
    token: str | None = field(repr=False)
    tls_cert: str | None
    tls_key: str | None

    @property
    def url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.tls_cert else 'http'}://{host}:{self.port}"


def serve_here(request: ServeRequest, made: Callable[[str | None], None]) -> int:
    """Serve until a signal ends it. Returns the server's exit status.

    Args:
        made: told the token where one was made, None where it was given; before the server is up.

    Raises:
        ConfigurationError: the server is not installed, its state can't be kept or is another server's, or half a
            certificate was given.
    """
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigurationError(
            f"the server is not installed here ({', '.join(missing)})", hint="pip install 'gputx[server]'"
        )
    if bool(request.tls_cert) != bool(request.tls_key):
        raise ConfigurationError("a certificate and its key go together", hint="--tls-cert FILE --tls-key FILE")
    token = request.token or secrets.token_urlsafe(32)
    try:
        with seized(request.state):
            pass  # the child will hold it: here it is only told in time that it can't
    except TakenError:
        raise ConfigurationError(
            f"another server keeps its jobs in {request.state}",
            hint="end it, or set GPUTX_STATE_DIR for this one",
        ) from None
    except OSError as error:
        raise ConfigurationError(f"the server's state can't be kept: {error}", hint="set GPUTX_STATE_DIR") from None
    with tempfile.TemporaryDirectory(prefix="gputx-serve-") as scratch:
        tokens = Path(scratch) / "tokens"
        with os.fdopen(os.open(tokens, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(token + "\n")
        made(None if request.token else token)
        return _run(_command(request, tokens))


def _command(request: ServeRequest, tokens: Path) -> list[str]:
    # -P: a file called torch.py in the person's directory must not be taken for torch.
    words = [sys.executable, "-P", "-m", "gputx_remote", "api", *request.model.arguments]
    words += ["--host", request.host, "--port", str(request.port)]
    words += ["--tokens", str(tokens), "--state", str(request.state)]
    if request.tls_cert and request.tls_key:
        words += ["--tls-cert", request.tls_cert, "--tls-key", request.tls_key]
    return words


def _run(command: list[str]) -> int:
    """The child as if it were us: Ctrl-C reaches both, what reaches us alone is passed on, and it may drain."""
    environment = {name: value for name, value in os.environ.items() if name != "GPUTX_TOKEN"}
    child = subprocess.Popen(command, env=environment | {"PYTHONUNBUFFERED": "1"})
    kept = {number: signal.signal(number, lambda got, _: child.send_signal(got)) for number in _FORWARDED}
    kept[signal.SIGINT] = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        status = child.wait()
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)
    return 128 - status if status < 0 else status


def announce(request: ServeRequest, made: str | None) -> str:
    """Address, token, and a call that works as typed."""
    token = f"token    {made}" if made else "token    that in GPUTX_TOKEN"
    words = f'-H "Authorization: Bearer {made or "$GPUTX_TOKEN"}" -F audio=@intervju.mp3 {request.url}/transcribe'
    # Whoever signed it, the certificate itself is enough for curl.
    pem = f"--cacert {shlex.quote(request.tls_cert)} " if request.tls_cert else ""
    call = f"curl {pem}{words}"
    return f"  address  {request.url}\n  {token}\n  {call}"
