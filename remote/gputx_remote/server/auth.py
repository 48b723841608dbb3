"""Who is asking: bearer tokens, compared in constant time."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from gputx_remote.server.errors import RefusedError

MIN_LENGTH = 16
"""Characters of a token at least; what :func:`make` makes has 43."""

LIVE_PROTOCOL = "gputx.live"
TOKEN_PROTOCOL = "gputx.token."  # noqa: S105 - the prefix of one, not one
"""A browser can send no header with a WebSocket: its token travels as a subprotocol, base64url behind this."""


@dataclass(frozen=True)
class Person:
    """Whoever holds a token."""

    name: str
    """As the tokens file calls it; for logs."""
    owner: str
    """Names the token without telling it: the beginning of its SHA-256, 32 hexadecimal digits."""


class Tokens:
    """The tokens that open this server."""

    def __init__(self, named: Iterable[tuple[str, str]]) -> None:
        """
        Args:
            named: (name, token).

        Raises:
            ValueError: there is none, or one is too short or not of printable ASCII.
        """
        self._known: list[tuple[bytes, Person]] = []
        for name, token in named:
            if len(token) < MIN_LENGTH:
                raise ValueError(f"the token {name} is too short: {MIN_LENGTH} characters or more")
            if not token.isascii() or not token.isprintable() or " " in token:
                raise ValueError(f"the token {name} has characters that no header carries: letters, digits, - and _")
            digest = hashlib.sha256(token.encode()).digest()
            self._known.append((digest, Person(name, digest.hex()[:32])))
        if not self._known:
            raise ValueError("there are no tokens, so nobody could ask for anything")

    @classmethod
    def load(cls, path: Path) -> Tokens:
        """A file with a token on each line, or ``name:token``. Empty lines and ``#`` lines are skipped.

        Raises:
            OSError: it can't be read.
            ValueError: a token in it can't be one.
        """
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
        kept = [line for line in lines if line and not line.startswith("#")]
        split = (line.rpartition(":") for line in kept)
        return cls((name or f"token{number}", token) for number, (name, _, token) in enumerate(split, 1))

    def person(self, token: str) -> Person | None:
        """Whose token it is. Every known one is compared, each in constant time, whichever fits."""
        digest = hashlib.sha256(token.encode(errors="surrogateescape")).digest()
        found: Person | None = None
        for known, person in self._known:
            if hmac.compare_digest(known, digest):
                found = person
        return found

    def authorized(self, header: str | None) -> Person:
        """Whoever sends this Authorization header.

        Raises:
            RefusedError: 401, it is missing, no bearer token, or not one of ours.
        """
        scheme, _, token = (header or "").partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise _refused("no token: send the header `Authorization: Bearer TOKEN`")
        person = self.person(token.strip())
        if person is None:
            raise _refused("this token is not one of the server's; `gputx api token` prints the one it has")
        return person

    def of_protocols(self, protocols: Sequence[str]) -> Person | None:
        """Whoever sends a token among a WebSocket's subprotocols; None where none is among them.

        Raises:
            RefusedError: 401, it is not one of ours.
        """
        sent = next((name for name in protocols if name.startswith(TOKEN_PROTOCOL)), None)
        if sent is None:
            return None
        packed = sent.removeprefix(TOKEN_PROTOCOL)
        try:
            token = base64.urlsafe_b64decode(packed + "=" * (-len(packed) % 4)).decode()
        except (binascii.Error, ValueError):
            token = ""
        person = self.person(token)
        if person is None:
            raise _refused("this token is not one of the server's")
        return person


def make() -> str:
    """A new token: 256 random bits, 43 characters."""
    return secrets.token_urlsafe(32)


def _refused(message: str) -> RefusedError:
    return RefusedError(401, "invalid_api_key", message, headers={"WWW-Authenticate": 'Bearer realm="gputx"'})
