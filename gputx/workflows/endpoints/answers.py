"""What an HTTP answer, or its absence, means for the recording that was sent: decided once."""

from __future__ import annotations

import email.utils
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx

from gputx.errors import ConfigurationError, GputxError

_LONGEST_WAIT_SECONDS = 120.0
_NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)


class BusyError(GputxError):
    """Refused before anything was done: full (429), ending or loading (503). ``after``: seconds to wait, as it says."""

    def __init__(self, message: str, after: float) -> None:
        super().__init__(message)
        self.after = after


class GoneError(GputxError):
    """No server is left, and none will be back: no recording fares better than another."""


class WrongModelError(ConfigurationError):
    """A server of gputx's own has another model than the one that was asked for."""


class UnreachedError(GputxError):
    """It was not reached, or was lost before it had taken the recording on: nothing was lost with it."""


class LostError(GputxError):
    """It was lost while it was at work."""


class RefusedError(GputxError):
    """It will not have this recording, or these options, however often it is asked."""


@contextmanager
def reaching(name: str, *, taken_on: bool = False) -> Iterator[None]:
    """Turn what httpx raises into what it means.

    Args:
        taken_on: the other side may be at work on the recording already, and its answer is all that there will be.

    Raises:
        UnreachedError, LostError: see there.
        ConfigurationError: it is not the server that it was taken for.
    """
    try:
        yield
    except httpx.HTTPError as error:
        why = str(error) or type(error).__name__
        if "CERTIFICATE_VERIFY_FAILED" in why:
            raise ConfigurationError(
                f"{name} shows a certificate that is not trusted: {why}",
                hint="where you have its certificate: SSL_CERT_FILE=FILE.pem gputx …; one that `gputx api up` made "
                "is known by itself, on the machine and under the address that it printed",
            ) from error
        if taken_on and not isinstance(error, _NOT_SENT):
            raise LostError(f"{name} was lost while it was at work: {why}") from error
        raise UnreachedError(f"{name} can't be reached: {why}") from error


def checked(name: str, answer: httpx.Response) -> httpx.Response:
    """An answer that is none of an error.

    Raises:
        BusyError, RefusedError, UnreachedError, ConfigurationError.
    """
    if answer.is_success:
        return answer
    said = what_it_says(answer)
    match answer.status_code:
        case 401 | 403:
            raise ConfigurationError(
                f"{name} does not accept the token: {said}", hint="set GPUTX_TOKEN; `gputx api token` prints ours"
            )
        case 429 if _code(answer) == "insufficient_quota":
            # OpenAI's word for an account without money: no waiting helps.
            raise RefusedError(f"{name} refused: {said}")
        case 429 | 503:
            raise BusyError(f"{name} is busy: {said}", _retry_after(answer))
        case 500 | 502 | 504:
            raise UnreachedError(f"{name} failed: {said}")
        case _:
            raise RefusedError(f"{name} refused: {said}")


def _code(answer: httpx.Response) -> str:
    try:
        error = answer.json()["error"]
        return str(error.get("code") or error.get("type") or "")
    except (ValueError, KeyError, TypeError, AttributeError):
        return ""


def what_it_says(answer: httpx.Response) -> str:
    """The message in an error's body, as OpenAI's shape has it; else the status."""
    try:
        error = answer.json()["error"]
        message = error["message"] if isinstance(error, dict) else error
    except (ValueError, KeyError, TypeError):
        return f"HTTP {answer.status_code}"
    return str(message)[:300]


def _retry_after(answer: httpx.Response) -> float:
    """Seconds; RFC 9110, 10.2.3: a number of them, or a date."""
    said = answer.headers.get("Retry-After", "")
    if said.isascii() and said.isdigit():
        return min(float(said), _LONGEST_WAIT_SECONDS)
    try:
        when = email.utils.parsedate_to_datetime(said).timestamp()
    except (TypeError, ValueError):
        return 1.0
    return min(max(0.0, when - time.time()), _LONGEST_WAIT_SECONDS)
