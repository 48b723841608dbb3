"""``gputx api down --drain``: a server is ended when its work is done, and not when it merely says nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from clocks import ManualClock
from test_keeping import SERVER

from gputx.clock import Stop
from gputx.events import EventStream
from gputx.workflows.api import commands
from gputx.workflows.story import Story

Answer = httpx.Response | Exception


def queue(seconds: float) -> httpx.Response:
    return httpx.Response(200, json={"jobs": [], "queue": {"seconds": seconds, "limit_seconds": 1, "rate": 1}})


REFUSED = httpx.ConnectError("connection refused")
LOADING = httpx.Response(503, json={"error": {"code": "loading"}})
BROKEN = httpx.Response(200, text="<html>")


@pytest.mark.parametrize(
    ("answers", "slept", "warned"),
    [
        ([queue(0)], 0, None),
        ([queue(9), queue(4), queue(0)], 2, None),
        ([REFUSED, LOADING, BROKEN, queue(5), queue(0)], 4, None),  # started again just now, jobs on its disk
        ([queue(7)] * 99, 30, "7.0 s of audio are lost"),
        ([REFUSED] * 99, 30, "it did not answer"),
    ],
)
def test_it_waits_for_the_work_and_not_for_an_answer(
    monkeypatch: pytest.MonkeyPatch, answers: list[Answer], slept: int, warned: str | None
) -> None:
    left = iter(answers)

    def answer(request: httpx.Request) -> httpx.Response:
        assert (request.url.path, request.url.params["limit"]) == ("/jobs", "0")
        found = next(left)
        if isinstance(found, Exception):
            raise found
        return httpx.Response(found.status_code, content=found.content)

    @contextmanager
    def opened(*_: object, **__: object) -> Iterator[Any]:
        client = httpx.Client(base_url="http://127.0.0.1", transport=httpx.MockTransport(answer))
        yield SimpleNamespace(client=lambda: client)

    monkeypatch.setattr(commands.doors, "opened", opened)
    clock, said = ManualClock(), list[str]()
    story = Story(EventStream([lambda event: said.append(getattr(event, "text", ""))]), clock)
    commands._drained(SERVER, story, Stop(), 30)
    assert len(clock.slept) == slept
    assert [line for line in said if line] == (
        [f"{SERVER.instance_id} is ended with work left: {warned}"] if warned else []
    )
