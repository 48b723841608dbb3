"""A server of gputx's own: a recording becomes a job there, and its events are followed to the end.

The job has a name, so a connection that is lost costs nothing: it is opened again, and the events go on where they
were. Only a server that does not know the job any more has lost it. Where the name itself was lost, with the answer to
the upload, the recording is sent again under the same key, and the server answers with the job that it made of it.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx

from gputx.clock import Stop
from gputx.errors import GputxError
from gputx.workflows.endpoints.answers import (
    BusyError,
    LostError,
    RefusedError,
    UnreachedError,
    WrongModelError,
    checked,
    reaching,
    what_it_says,
)
from gputx.workflows.endpoints.endpoint import Health, Recording, Tell
from gputx.workflows.endpoints.events import events
from gputx.workflows.worker import Asked

PATIENCE_SECONDS = 120.0
"""How long a server that has a job of ours is looked for after it was lost: its process, or its machine, may be
starting again."""

_PAUSE_SECONDS = 0.5
_HEALTH_SECONDS = 10.0
_SILENCE_SECONDS = 60.0
_DECODED_PER_SECOND = 30.0
"""Seconds of audio a second that a server decodes at least: slower, it gives a recording up itself."""
_AGAIN = frozenset({"restarting", "internal"})


class GputxSpeaker:
    """Implements :class:`gputx.workflows.endpoints.endpoint.Speaker`.

    Args:
        client: with the server's address and token.
        gone: whether the server is known to be gone for good, so that it need not be looked for.
        model: the one that was asked for; None for whichever is there.
    """

    at_once = 8

    def __init__(
        self,
        name: str,
        client: httpx.Client,
        *,
        patience: float = PATIENCE_SECONDS,
        gone: Callable[[], bool] = lambda: False,
        model: str | None = None,
    ) -> None:
        self._name = name
        self._client = client
        self._patience = patience
        self._gone = gone
        self._asked = model
        self._open: set[str] = set()
        self._lock = threading.Lock()
        self._model = ""

    def health(self) -> Health:
        with reaching(self._name):
            said = checked(self._name, self._client.get("/health", timeout=_HEALTH_SECONDS)).json()
            if not said.get("model_loaded"):
                raise BusyError(f"{self._name} is {said.get('status', 'loading')}", 1.0)
            queue = checked(self._name, self._client.get("/jobs", params={"limit": 0}, timeout=_HEALTH_SECONDS)).json()[
                "queue"
            ]
        self._known()
        device = "cuda" if said.get("gpu_available") else "cpu"
        return Health(self._model, device, float(queue["seconds"]), float(queue["rate"]), bool(queue["draining"]))

    def transcribe(self, recording: Recording, asked: Asked, tell: Tell, stop: Stop) -> None:
        if self._asked:
            self._known()
        job = self._submit(recording, asked, stop)
        with self._lock:
            self._open.add(job["id"])
        try:
            tell({"event": "started", "id": recording.id, "duration": job["duration"]})
            self._follow(job["id"], recording, tell, stop)
        finally:
            with self._lock:
                self._open.discard(job["id"])
            # The text is here, or nobody waits for it: it is not to lie there until it is forgotten.
            self._take_away(job["id"])

    def close(self) -> None:
        """Cancel what is under way there, as far as it can be reached."""
        with self._lock:
            mine = list(self._open)
        for job in mine:
            self._take_away(job)
        self._client.close()

    def _known(self) -> None:
        """Find out which model is there. Raises WrongModelError where it is not the one that was asked for."""
        if self._model:
            return
        with reaching(self._name):
            answer = checked(self._name, self._client.get("/v1/models", timeout=_HEALTH_SECONDS))
        model = str(answer.json()["data"][0]["id"])
        check_model(self._name, model, self._asked)
        self._model = model

    def _submit(self, recording: Recording, asked: Asked, stop: Stop) -> dict[str, Any]:
        """The job that the server has made of it. Asked again, under the same key, where its answer was lost."""
        patient_until: float | None = None
        while True:
            stop.check()
            try:
                return self._sent(recording, asked)
            except (LostError, UnreachedError, BusyError) as error:
                if patient_until is None and not isinstance(error, LostError):
                    raise
                lost: GputxError = error  # it may have taken it on, now or the time before
            now = time.monotonic()
            patient_until = now + self._patience if patient_until is None else patient_until
            if now >= patient_until or self._gone():
                raise UnreachedError(lost.message) from lost
            stop.wait(_PAUSE_SECONDS)

    def _sent(self, recording: Recording, asked: Asked) -> dict[str, Any]:
        # It answers once all of it is decoded.
        silence = _SILENCE_SECONDS + recording.seconds / _DECODED_PER_SECOND
        with reaching(self._name, taken_on=True), recording.path.open("rb") as audio:
            answer = self._client.post(
                "/transcribe",
                params={"async": "1"},
                headers={"Idempotency-Key": recording.key},
                data=form(asked),
                files={"audio": (f"audio{recording.path.suffix}", audio, "application/octet-stream")},
                timeout=httpx.Timeout(silence, connect=10.0),
            )
        job: dict[str, Any] = checked(self._name, answer).json()
        return job

    def _follow(self, job: str, recording: Recording, tell: Tell, stop: Stop) -> None:
        seen = -1
        patient_until = time.monotonic() + self._patience
        while True:
            stop.check()
            try:
                for kind, data, number in self._events(job, seen):
                    stop.check()
                    patient_until = time.monotonic() + self._patience
                    if kind == "segment":
                        seen = number
                    if _heard(kind, data, recording, tell, self._name):
                        return
                # It has ended without a last word: the server is being restarted.
                problem: Exception = UnreachedError(f"{self._name} closed the connection")
            except _ForgottenError as error:
                raise UnreachedError(error.message) from error
            except (UnreachedError, BusyError) as error:
                problem = error
            if time.monotonic() >= patient_until or self._gone():
                raise UnreachedError(f"{self._name} was lost, and the recording with it: {problem}") from problem
            stop.wait(_PAUSE_SECONDS)

    def _events(self, job: str, seen: int) -> Iterator[tuple[str, dict[str, Any], int]]:
        """(kind, data, number) from the segment after ``seen`` on."""
        headers = {"Last-Event-ID": str(seen)} if seen >= 0 else {}
        with (
            reaching(self._name),
            self._client.stream(
                "GET",
                f"/jobs/{job}/events",
                headers=headers,
                timeout=httpx.Timeout(_SILENCE_SECONDS, connect=10.0),
            ) as answer,
        ):
            if answer.status_code == 404:
                answer.read()
                raise _ForgottenError(f"{self._name} does not know the job any more: {what_it_says(answer)}")
            if not answer.is_success:
                answer.read()
                checked(self._name, answer)
            for event in events(answer.iter_lines()):
                number = int(event.id) if event.id is not None and event.id.isdigit() else -1
                yield event.kind, event.data, number

    def _take_away(self, job: str) -> None:
        with contextlib.suppress(httpx.HTTPError, RuntimeError):  # RuntimeError: the client was closed meanwhile
            self._client.delete(f"/jobs/{job}", timeout=5.0)


class _ForgottenError(GputxError):
    """The server does not know the job: it has lost it, and nothing of it is to be had."""


def check_model(name: str, there: str, asked: str | None) -> None:
    """Whether a server has the model that was asked for, by id or as a directory.

    Raises:
        WrongModelError: it has another.
    """
    if asked is None or there == asked:
        return
    directory = Path(asked).expanduser()
    if directory.is_dir() and there == directory.resolve().name:
        return
    raise WrongModelError(f"{name} has the model {there}, not {asked}", hint="leave --model away, or name another --on")


def form(asked: Asked) -> dict[str, str]:
    """The fields of ``POST /transcribe``."""
    fields = {
        "language": asked.language or "auto",
        "task": asked.task,
        "word_timestamps": "true" if asked.word_timestamps else "false",
    }
    if asked.initial_prompt:
        fields["prompt"] = asked.initial_prompt
    if asked.hotwords:
        fields["hotwords"] = asked.hotwords
    if asked.temperatures:
        fields["temperature"] = f"{asked.temperatures[0]:g}"
    return fields


def _heard(kind: str, data: dict[str, Any], recording: Recording, tell: Tell, name: str) -> bool:
    """Tell an event on; True where it was the last."""
    match kind:
        case "progress":
            tell({"event": "progress", "id": recording.id, "done": data["done"], "total": data["total"]})
        case "segment":
            tell({"event": "segment", "id": recording.id, **segment_fields(data)})
        case "end" if data["state"] == "done":
            tell(
                {
                    "event": "finished",
                    "id": recording.id,
                    "language": data["language"] or "",
                    "duration": data["duration"],
                    "processing_time": data["processing_time"],
                }
            )
            return True
        case "end":
            error = data["error"] or {"code": data["state"], "message": f"the job was {data['state']}"}
            if error["code"] in _AGAIN:
                raise _ForgottenError(f"{name}: {error['message']}")
            raise RefusedError(error["message"])
    return False


def segment_fields(data: dict[str, Any]) -> dict[str, Any]:
    """A segment as the server has it (seconds), as the worker has it (milliseconds)."""
    fields: dict[str, Any] = {
        "start_ms": round(data["start"] * 1000),
        "end_ms": round(data["end"] * 1000),
        "text": data["text"],
    }
    if data.get("words"):
        fields["words"] = [
            [round(w["start"] * 1000), round(w["end"] * 1000), w["word"], w.get("probability", 1.0)]
            for w in data["words"]
        ]
    if data.get("confidence") is not None:
        fields["confidence"] = data["confidence"]
    if data.get("suspect"):
        fields["suspect"] = True
    return fields
