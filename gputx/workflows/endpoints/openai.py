"""A server that speaks OpenAI's API, whoever runs it: a request for each recording, and its answer is all there is."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import httpx

from gputx.clock import Stop
from gputx.errors import ConfigurationError
from gputx.workflows.endpoints.answers import LostError, RefusedError, checked, reaching
from gputx.workflows.endpoints.endpoint import Health, Recording, Tell
from gputx.workflows.worker import Asked
from gputx_remote.languages import code_of

_LONGEST_SECONDS = 3600.0
"""A recording of hours takes a slow server an hour."""


class OpenAiSpeaker:
    """Implements :class:`gputx.workflows.endpoints.endpoint.Speaker`.

    Args:
        client: with the address under which ``/audio/transcriptions`` is, and the token.
        model: the one to ask for; None for the one there is.
    """

    at_once = 2

    def __init__(self, name: str, client: httpx.Client, *, model: str | None) -> None:
        self._name = name
        self._client = client
        self._model = model

    def health(self) -> Health:
        with reaching(self._name):
            answer = checked(self._name, self._client.get("/models"))
            try:
                there = [str(row["id"]) for row in answer.json()["data"]]
            except (ValueError, KeyError, TypeError):
                raise ConfigurationError(
                    f"{self._name} is neither a gputx server nor one that speaks OpenAI's API",
                    hint="its address, as the `base_url` of OpenAI's clients: https://host/v1",
                ) from None
        if self._model is None:
            self._model = _choose(there, self._name)
        return Health(self._model, "server")

    def transcribe(self, recording: Recording, asked: Asked, tell: Tell, stop: Stop) -> None:
        stop.check()
        model = self._model or self.health().model
        tell({"event": "started", "id": recording.id, "duration": recording.seconds})
        began = time.monotonic()
        route = "translations" if asked.task == "translate" else "transcriptions"
        with reaching(self._name, taken_on=True), recording.path.open("rb") as audio:
            answer = self._client.post(
                f"/audio/{route}",
                data=_form(asked, model),
                files={"file": (f"audio{recording.path.suffix}", audio, "application/octet-stream")},
                timeout=httpx.Timeout(_LONGEST_SECONDS, connect=10.0),
            )
        if answer.status_code in {500, 502, 504}:
            # Nobody knows what came of it, and it may have been charged for.
            raise LostError(f"{self._name} failed with HTTP {answer.status_code} while it was at work")
        said = checked(self._name, answer).json()
        stop.check()
        for segment in _segments(said, recording.seconds):
            tell({"event": "segment", "id": recording.id, **segment})
        tell(
            {
                "event": "finished",
                "id": recording.id,
                "language": code_of(str(said.get("language") or "")) or asked.language or "",
                "duration": float(said.get("duration") or recording.seconds),
                "processing_time": round(time.monotonic() - began, 3),
            }
        )

    def close(self) -> None:
        self._client.close()


def _choose(there: Sequence[str], name: str) -> str:
    hearing = [id_ for id_ in there if any(word in id_.lower() for word in ("whisper", "transcribe"))]
    if len(there) == 1 or hearing:
        return (hearing or list(there))[0]
    raise ConfigurationError(
        f"{name} does not say which of its {len(there)} models transcribes", hint="name it with --model"
    )


def _form(asked: Asked, model: str) -> dict[str, Any]:
    fields: dict[str, Any] = {"model": model, "response_format": "verbose_json"}
    if asked.task != "translate":
        wanted = ["segment", "word"] if asked.word_timestamps else ["segment"]
        fields["timestamp_granularities[]"] = wanted
        if asked.language:
            fields["language"] = asked.language
    if asked.initial_prompt:
        fields["prompt"] = asked.initial_prompt
    if asked.temperatures:
        fields["temperature"] = f"{asked.temperatures[0]:g}"
    return fields


def _segments(said: dict[str, Any], seconds: float) -> list[dict[str, Any]]:
    """The segments of a verbose_json, each with the words that begin in it; one of all the text where there are none.

    Raises:
        RefusedError: it is no such answer.
    """
    try:
        words = [(round(w["start"] * 1000), round(w["end"] * 1000), str(w["word"])) for w in said.get("words") or ()]
        found = [
            {"start_ms": round(s["start"] * 1000), "end_ms": round(s["end"] * 1000), "text": str(s["text"]).strip()}
            for s in said.get("segments") or ()
        ]
        if not found and str(said["text"]).strip():
            found = [{"start_ms": 0, "end_ms": round(seconds * 1000), "text": str(said["text"]).strip()}]
    except (KeyError, TypeError, ValueError) as error:
        raise RefusedError(f"the answer is no verbose_json: {error!r}") from error
    last = len(found) - 1
    for number, segment in enumerate(found):
        until = float("inf") if number == last else found[number + 1]["start_ms"]
        since = 0 if number == 0 else segment["start_ms"]
        if mine := [[start, end, word, 1.0] for start, end, word in words if since <= start < until]:
            segment["words"] = mine
    return [segment for segment in found if segment["text"]]
