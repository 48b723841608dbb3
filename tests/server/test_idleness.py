"""What counts as use of a server, so that its instance stays up, and what only looks at it."""

from __future__ import annotations

import httpx
import pytest
from surface import CLIP, Surface


@pytest.fixture
def touches(surface: Surface, monkeypatch: pytest.MonkeyPatch) -> list[None]:
    """One for each time that a request counted as use; work that is under way counts by itself, so there is none."""
    found: list[None] = []
    monkeypatch.setattr(surface.service, "touch", lambda: found.append(None))
    return found


def test_work_and_who_asks_for_it_are_use(surface: Surface, touches: list[None]) -> None:
    with surface.client() as client:
        job = client.post("/transcribe?async=1", files={"audio": CLIP.read_bytes()}).headers["location"]
        for path in (f"{job}/events", job, f"{job}/result"):
            before = len(touches)
            assert client.get(path).status_code == httpx.codes.OK
            assert len(touches) > before, path
        for path, field in (("/transcribe", "audio"), ("/v1/audio/transcriptions", "file")):
            before = len(touches)
            assert client.post(path, files={field: ("a.flac", CLIP.read_bytes())}).status_code == httpx.codes.OK
            assert len(touches) > before, path
        client.delete(job)


@pytest.mark.parametrize(
    "path", ["/jobs", "/jobs?limit=0", "/metrics", "/v1/models", "/v1/models/tiny", "/", "/health"]
)
def test_to_look_is_none(surface: Surface, touches: list[None], path: str) -> None:
    with surface.client() as client:
        assert client.get(path).status_code == httpx.codes.OK
    assert not touches


def test_nobody_without_a_token_uses_it(surface: Surface, touches: list[None]) -> None:
    with surface.client(None) as client:
        assert client.post("/transcribe", files={"audio": b"x"}).status_code == httpx.codes.UNAUTHORIZED
        assert client.get("/jobs/x").status_code == httpx.codes.UNAUTHORIZED
    assert not touches
