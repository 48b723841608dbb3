"""What goes over the wire to a server, what its answers mean, and what becomes of one that is lost."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from gputx.clock import Stop
from gputx.errors import ConfigurationError, GputxError, InputError
from gputx.workflows.endpoints.addresses import split
from gputx.workflows.endpoints.answers import BusyError, LostError, RefusedError, UnreachedError, WrongModelError
from gputx.workflows.endpoints.endpoint import Recording
from gputx.workflows.endpoints.events import events
from gputx.workflows.endpoints.openai import OpenAiSpeaker
from gputx.workflows.endpoints.own import GputxSpeaker, check_model
from gputx.workflows.worker import Asked, segment_of

ASKED = Asked("sv", "transcribe", word_timestamps=True, initial_prompt="Läkaren")
Answer = Callable[[httpx.Request], httpx.Response]


@pytest.fixture
def tape(tmp_path: Path) -> Recording:
    path = tmp_path / "tape.flac"
    path.write_bytes(b"fLaC some audio")
    return Recording("f0", path, 12.5)


def client(answer: Answer) -> httpx.Client:
    return httpx.Client(base_url="http://server", transport=httpx.MockTransport(answer))


def told_by(speaker: GputxSpeaker | OpenAiSpeaker, tape: Recording, asked: Asked = ASKED) -> list[dict[str, Any]]:
    told: list[dict[str, Any]] = []
    speaker.transcribe(tape, asked, told.append, Stop())
    return told


def sse(*items: tuple[str, dict[str, Any], int | None]) -> str:
    blocks = []
    for kind, data, number in items:
        numbered = "" if number is None else f"id: {number}\n"
        blocks.append(f"event: {kind}\n{numbered}data: {json.dumps(data)}\n\n")
    return ": \n\n".join(blocks)


def job(state: str = "queued", **more: Any) -> dict[str, Any]:
    return {
        "id": "j1",
        "state": state,
        "duration": 12.5,
        "language": "sv",
        "processing_time": 1.5,
        "error": None,
        **more,
    }


FIRST = {"id": 0, "start": 0.0, "end": 2.5, "text": "Hej", "confidence": 0.9, "suspect": True, "words": None}
SECOND = {
    "id": 1,
    "start": 2.5,
    "end": 4.0,
    "text": "då",
    "confidence": None,
    "suspect": False,
    "words": [{"word": "då", "start": 2.6, "end": 3.0, "probability": 0.5}],
}


def test_a_recording_becomes_a_job_whose_events_are_followed(tape: Recording) -> None:
    asked: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        request.read()
        asked.append(request)
        match request.method, request.url.path:
            case "POST", "/transcribe":
                return httpx.Response(202, json=job())
            case "GET", "/jobs/j1/events":
                progress = {"state": "running", "progress": 0.5, "done": 6.0, "total": 12.5}
                return httpx.Response(
                    200,
                    text=sse(
                        ("progress", progress, None),
                        ("segment", FIRST, 0),
                        ("segment", SECOND, 1),
                        ("end", job("done"), None),
                    ),
                )
            case _:
                return httpx.Response(200, json=job("done"))

    told = told_by(GputxSpeaker("server", client(answer)), tape)

    assert [event["event"] for event in told] == ["started", "progress", "segment", "segment", "finished"]
    segments = [segment_of(event) for event in told if event["event"] == "segment"]
    assert [(s.start_ms, s.end_ms, s.text) for s in segments] == [(0, 2500, "Hej"), (2500, 4000, "då")]
    assert segments[0].suspect
    assert segments[0].confidence == 0.9
    assert segments[1].words[0].start_ms == 2600
    assert told[-1]["processing_time"] == 1.5
    assert asked[0].url.params["async"] == "1"
    sent = asked[0].content.decode(errors="replace")
    for part in ('name="language"', "sv", 'name="word_timestamps"', "true", 'name="prompt"', "Läkaren", "some audio"):
        assert part in sent
    assert (asked[-1].method, asked[-1].url.path) == ("DELETE", "/jobs/j1")  # it is not to lie there


def test_a_connection_that_is_cut_goes_on_where_it_was(tape: Recording, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gputx.workflows.endpoints.own._PAUSE_SECONDS", 0.0)
    since: list[str | None] = []

    def answer(request: httpx.Request) -> httpx.Response:
        if request.method == "POST":
            return httpx.Response(202, json=job())
        if request.method == "DELETE":
            return httpx.Response(200, json=job("done"))
        since.append(request.headers.get("Last-Event-ID"))
        match len(since):
            case 1:
                return httpx.Response(200, text=sse(("segment", FIRST, 0)))  # and then it is cut
            case 2:
                raise httpx.ConnectError("refused")
            case 3:
                return httpx.Response(503, json={"error": {"message": "loading"}})
            case _:
                return httpx.Response(200, text=sse(("segment", SECOND, 1), ("end", job("done"), None)))

    told = told_by(GputxSpeaker("server", client(answer)), tape)

    assert since == [None, "0", "0", "0"]
    assert [event["text"] for event in told if event["event"] == "segment"] == ["Hej", "då"]


@pytest.mark.parametrize(
    ("end", "means"),
    [
        (job("failed", error={"code": "restarting", "message": "again"}), UnreachedError),
        (job("failed", error={"code": "audio", "message": "it can't be read on"}), RefusedError),
        (job("cancelled"), RefusedError),
    ],
)
def test_how_a_job_failed_says_whether_to_ask_again(
    tape: Recording, end: dict[str, Any], means: type[GputxError]
) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.method == "GET":
            return httpx.Response(200, text=sse(("end", end, None)))
        return httpx.Response(202, json=job())

    with pytest.raises(means):
        told_by(GputxSpeaker("server", client(answer)), tape)


def test_a_job_that_the_server_has_forgotten_may_be_sent_again(tape: Recording) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.method == "POST":
            return httpx.Response(202, json=job())
        return httpx.Response(404, json={"error": {"message": "no such job"}})

    with pytest.raises(UnreachedError):
        told_by(GputxSpeaker("server", client(answer)), tape)


def test_a_server_that_is_known_to_be_gone_is_not_looked_for(tape: Recording) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.method == "POST":
            return httpx.Response(202, json=job())
        raise httpx.ConnectError("refused")

    with pytest.raises(UnreachedError, match="was lost"):
        told_by(GputxSpeaker("server", client(answer), gone=lambda: True), tape)


def test_an_answer_that_was_lost_is_asked_for_again_under_the_same_key(
    tape: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gputx.workflows.endpoints.own._PAUSE_SECONDS", 0.0)
    uploads: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        if request.method == "GET":
            return httpx.Response(200, text=sse(("end", job("done"), None)))
        if request.method == "DELETE":
            return httpx.Response(200, json=job("done"))
        request.read()
        uploads.append(request)
        match len(uploads):
            case 1:
                raise httpx.ReadTimeout("it is still decoding")
            case 2:
                raise httpx.ConnectError("refused")
            case 3:
                return httpx.Response(503, json={"error": {"message": "loading"}})
            case _:
                return httpx.Response(202, json=job())

    told = told_by(GputxSpeaker("server", client(answer)), tape)
    assert [event["event"] for event in told] == ["started", "finished"]
    assert {request.headers["Idempotency-Key"] for request in uploads} == {tape.key}
    assert len(uploads) == 4


def test_each_recording_has_a_key_of_its_own_and_time_to_be_decoded(tape: Recording) -> None:
    sent: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        sent.append(request)
        raise httpx.ConnectError("refused")

    speaker = GputxSpeaker("server", client(answer))
    for recording in (tape, Recording("f1", tape.path, 3 * 3600.0)):
        with pytest.raises(UnreachedError):  # nothing was sent: another may be asked at once
            told_by(speaker, recording)
    first, second = sent
    assert first.headers["Idempotency-Key"] != second.headers["Idempotency-Key"]
    assert first.extensions["timeout"]["read"] < 120
    assert second.extensions["timeout"]["read"] >= 300


def test_another_model_than_the_one_asked_for_is_not_used(tape: Recording) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        assert request.url.path == "/v1/models", "it was sent the recording"
        return httpx.Response(200, json={"data": [{"id": "KBLab/kb-whisper-small"}, {"id": "whisper-1"}]})

    with pytest.raises(WrongModelError, match="has the model KBLab/kb-whisper-small, not KBLab/kb-whisper-large"):
        told_by(GputxSpeaker("server", client(answer), model="KBLab/kb-whisper-large"), tape)


def test_a_model_is_known_by_its_id_and_as_a_directory(tmp_path: Path) -> None:
    (tmp_path / "tiny").mkdir()
    check_model("server", "tiny", str(tmp_path / "tiny"))
    check_model("server", "a/b", "a/b")
    check_model("server", "a/b", None)
    with pytest.raises(WrongModelError):
        check_model("server", "other", str(tmp_path / "tiny"))


def test_an_account_without_money_is_not_busy(tape: Recording) -> None:
    body = {"error": {"message": "You exceeded your current quota", "type": "insufficient_quota", "code": None}}
    broke = client(lambda _: httpx.Response(429, json=body))
    with pytest.raises(RefusedError, match="quota"):
        told_by(OpenAiSpeaker("server", broke, model="m"), tape)


MEANINGS: list[tuple[int, dict[str, str], type[GputxError]]] = [
    (401, {}, ConfigurationError),
    (429, {"Retry-After": "7"}, BusyError),
    (503, {}, BusyError),
    (502, {}, UnreachedError),
    (413, {}, RefusedError),
    (415, {}, RefusedError),
]


@pytest.mark.parametrize(("status", "headers", "means"), MEANINGS)
def test_what_an_answer_means(tape: Recording, status: int, headers: dict[str, str], means: type[GputxError]) -> None:
    body = {"error": {"message": "because", "type": "t", "param": None, "code": "c"}}
    speaker = GputxSpeaker("server", client(lambda _: httpx.Response(status, headers=headers, json=body)))
    with pytest.raises(means, match="because") as caught:
        told_by(speaker, tape)
    if isinstance(caught.value, BusyError):
        assert caught.value.after == (7 if headers else 1)


def test_openai_is_asked_as_its_own_client_asks(tape: Recording) -> None:
    asked: list[httpx.Request] = []
    answers: Iterator[dict[str, Any]] = iter(
        [
            {"data": [{"id": "gpt-x"}, {"id": "whisper-1"}]},
            {
                "text": "Hej då",
                "language": "swedish",
                "duration": 12.5,
                "segments": [{"start": 0.0, "end": 1.0, "text": " Hej"}, {"start": 1.0, "end": 2.0, "text": " då"}],
                "words": [{"word": "Hej", "start": 0.1, "end": 0.5}, {"word": "då", "start": 1.1, "end": 1.5}],
            },
        ]
    )

    def answer(request: httpx.Request) -> httpx.Response:
        request.read()
        asked.append(request)
        return httpx.Response(200, json=next(answers))

    told = told_by(OpenAiSpeaker("server", client(answer), model=None), tape)

    assert [request.url.path for request in asked] == ["/models", "/audio/transcriptions"]
    sent = asked[1].content.decode(errors="replace")
    for part in ("whisper-1", "verbose_json", "timestamp_granularities[]", "word", 'name="language"'):
        assert part in sent
    segments = [segment_of(event) for event in told if event["event"] == "segment"]
    assert [(s.text, [w.text for w in s.words]) for s in segments] == [("Hej", ["Hej"]), ("då", ["då"])]
    assert told[-1]["language"] == "sv"


def test_openai_is_not_asked_twice_for_what_it_may_have_done(tape: Recording) -> None:
    def cut(request: httpx.Request) -> httpx.Response:
        request.read()
        raise httpx.ReadError("cut")

    def refused(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    with pytest.raises(LostError):
        told_by(OpenAiSpeaker("server", client(cut), model="m"), tape)
    with pytest.raises(LostError):
        told_by(OpenAiSpeaker("server", client(lambda _: httpx.Response(502)), model="m"), tape)
    with pytest.raises(UnreachedError):
        told_by(OpenAiSpeaker("server", client(refused), model="m"), tape)


def test_a_text_without_segments_is_one(tape: Recording) -> None:
    speaker = OpenAiSpeaker("server", client(lambda _: httpx.Response(200, json={"text": " Hej "})), model="m")
    (segment,) = [event for event in told_by(speaker, tape) if event["event"] == "segment"]
    assert (segment["start_ms"], segment["end_ms"], segment["text"]) == (0, 12500, "Hej")


def test_silence_is_no_segment(tape: Recording) -> None:
    speaker = OpenAiSpeaker("server", client(lambda _: httpx.Response(200, json={"text": ""})), model="m")
    assert [event["event"] for event in told_by(speaker, tape)] == ["started", "finished"]


def test_what_is_no_such_server_is_told_of() -> None:
    page = client(lambda _: httpx.Response(200, text="<html>"))
    with pytest.raises(ConfigurationError, match="neither a gputx server"):
        OpenAiSpeaker("server", page, model=None).health()
    many = client(lambda _: httpx.Response(200, json={"data": [{"id": "a"}, {"id": "b"}]}))
    with pytest.raises(ConfigurationError, match="which of its 2"):
        OpenAiSpeaker("server", many, model=None).health()


def test_events_as_the_standard_has_them() -> None:
    lines = [
        ": a comment",
        "data: [1,",
        "data:2]",
        "",
        "event: named",
        "id: 7",
        'data: {"a": "å"}',
        "",
        "event: empty",
        "",
        "data: no json",
        "",
        "data: 3",
    ]
    found = list(events(lines))
    assert [(event.kind, event.data, event.id) for event in found] == [
        ("message", [1, 2], None),
        ("named", {"a": "å"}, "7"),
    ]


def test_addresses_are_checked_before_a_token_is_sent() -> None:
    assert split("https://a:8443/, http://127.0.0.1:8000") == ["https://a:8443", "http://127.0.0.1:8000"]
    for wrong in (
        "http://example.org",
        "https://",
        "https://user:pw@a",
        "http://127.0.0.1.example.org",
        "https://a?x=1",
    ):
        with pytest.raises(InputError):
            split(wrong)
