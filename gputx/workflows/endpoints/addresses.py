"""``--on https://…``: which servers are meant, and what each turns out to speak."""

from __future__ import annotations

import re
import ssl
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING

import httpx

from gputx import __version__
from gputx.clock import Stop
from gputx.errors import InputError
from gputx.workflows.endpoints.answers import reaching
from gputx.workflows.endpoints.balance import Balance
from gputx.workflows.endpoints.endpoint import Endpoint, Health, Recording, Speaker, Tell
from gputx.workflows.endpoints.openai import OpenAiSpeaker
from gputx.workflows.endpoints.own import GputxSpeaker
from gputx.workflows.place import ACCOUNTS, journal_here
from gputx.workflows.worker import Asked

if TYPE_CHECKING:
    from gputx.workflows.api.servers import Server

_LOOPBACK = re.compile(r"http://(127\.\d+\.\d+\.\d+|localhost|\[::1\])(:\d+)?(/|$)")


def split(text: str) -> list[str]:
    """The addresses in ``--on``, which commas part.

    Raises:
        InputError: one is no address, or would send the token in the clear.
    """
    found = [part.strip().rstrip("/") for part in text.split(",") if part.strip()]
    for address in found:
        try:
            url = httpx.URL(address)
        except httpx.InvalidURL as error:
            raise InputError(f"--on {address}: {error}", hint="write it like https://host:8443") from None
        if url.scheme not in {"http", "https"} or not url.host or url.query or url.fragment or url.userinfo:
            raise InputError(f"--on {address} is no address of a server", hint="write it like https://host:8443")
        if url.scheme == "http" and not _LOOPBACK.match(address + "/"):
            raise InputError(
                f"--on {address} would send recordings and the token in the clear",
                hint="https://…, or through a tunnel: http://127.0.0.1:8000",
            )
    return found


def connected(
    addresses: Sequence[str], *, token: str | None, model: str | None, note: Callable[[str], None]
) -> Balance:
    """The servers at these addresses, each spoken with as it wants to be. Asks none of them yet.

    Args:
        token: for servers that were not brought up from here; those are known, with their tokens and certificates.
        model: what an OpenAI-compatible server is asked for, and one of gputx's own has to have; None for the one
            there is.
    """
    endpoints = [Endpoint(address, _Unmet(address, token, model)) for address in addresses]
    return Balance(endpoints, note=note)


class _Unmet:
    """A server of which it is found out when it first answers what it speaks. Implements ``Speaker``."""

    def __init__(self, address: str, token: str | None, model: str | None) -> None:
        self._address = address
        self._model = model
        own = _brought_up(address)
        self._certificate = own.certificate if own else None
        token = own.token if own else token
        self._headers = {"User-Agent": f"gputx/{__version__}"} | ({"Authorization": f"Bearer {token}"} if token else {})
        self._met: Speaker | None = None

    @property
    def at_once(self) -> int:
        return 8 if self._met is None else self._met.at_once

    def health(self) -> Health:
        return self._speaker().health()

    def transcribe(self, recording: Recording, asked: Asked, tell: Tell, stop: Stop) -> None:
        self._speaker().transcribe(recording, asked, tell, stop)

    def close(self) -> None:
        if self._met is not None:
            self._met.close()

    def _speaker(self) -> Speaker:
        if self._met is None:
            self._met = self._meet()
        return self._met

    def _meet(self) -> Speaker:
        """By ``GET /health``, which only a server of ours answers with ``model_loaded``."""
        client = self._client(self._address)
        with reaching(self._address):
            answer = client.get("/health")
        try:
            said = answer.json()
        except ValueError:
            said = None
        if isinstance(said, dict) and "model_loaded" in said:
            return GputxSpeaker(self._address, client, model=self._model)
        client.close()
        base = self._address if re.search(r"/v\d+$", self._address) else f"{self._address}/v1"
        return OpenAiSpeaker(self._address, self._client(base), model=self._model)

    def _client(self, base: str) -> httpx.Client:
        loopback = bool(_LOOPBACK.match(self._address + "/"))
        return httpx.Client(
            base_url=base,
            headers=self._headers,
            verify=self._trusted(),
            timeout=httpx.Timeout(30.0, connect=10.0),
            # A proxy knows the way neither to loopback nor to an instance of ours.
            trust_env=not loopback and self._certificate is None,
        )

    def _trusted(self) -> ssl.SSLContext:
        """The one certificate of a server that was brought up from here; else public ones, or SSL_CERT_FILE's."""
        if self._certificate is None:
            return httpx.create_ssl_context(trust_env=True)
        from gputx.workflows.api.door import pinned  # noqa: PLC0415 - SSH comes with it

        return pinned(self._certificate)


def _brought_up(address: str) -> Server | None:
    """The public server at this address, where it was brought up from here."""
    from gputx.workflows.api.servers import Servers  # noqa: PLC0415

    for on in ACCOUNTS:
        with ExitStack() as stack:
            journal = journal_here(on)
            if journal is None:
                continue
            stack.callback(journal.close)
            for server in Servers(journal).known():
                if server.public_url == address.removesuffix("/v1"):
                    return server
    return None


def is_address(on: str) -> bool:
    """Whether ``--on`` names servers."""
    return on.startswith(("http://", "https://"))
