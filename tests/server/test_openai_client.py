"""OpenAI's own Python client against ``/v1``: it is told another base address and nothing else."""

from __future__ import annotations

import time
from collections.abc import Iterator

import openai
import pytest
import srt
import webvtt
from openai import OpenAI
from surface import CLIP, CLIP_TEXT, TOKEN, Surface


@pytest.fixture
def client(surface: Surface) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{surface.url}/v1", api_key=TOKEN, max_retries=0) as client:
        yield client


def test_models(client: OpenAI) -> None:
    names = [model.id for model in client.models.list()]
    assert names == ["tiny", "whisper-1"]
    assert client.models.retrieve("tiny").id == "tiny"
    assert client.models.retrieve("tiny").object == "model"
    with pytest.raises(openai.NotFoundError) as refused:
        client.models.retrieve("KBLab/another")
    assert refused.value.code == "model_not_found"


@pytest.mark.parametrize("model", ["tiny", "whisper-1"])
def test_json(client: OpenAI, model: str) -> None:
    answer = client.audio.transcriptions.create(model=model, file=CLIP, language="sv")
    assert answer.text.lower().startswith(CLIP_TEXT)
    assert answer.usage is not None
    assert answer.usage.type == "duration"
    assert answer.usage.seconds == 10


def test_files(client: OpenAI) -> None:
    text = client.audio.transcriptions.create(model="tiny", file=CLIP, response_format="text")
    cues = client.audio.transcriptions.create(model="tiny", file=CLIP, response_format="srt")
    captions = client.audio.transcriptions.create(model="tiny", file=CLIP, response_format="vtt")
    assert text.lower().startswith(CLIP_TEXT)
    assert " ".join(cue.content for cue in srt.parse(cues)) == text.strip()
    assert " ".join(caption.text for caption in webvtt.from_string(captions)) == text.strip()


def test_verbose_json(client: OpenAI) -> None:
    answer = client.audio.transcriptions.create(
        model="tiny",
        file=CLIP,
        language="swedish",
        response_format="verbose_json",
        timestamp_granularities=["word", "segment"],
        prompt="Journalen.",
        temperature=0,
    )
    assert answer.language == "swedish"
    assert answer.duration == pytest.approx(10.0)
    assert answer.segments
    assert answer.words
    assert " ".join(segment.text.strip() for segment in answer.segments) == answer.text
    assert " ".join(word.word for word in answer.words) == answer.text
    ends = [0.0, *(segment.end for segment in answer.segments)]
    assert all(segment.start >= before for segment, before in zip(answer.segments, ends, strict=False))
    first = answer.segments[0]
    assert first.avg_logprob < 0
    assert first.compression_ratio > 0
    assert 0 <= first.no_speech_prob <= 1
    assert first.tokens


def test_what_is_not_asked_for_is_left_out(client: OpenAI) -> None:
    words = client.audio.transcriptions.create(
        model="tiny", file=CLIP, response_format="verbose_json", timestamp_granularities=["word"]
    )
    assert words.words
    assert words.segments is None
    segments = client.audio.transcriptions.create(model="tiny", file=CLIP, response_format="verbose_json")
    assert segments.segments
    assert segments.words is None


@pytest.mark.parametrize("shape", ["json", "text"])
def test_a_stream(client: OpenAI, shape: str) -> None:
    deltas, done = [], []
    stream = client.audio.transcriptions.create(model="tiny", file=CLIP, stream=True, response_format=shape)  # type: ignore[call-overload]
    for event in stream:
        if event.type == "transcript.text.delta":
            assert not done
            deltas.append(event.delta)
        else:
            done.append(event)
    assert len(done) == 1
    assert done[0].type == "transcript.text.done"
    assert len(deltas) > 1
    assert "".join(deltas) == done[0].text
    assert done[0].text.lower().startswith(CLIP_TEXT)


def test_a_stream_that_is_left(client: OpenAI, surface: Surface) -> None:
    stream = client.audio.transcriptions.create(model="tiny", file=CLIP.with_name("long3min.flac"), stream=True)
    assert next(iter(stream)).type == "transcript.text.delta"
    stream.close()
    jobs = surface.service.loaded().jobs
    for _ in range(500):
        if not jobs.list():
            break
        time.sleep(0.02)
    assert jobs.list() == []


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_translations(client: OpenAI) -> None:
    # The tiny model was never taught to translate: what counts is that it is asked to.
    answer = client.audio.translations.create(model="whisper-1", file=CLIP, response_format="verbose_json")
    assert answer.text
    assert answer.model_dump()["task"] == "translate"


@pytest.mark.parametrize(
    ("asked", "param", "code"),
    [
        ({"language": "xx"}, "language", "invalid_value"),
        ({"temperature": 2}, "temperature", "invalid_value"),
        ({"prompt": "ord " * 1000}, "prompt", "prompt_too_long"),
        ({"response_format": "diarized_json"}, "response_format", "invalid_value"),
        ({"timestamp_granularities": ["word"]}, "timestamp_granularities[]", "invalid_value"),
        (
            {"response_format": "verbose_json", "timestamp_granularities": ["day"]},
            "timestamp_granularities[]",
            "invalid_value",
        ),
        ({"response_format": "srt", "stream": True}, "stream", "invalid_value"),
    ],
)
def test_what_cannot_be_is_a_bad_request(client: OpenAI, asked: dict[str, object], param: str, code: str) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        client.audio.transcriptions.create(model="tiny", file=CLIP, **asked)  # type: ignore[call-overload]
    assert (refused.value.param, refused.value.code) == (param, code)
    assert refused.value.type == "invalid_request_error"


def test_the_clients_own_exceptions(client: OpenAI, surface: Surface) -> None:
    with pytest.raises(openai.NotFoundError) as refused:
        client.audio.transcriptions.create(model="gpt-4o-transcribe", file=CLIP)
    assert refused.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError, match="audio"):
        client.audio.transcriptions.create(model="tiny", file=("a.mp3", b"no sound at all"))
    stranger = OpenAI(base_url=f"{surface.url}/v1", api_key="sk-somebody-elses-token", max_retries=0)
    with stranger, pytest.raises(openai.AuthenticationError) as refused_stranger:
        stranger.audio.transcriptions.create(model="tiny", file=CLIP)
    assert refused_stranger.value.code == "invalid_api_key"


def test_a_server_that_drains_says_so(client: OpenAI, surface: Surface) -> None:
    surface.service.draining = True
    try:
        with pytest.raises(openai.InternalServerError) as refused:
            client.audio.transcriptions.create(model="tiny", file=CLIP)
        assert refused.value.status_code == 503
        assert int(refused.value.response.headers["retry-after"]) >= 1
        with surface.client(None) as plain:
            health = plain.get("/health")
        assert (health.status_code, health.json()["status"]) == (503, "draining")
    finally:
        surface.service.draining = False
    assert client.audio.transcriptions.create(model="tiny", file=CLIP).text
