"""``/transcribe`` and ``/jobs`` as a person uses them, over real HTTP with a real model."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import numpy as np
import pytest
from surface import CLIP, CLIP_TEXT, OTHER, Surface, wav

from gputx_remote import writers

HEALTH = {"status", "gpu_available", "model_loaded", "memory_usage"}
TRANSCRIBED = {"transcription", "duration", "language", "model", "processing_time", "gpu_memory_used"}


def _sent(path: Path = CLIP) -> dict[str, tuple[str, bytes]]:
    return {"audio": ("../../etc/passwd", path.read_bytes())}


def _events(client: httpx.Client, address: str, **headers: str) -> list[tuple[str, dict[str, object]]]:
    """(event, data) until the stream ends."""
    found = []
    with client.stream("GET", address, headers=headers) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        kind = ""
        for line in answer.iter_lines():
            name, _, value = line.partition(": ")
            if name == "event":
                kind = value
            elif name == "data":
                found.append((kind, json.loads(value)))
    return found


def test_health_has_the_shape_of_the_specification_and_asks_for_no_token(surface: Surface) -> None:
    with surface.client(None) as client:
        answer = client.get("/health")
    assert answer.status_code == httpx.codes.OK
    health = answer.json()
    assert set(health) == HEALTH
    assert health["status"] == "healthy"
    assert health["model_loaded"] is True
    assert health["gpu_available"] is False
    used, total = (float(part.removesuffix("GB")) for part in health["memory_usage"].split("/"))
    assert 0 < used < total


def test_transcribe_has_the_shape_of_the_specification(surface: Surface) -> None:
    with surface.client() as client:
        answer = client.post("/transcribe", files=_sent())
    assert answer.status_code == httpx.codes.OK
    said = answer.json()
    assert set(said) == TRANSCRIBED
    assert said["transcription"].lower().startswith(CLIP_TEXT)
    assert said["duration"] == pytest.approx(10.0)
    assert said["language"] == "sv"
    assert said["model"] == "tiny"
    assert 0 < said["processing_time"] < 60
    assert said["gpu_memory_used"] == "0.0GB"


def test_nothing_is_kept_of_what_was_waited_for(surface: Surface) -> None:
    with surface.client() as client:
        client.post("/transcribe", files=_sent())
        assert client.get("/jobs").json()["jobs"] == []
    assert surface.settled() == []
    assert not [path for path in surface.state.rglob("*") if path.is_file() and CLIP_TEXT in _lower(path)]


def _lower(path: Path) -> str:
    return path.read_bytes().decode("utf-8", "replace").lower()


@pytest.mark.parametrize(
    ("name", "samples"),
    [
        ("zeros", np.zeros(32_000, np.float32)),
        ("one sample", np.zeros(1, np.float32)),
        ("hum", 0.001 * np.sin(np.arange(48_000, dtype=np.float32) * 0.02)),
    ],
)
def test_silence_is_an_empty_text(surface: Surface, tmp_path: Path, name: str, samples: np.ndarray) -> None:
    with surface.client() as client:
        answer = client.post("/transcribe", files=_sent(wav(tmp_path / "silence.wav", samples)))
    assert (answer.status_code, answer.json()["transcription"]) == (httpx.codes.OK, "")


def test_a_job_from_its_making_to_its_end(surface: Surface) -> None:
    with surface.client() as client:
        answer = client.post("/transcribe", params={"async": "1"}, files=_sent(), data={"word_timestamps": "true"})
        assert answer.status_code == httpx.codes.ACCEPTED
        job = answer.json()
        address = answer.headers["location"]
        assert address == job["url"] == f"/jobs/{job['id']}"
        assert job["state"] in {"queued", "running"}
        events = _events(client, job["events_url"])
        kinds = [kind for kind, _ in events]
        assert kinds[-1] == "end"
        assert kinds.count("end") == 1
        assert "progress" in kinds
        segments = [data for kind, data in events if kind == "segment"]
        assert [segment["id"] for segment in segments] == list(range(len(segments)))
        assert str(segments[0]["text"]).lower().startswith(CLIP_TEXT)
        assert segments[0]["words"]
        end = events[-1][1]
        assert end["state"] == "done"
        assert end["progress"] == 1
        assert end["language"] == "sv"
        assert client.get(address).json() == end
        assert client.get("/jobs").json()["jobs"] == [end]
        results = end["results"]
        assert isinstance(results, dict)
        assert set(results) == set(writers.FORMATS)
        texts = {name: client.get(url) for name, url in results.items()}
        assert all(text.status_code == httpx.codes.OK for text in texts.values())
        assert all("attachment" in text.headers["content-disposition"] for text in texts.values())
        assert texts["txt"].text.lower().startswith(CLIP_TEXT)
        assert texts["json"].json()["text"] == " ".join(str(segment["text"]).strip() for segment in segments)
        assert "-->" in texts["srt"].text
        # Whoever lost the connection goes on behind what was seen.
        again = _events(client, job["events_url"], **{"Last-Event-ID": "0"})
        assert [data["id"] for kind, data in again if kind == "segment"] == list(range(1, len(segments)))
        assert client.delete(address).status_code == httpx.codes.OK
        assert client.get(address).status_code == httpx.codes.NOT_FOUND
        assert client.get("/jobs").json()["jobs"] == []


def test_a_job_is_nobody_elses(surface: Surface) -> None:
    with surface.client() as client, surface.client(OTHER) as other:
        address = client.post("/transcribe?async=1", files=_sent()).headers["location"]
        for method, path in (("GET", ""), ("DELETE", ""), ("GET", "/events"), ("GET", "/result")):
            answer = other.request(method, address + path)
            assert (answer.status_code, answer.json()["error"]["code"]) == (httpx.codes.NOT_FOUND, "no_such_job")
        assert other.get("/jobs").json()["jobs"] == []
        assert client.delete(address).status_code == httpx.codes.OK


def test_the_queue_is_told(surface: Surface) -> None:
    with surface.client() as client:
        queue = client.get("/jobs", params={"limit": 0}).json()["queue"]
    assert set(queue) == {"seconds", "limit_seconds", "rate", "draining"}
    assert queue["limit_seconds"] == surface.service.loaded().limits.queue_seconds


@pytest.mark.parametrize(
    ("fields", "param", "code"),
    [
        ({"language": "klingon"}, "language", "invalid_value"),
        ({"task": "summarise"}, "task", "invalid_value"),
        ({"temperature": "nan"}, "temperature", "invalid_value"),
        ({"temperature": "hot"}, "temperature", "invalid_value"),
        ({"temperature": "1.5"}, "temperature", "invalid_value"),
        ({"word_timestamps": "perhaps"}, "word_timestamps", "invalid_value"),
        ({"prompt": "ord " * 400}, "prompt", "prompt_too_long"),
        ({"hotwords": "ord " * 400}, "hotwords", "prompt_too_long"),
        ({"prompt": "a\0b"}, "prompt", "invalid_value"),
        ({"prompt": "x" * 20_000}, "prompt", "field_too_long"),
        ({"langauge": "sv"}, "langauge", "unknown_field"),
    ],
)
def test_a_field_that_cannot_be(surface: Surface, fields: dict[str, str], param: str, code: str) -> None:
    with surface.client() as client:
        answer = client.post("/transcribe", files=_sent(), data=fields)
    assert answer.status_code == httpx.codes.BAD_REQUEST
    error = answer.json()["error"]
    assert (error["param"], error["code"], error["type"]) == (param, code, "invalid_request_error")
    assert surface.settled() == []


def test_fields_that_can_be(surface: Surface) -> None:
    fields = {
        "language": "Swedish",
        "task": "transcribe",
        "prompt": "Journalen.",
        "hotwords": "läkaren",
        "temperature": "0.2",
    }
    with surface.client() as client:
        answer = client.post("/transcribe", files=_sent(), data=fields)
    assert answer.status_code == httpx.codes.OK
    assert answer.json()["transcription"]


def test_the_language_is_detected_where_it_is_asked_for(surface: Surface) -> None:
    with surface.client() as client:
        answer = client.post("/transcribe", files=_sent(), data={"language": "auto"})
    assert answer.json()["language"] == "sv"


def test_there_is_no_text_before_a_job_is_done(surface: Surface) -> None:
    long = CLIP.with_name("long3min.flac")
    with surface.client() as client:
        address = client.post("/transcribe?async=1", files=_sent(long)).headers["location"]
        answer = client.get(f"{address}/result")
        assert (answer.status_code, answer.json()["error"]["code"]) == (httpx.codes.CONFLICT, "not_done")
        assert client.delete(address).json()["state"] == "cancelled"
        assert client.get(address).json()["state"] == "cancelled"
        assert client.delete(address).status_code == httpx.codes.OK
        assert client.get(address).status_code == httpx.codes.NOT_FOUND
