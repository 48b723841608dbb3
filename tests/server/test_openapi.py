"""Schemathesis over the server's own OpenAPI document: whatever is sent, the answer is one that the document knows."""

from __future__ import annotations

from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, seed, settings
from schemathesis.checks import not_a_server_error
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)
from surface import CLIP, TOKEN, Surface

from gputx_remote.server.app import create_app
from gputx_remote.server.auth import Tokens
from gputx_remote.server.service import Service
from gputx_remote.server.settings import ServerSettings

EXAMPLES = 12
"""Requests for each operation and mode."""

HELD = (
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    unsupported_method,
)
"""All that schemathesis can hold a response against, but for "what fits the document is accepted": no document can say
which bytes are a recording."""


def _document() -> dict[str, Any]:
    service = Service(ServerSettings(model="tiny"), Tokens([("tests", TOKEN)]))
    return create_app(service).openapi()


OPERATIONS = [found.ok() for found in schemathesis.openapi.from_dict(_document()).get_all_operations()]


CASES = [
    pytest.param(operation, mode, id=f"{operation.label} {mode.value}")
    for operation in OPERATIONS
    for mode in GenerationMode
    # Where nothing can be sent nothing can be wrong.
    if operation.label != "GET /health" or mode is GenerationMode.POSITIVE
]


@pytest.mark.parametrize(("operation", "mode"), CASES)
def test_every_operation(surface: Surface, operation: Any, mode: GenerationMode) -> None:
    @seed(6)
    @settings(
        max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck), print_blob=False
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def held(case: Any) -> None:
        answer = case.call(base_url=surface.url, headers={"Authorization": f"Bearer {TOKEN}"}, timeout=30)
        case.validate_response(answer, checks=HELD)
        assert not any(word in answer.text for word in ("Traceback", "site-packages", 'File "/'))

    held()


@pytest.mark.parametrize(
    ("label", "field", "data"),
    [
        ("POST /transcribe", "audio", {}),
        ("POST /v1/audio/transcriptions", "file", {}),
        ("POST /v1/audio/transcriptions", "file", {"response_format": "verbose_json"}),
        ("POST /v1/audio/transcriptions", "file", {"response_format": "vtt"}),
        ("POST /v1/audio/transcriptions", "file", {"stream": "true"}),
        ("POST /v1/audio/translations", "file", {"response_format": "text"}),
    ],
)
def test_a_recording_is_answered_as_described(surface: Surface, label: str, field: str, data: dict[str, str]) -> None:
    case = _operation(label).Case(body={field: CLIP.read_bytes(), **data}, media_type="multipart/form-data")
    answer = case.call(base_url=surface.url, headers={"Authorization": f"Bearer {TOKEN}"}, timeout=60)
    assert answer.status_code == 200
    case.validate_response(answer, checks=HELD)


def test_a_job_is_answered_as_described(surface: Surface) -> None:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    made = _operation("POST /transcribe").Case(
        body={"audio": CLIP.read_bytes()}, query={"async": "true"}, media_type="multipart/form-data"
    )
    answer = made.call(base_url=surface.url, headers=headers, timeout=60)
    assert answer.status_code == 202
    made.validate_response(answer, checks=HELD)
    number = answer.json()["id"]
    for label in ("GET /jobs/{id}/events", "GET /jobs/{id}", "GET /jobs", "GET /jobs/{id}/result", "DELETE /jobs/{id}"):
        case = _operation(label).Case(path_parameters={"id": number} if "{id}" in label else {})
        answer = case.call(base_url=surface.url, headers=headers, timeout=60)
        assert answer.status_code == 200
        case.validate_response(answer, checks=HELD)


def _operation(label: str) -> Any:
    return next(operation for operation in OPERATIONS if operation.label == label)


def test_the_document_lists_every_route(surface: Surface) -> None:
    with surface.client(None) as client:
        paths = client.get("/openapi.json").json()["paths"]
    assert {f"{method.upper()} {path}" for path, methods in paths.items() for method in methods} == {
        "POST /transcribe",
        "GET /health",
        "GET /metrics",
        "GET /jobs",
        "GET /jobs/{id}",
        "DELETE /jobs/{id}",
        "GET /jobs/{id}/events",
        "GET /jobs/{id}/result",
        "GET /v1/models",
        "GET /v1/models/{name}",
        "POST /v1/audio/transcriptions",
        "POST /v1/audio/translations",
    }


def test_the_reference_shows_them_all(surface: Surface) -> None:
    with surface.client(None) as client:
        paths = client.get("/openapi.json").json()["paths"]
        page = client.get("/docs")
    assert page.headers["content-type"].startswith("text/html")
    assert all(path in page.text for path in paths)
    assert "<script" not in page.text
    assert "http" not in page.text.replace("HTTP", "")
