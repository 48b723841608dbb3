"""Servers as a bench: recordings go out side by side, and their events come back as one worker's would."""

from __future__ import annotations

import json
import queue
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self

from gputx.clock import Stop
from gputx.errors import ConfigurationError, GputxError, InputError, InterruptedBySignal
from gputx.workflows.endpoints.answers import GoneError
from gputx.workflows.endpoints.balance import Balance
from gputx.workflows.endpoints.endpoint import Recording
from gputx.workflows.model import Engine
from gputx.workflows.worker import PROTOCOL, Asked
from gputx_remote import audio

_POLL_SECONDS = 0.2


class ServedBench:
    """Implements :class:`gputx.workflows.hosts.Bench`. Nothing is brought anywhere before a server takes it on."""

    def __init__(self, balance: Balance, name: str, stop: Stop) -> None:
        self._balance = balance
        self._name = name
        self._stop = stop

    def start_worker(self) -> ServedStream:
        return ServedStream(self._balance, self._name, self._stop)

    def running(self, engine: Engine) -> Self:  # noqa: ARG002 - the port's
        raise InputError("a server runs its own engine", hint="compare engines with --on local or --on aws")

    def engines(self) -> ServedStream:
        raise InputError("a server runs its own engine", hint="compare engines with --on local or --on aws")

    def deliver(self, audio: Path, progress: Callable[[int, int], None]) -> str:
        del progress  # it is sent when a server has room for it
        return str(audio)

    def check(self) -> None:
        """Whether a server is still there is asked for each recording."""


class ServedStream:
    """Implements :class:`gputx.workflows.worker.LineStream`.

    The events of each recording are kept together, in the order in which recordings were asked for: who reads them
    takes them for those of one worker.
    """

    def __init__(self, balance: Balance, name: str, stop: Stop) -> None:
        self._balance = balance
        self._name = name
        self._stop = stop
        self._over = Stop()
        self._pool = ThreadPoolExecutor(max(1, balance.at_once), thread_name_prefix="served")
        self._jobs: queue.Queue[queue.Queue[dict[str, Any] | None] | None] = queue.Queue()

    def write_line(self, line: str) -> None:
        command = json.loads(line)
        if command["op"] == "quit":
            self._jobs.put(None)
            return
        said: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._jobs.put(said)
        self._pool.submit(self._transcribe, command, said)

    def lines(self) -> Iterator[str]:
        yield json.dumps({"event": "hello", "protocol": PROTOCOL})
        yield json.dumps(self._ready())
        while (said := self._next(self._jobs)) is not None:
            while (event := self._next(said)) is not None:
                yield json.dumps(event)

    def close(self) -> None:
        self._over.request(self._stop.signum or 15)
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._balance.close()

    def epitaph(self) -> str:
        return "it was left"

    def _ready(self) -> dict[str, Any]:
        first, *others = self._balance.healths()
        models = " and ".join(dict.fromkeys(health.model for health in (first, *others)))
        return {
            "event": "model",
            "state": "ready",
            "model": models,
            "revision": None,
            "device": first.device,
            "dtype": f"at {self._name}",
            "seconds": 0.0,
        }

    def _transcribe(self, command: dict[str, Any], said: queue.Queue[dict[str, Any] | None]) -> None:
        path = Path(command["path"])
        told = _Told(command["id"], said)
        try:
            recording = Recording(command["id"], path, (audio.probe(path).duration_ms or 0) / 1000)
            self._balance.transcribe(recording, Asked(**command["options"]), told, self._over)
        except InterruptedBySignal:
            pass
        except (ConfigurationError, GoneError) as error:
            # The person has to do something; another recording would fare no better.
            said.put({"event": "fatal", "kind": "server", "error": f"{error.message}. {error.hint or ''}".strip()})
        except Exception as error:  # noqa: BLE001 - one recording must not take the others down with it
            why = error.message if isinstance(error, GputxError) else f"{type(error).__name__}: {error}"
            told.begun()
            said.put({"event": "failed", "id": command["id"], "kind": "server", "error": why})
        finally:
            said.put(None)

    def _next(self, source: queue.Queue[Any]) -> Any:
        while True:
            self._stop.check()
            try:
                return source.get(timeout=_POLL_SECONDS)
            except queue.Empty:
                continue


class _Told:
    """Passes events on; who fails before the first one still has one to begin with."""

    def __init__(self, id_: str, said: queue.Queue[dict[str, Any] | None]) -> None:
        self._id = id_
        self._said = said
        self._lock = threading.Lock()
        self._begun = False

    def __call__(self, event: dict[str, Any]) -> None:
        self._begun = True
        self._said.put(event)

    def begun(self) -> None:
        if not self._begun:
            self({"event": "started", "id": self._id, "duration": 0.0})
