"""``--on auto`` and ``--on https://…``: which servers are meant, or which place answers first."""

from __future__ import annotations

import importlib.util
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from gputx.clock import Stop, SystemClock
from gputx.errors import ConfigurationError, GputxError, InterruptedBySignal, StillRunningError
from gputx.events import EventStream, Note
from gputx.workflows.endpoints.addresses import is_address, split
from gputx.workflows.place import ACCOUNTS, journal_here, open_place
from gputx.workflows.story import Story

if TYPE_CHECKING:
    from gputx.workflows.api.servers import Server
    from gputx.workflows.api.tunnel import Keeping
    from gputx.workflows.endpoints.balance import Balance
    from gputx.workflows.where import Where

API = "api"
_REACH_SECONDS = 3.0
_OPEN_SECONDS = 20.0
_REPLACED_SECONDS = 900.0
"""How long a recording waits for the server in the place of one that was lost: a launch and a boot."""


class NotThereError(GputxError):
    """A place that ``auto`` may use does not answer; the message says why."""


@contextmanager
def settled(where: Where, events: EventStream, stop: Stop) -> Iterator[Where]:
    """The same place, where it is one; else servers to send the work to, or the place that was decided for.

    Raises:
        InputError: an address is none.
        ConfigurationError: no place of ``auto`` answers.
        StillRunningError: at the end of the block: what replaced a lost server could not be seen to end.
    """

    def note(text: str) -> None:
        events.emit(Note(SystemClock().time(), text))

    with ExitStack() as stack:
        if is_address(where.on):
            served = _addressed(split(where.on), where, note)
            stack.callback(served.close)
            where = replace(where, served=served)
        elif where.on == "auto":
            where = stack.enter_context(_first(where, events, stop, note))
        yield where


def _addressed(addresses: list[str], where: Where, note: Callable[[str], None]) -> Balance:
    from gputx.workflows.endpoints.addresses import connected  # noqa: PLC0415 - an HTTP client, which others don't need

    return connected(addresses, token=where.token, model=where.options.model, note=note)


@contextmanager
def _first(where: Where, events: EventStream, stop: Stop, note: Callable[[str], None]) -> Iterator[Where]:
    """The first of the order that answers."""
    reasons: list[str] = []
    for word in where.auto:
        stop.check()
        with ExitStack() as stack:
            try:
                found = stack.enter_context(_tried(word, where, events, stop, note))
            except (InterruptedBySignal, StillRunningError):
                raise
            except GputxError as error:
                reasons.append(f"{word}: {error.message}")
                continue
            note(f"--on auto: {found.on}{_why(reasons)}")
            yield found
            return
    raise ConfigurationError(
        "--on auto found no place to work", hint="gputx api up, or name one with --on", details=tuple(reasons)
    )


def _why(reasons: list[str]) -> str:
    return f" ({'; '.join(reasons)})" if reasons else ""


@contextmanager
def _tried(word: str, where: Where, events: EventStream, stop: Stop, note: Callable[[str], None]) -> Iterator[Where]:
    """A place that answers. Raises GputxError where it does not."""
    if word == API:
        with _own(where, events, stop) as served:
            yield replace(where, on=API, served=served)
    elif is_address(word):
        _takes_all(where)
        served = _addressed(split(word), where, note)
        try:
            served.healths()
            yield replace(where, on=word, served=served)
        finally:
            served.close()
    elif word == "local":
        if importlib.util.find_spec("tokenizers") is None:
            raise NotThereError("the engine is not installed here")
        yield replace(where, on=word)
    elif word in ACCOUNTS:
        _answers(word, where)
        yield replace(where, on=word)
    else:
        raise ConfigurationError(
            f"--on auto can't try {word!r}", hint=f"auto is a list of {API}, {', '.join(ACCOUNTS)}, local and https://…"
        )


def _takes_all(where: Where) -> None:
    """Raises NotThereError where something was asked for that servers settle for themselves."""
    if where.not_for_servers:
        raise NotThereError(f"a server takes no {', '.join(where.not_for_servers)}")


def _answers(on: str, where: Where) -> None:
    """Whether there are credentials for the account; of an emulated one, whether it is up."""
    from gputx.aws import identity  # noqa: PLC0415 - only where it comes to that

    journal = journal_here(on)
    if journal is None:
        raise NotThereError("it is not up")
    journal.close()
    with open_place(on, region=where.region, profile=where.profile) as place:
        identity.whoami(place.session)


@contextmanager
def _own(where: Where, events: EventStream, stop: Stop) -> Iterator[Balance]:
    """A server that was brought up from here, in the accounts that the order names."""
    known = [(on, server) for on in ACCOUNTS if on in where.auto for server in _known(on, where.region)]
    if not known:
        raise NotThereError("none was brought up from here")
    _takes_all(where)
    last: GputxError = NotThereError("none answers")
    for on, server in known:
        with ExitStack() as stack:
            try:
                served = stack.enter_context(_held(on, server, where, events, stop))
            except (InterruptedBySignal, StillRunningError):
                raise
            except GputxError as error:
                last = error
                continue
            yield served
            return
    raise last


def _known(on: str, region: str) -> list[Server]:
    from gputx.workflows.api.servers import Servers  # noqa: PLC0415

    journal = journal_here(on)
    return Servers(journal).known(region=region) if journal else []


@contextmanager
def _held(on: str, server: Server, where: Where, events: EventStream, stop: Stop) -> Iterator[Balance]:
    """A server through a tunnel that is held open beside the work."""
    from gputx.workflows.api import door as doors  # noqa: PLC0415
    from gputx.workflows.api.tunnel import Keeping  # noqa: PLC0415
    from gputx.workflows.endpoints.balance import Balance  # noqa: PLC0415
    from gputx.workflows.endpoints.endpoint import Endpoint  # noqa: PLC0415
    from gputx.workflows.endpoints.own import GputxSpeaker, check_model  # noqa: PLC0415

    with doors.opened(server, clock=SystemClock(), stop=stop, patience=_REACH_SECONDS) as door, door.client() as client:
        if not (doors.health(client) or {}).get("model_loaded"):
            raise NotThereError(f"{server.instance_id} does not answer")
    check_model(server.instance_id, server.model, where.options.model)
    with open_place(on, region=where.region, profile=where.profile) as place:
        way = _Way()
        story = Story(events, place.session.clock)
        keeping = Keeping(place, story, way.over, keep_alive=False, opened=way.open)
        thread = threading.Thread(target=way.hold, args=(keeping, server), name="tunnel-holder", daemon=True)
        thread.start()
        try:
            url = way.url(stop)
            speaker = GputxSpeaker(
                server.instance_id,
                doors.client_of(server, url),
                patience=_REPLACED_SECONDS,
                gone=lambda: way.ended is not None,
                model=where.options.model,
            )
            endpoint = Endpoint(server.instance_id, speaker, gone=lambda: way.ended)
            yield Balance([endpoint], note=story.note, give_up=_REPLACED_SECONDS)
        finally:
            way.over.request(signal.SIGTERM)
            thread.join()
            if isinstance(way.ended, StillRunningError):
                raise way.ended  # whatever else happened: money is running out


@dataclass
class _Way:
    """A tunnel in a thread of its own."""

    over: Stop = field(default_factory=Stop)
    ended: GputxError | None = None
    """Why it is no more, where nobody wanted that."""
    _url: str = ""
    _changed: threading.Event = field(default_factory=threading.Event)

    def open(self, _server: Server, url: str) -> None:
        self._url = url
        self._changed.set()

    def hold(self, keeping: Keeping, server: Server) -> None:
        try:
            keeping.hold(server, 0)
        except InterruptedBySignal:
            pass
        except GputxError as error:
            self.ended = error
        except Exception as error:  # noqa: BLE001 - whoever waits for this way is told, and does not wait on
            self.ended = GputxError(f"the tunnel failed: {type(error).__name__}: {error}", hint="gputx api tunnel")
            self.ended.__cause__ = error
        finally:
            self._changed.set()

    def url(self, stop: Stop) -> str:
        """Where it is, once it is open. Raises GputxError where it does not open."""
        for _ in range(int(_OPEN_SECONDS * 10)):
            stop.check()
            if self._changed.wait(0.1):
                break
        if self.ended is not None or not self._url:
            raise self.ended or NotThereError("no tunnel could be opened")
        return self._url
