"""Several servers as one: the shortest queue is asked, a failing one is left alone, and nothing is sent twice in vain.

A recording is sent elsewhere only where nothing was lost: it was refused or not taken on, or a server of gputx's own
has forgotten it. Where a server that is not ours may have been at work on it, it is the person's to send it again.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from gputx.clock import Stop
from gputx.errors import ConfigurationError, GputxError
from gputx.workflows.endpoints.answers import (
    BusyError,
    GoneError,
    LostError,
    RefusedError,
    UnreachedError,
    WrongModelError,
)
from gputx.workflows.endpoints.breaker import Circuit
from gputx.workflows.endpoints.endpoint import Endpoint, Health, Recording, Tell
from gputx.workflows.worker import Asked

FRESH_SECONDS = 2.0
"""How old what is known of a queue may be."""

GIVE_UP_SECONDS = 300.0
"""Without any server that answers."""

BUSY_SECONDS = 3600.0
"""Without any server that takes a recording on, though one answers: a queue that others keep full."""

_LONGEST_BUSY_SECONDS = 60.0
_PAUSE_SECONDS = 0.2


class Balance:
    """All endpoints of one command. Safe from several threads.

    Args:
        note: told in a line when a server is left alone, when it is back, and when it is waited for.
        give_up: seconds, in real time, that all recordings together have without a server that answers.
    """

    def __init__(
        self,
        endpoints: Sequence[Endpoint],
        *,
        note: Callable[[str], None] = lambda _: None,
        give_up: float = GIVE_UP_SECONDS,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.endpoints = list(endpoints)
        self._note = note
        self._give_up = give_up
        self._now = now
        self._lock = threading.Lock()
        self._patience = threading.Lock()
        self._failing_since: float | None = None
        self._busy_since: float | None = None
        self._last: GputxError = UnreachedError("no server may be asked now")

    @property
    def at_once(self) -> int:
        return sum(endpoint.speaker.at_once for endpoint in self.endpoints)

    def healths(self) -> list[Health]:
        """Ask all that may be asked, side by side; what those say that answer.

        Raises:
            GputxError: none does; the first one's reason.
        """
        with ThreadPoolExecutor(max(1, len(self.endpoints)), thread_name_prefix="health") as together:
            failures = [failure for failure in together.map(self._ask, self.endpoints) if failure]
        known = [endpoint.known for endpoint in self.endpoints if endpoint.known is not None]
        if not known:
            raise failures[0] if failures else UnreachedError("no server may be asked now")
        return known

    def transcribe(self, recording: Recording, asked: Asked, tell: Tell, stop: Stop) -> None:
        """At the server that has it done first, by what is known; at another where nothing was lost.

        Raises:
            UnreachedError, BusyError: no server took it on within the time there is.
            GoneError: none is left.
            LostError, RefusedError, ConfigurationError, InterruptedBySignal: as a server says.
        """
        failed: Endpoint | None = None
        while True:
            stop.check()
            endpoint = self._chosen(recording.seconds, failed)
            if endpoint is None:
                self._wait_on()
                stop.wait(_PAUSE_SECONDS)
                continue

            def heard(event: dict[str, Any], at: Endpoint = endpoint) -> None:
                if event["event"] != "started":  # which may be told before anything is sent
                    self._taken_on(at)
                tell(event)

            try:
                with self._sent(endpoint, recording.seconds):
                    endpoint.speaker.transcribe(recording, asked, heard, stop)
            except BusyError as error:
                endpoint.breaker.succeeded()  # it answers; it only has no room
                self._busy(endpoint, error)
            except (UnreachedError, LostError) as error:
                self._failed(endpoint, error)
                if isinstance(error, LostError):
                    raise
                self._last, failed = error, endpoint
            except RefusedError:
                self._taken_on(endpoint)  # as far as it would
                raise
            except BaseException:
                endpoint.breaker.succeeded()
                raise
            else:
                self._taken_on(endpoint)
                return
            self._wait_on()

    def _wait_on(self) -> None:
        """Nothing where a server is worth waiting for; else raise why not. For all recordings together."""
        ended = [why for endpoint in self.endpoints if (why := endpoint.gone())]
        if ended and len(ended) == len(self.endpoints):
            raise GoneError(ended[0].message, hint=ended[0].hint)
        with self._patience:
            now = self._now()
            if any(endpoint.busy_until > now for endpoint in self.endpoints):
                self._busy_since = now if self._busy_since is None else self._busy_since
            elif self._failing_since is None:
                self._failing_since = now
            for since, most in ((self._failing_since, self._give_up), (self._busy_since, BUSY_SECONDS)):
                if since is not None and now - since >= most:
                    raise self._last

    def _busy(self, endpoint: Endpoint, error: BusyError) -> None:
        """It is asked again when it said, later each time that this was too early."""
        with self._patience:
            self._last = error
            now = self._now()
            if endpoint.busy_until <= now:  # else it is the answer to one that was on its way
                endpoint.busy_times += 1
            grown = min(2.0 ** (endpoint.busy_times - 1), _LONGEST_BUSY_SECONDS)
            endpoint.busy_until = max(endpoint.busy_until, now + max(error.after, grown))
            self._failing_since = None
            first = self._busy_since is None
            if first:
                self._busy_since = now
        if first:
            self._note(f"{error.message}; waiting for it, an hour at most")

    def _chosen(self, seconds: float, failed: Endpoint | None) -> Endpoint | None:
        """The one with the shortest wait that may be asked, the one that has just failed last; None where none may."""
        self._refresh()
        now = self._now()
        open_ = [e for e in self.endpoints if e.busy_until <= now and not (e.known and e.known.draining)]

        def order(e: Endpoint) -> tuple[bool, bool, float, int]:
            return e is failed, e.breaker.circuit is not Circuit.CLOSED, e.wait(seconds), e.sent

        for endpoint in sorted(open_, key=order):
            if endpoint.breaker.let_through():
                return endpoint
        return None

    def _refresh(self) -> None:
        """Ask those whose queue was asked for too long ago; where there is only one, there is nothing to choose."""
        with self._lock:
            now = self._now()
            stale = [e for e in self.endpoints if now - e.asked_at > FRESH_SECONDS]
            alone = len(self.endpoints) == 1 and not any(e.known and e.known.draining for e in self.endpoints)
            if alone or not stale:
                return
            with ThreadPoolExecutor(len(stale), thread_name_prefix="health") as together:
                list(together.map(self._ask, [e for e in stale if e.breaker.circuit is Circuit.CLOSED]))

    def _ask(self, endpoint: Endpoint) -> GputxError | None:
        endpoint.asked_at = self._now()
        try:
            endpoint.known = endpoint.speaker.health()
        except BusyError as error:
            endpoint.busy_until = self._now() + error.after
            return error
        except WrongModelError:
            raise  # it would be sent recordings otherwise, sooner or later
        except UnreachedError as error:
            self._failed(endpoint, error)
            return error
        except ConfigurationError as error:
            if len(self.endpoints) == 1:
                raise
            self._failed(endpoint, error)
            return error
        self._answered(endpoint)
        return None

    def _failed(self, endpoint: Endpoint, error: GputxError) -> None:
        was = endpoint.breaker.circuit
        endpoint.breaker.failed()
        endpoint.known = None  # whether it drains, for instance: it may be another process by now
        if was is Circuit.CLOSED and endpoint.breaker.circuit is Circuit.OPEN:
            self._note(f"{error.message}; it is left alone for {endpoint.breaker.opens_in:.0f} s")

    def _answered(self, endpoint: Endpoint) -> None:
        if endpoint.breaker.circuit is not Circuit.CLOSED:
            self._note(f"{endpoint.name} is back")
        endpoint.breaker.succeeded()

    def _taken_on(self, endpoint: Endpoint) -> None:
        """It is at work on a recording, or has done it: patience begins anew."""
        self._answered(endpoint)
        with self._patience:
            self._failing_since = self._busy_since = None
            endpoint.busy_times = 0

    @contextmanager
    def _sent(self, endpoint: Endpoint, seconds: float) -> Iterator[None]:
        with self._lock:
            endpoint.sent_seconds += seconds
            endpoint.sent += 1
        try:
            yield
        finally:
            with self._lock:
                endpoint.sent_seconds -= seconds

    def close(self) -> None:
        """Give up what is under way."""
        for endpoint in self.endpoints:
            endpoint.speaker.close()
