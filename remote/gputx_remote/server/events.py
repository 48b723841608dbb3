"""Server-sent events, as https://html.spec.whatwg.org/multipage/server-sent-events.html has them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import ExitStack, suppress
from typing import Any, TypeVar

from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

T = TypeVar("T")

SILENCE = ": \n\n"
"""A comment: nothing for whoever reads events, a sign of life for whatever carries them."""


def event(data: Any, *, kind: str | None = None, number: int | None = None) -> str:
    """One event.

    Args:
        data: anything JSON can hold.
        kind: its name; None for an unnamed one.
        number: its id, which a client that comes again sends as ``Last-Event-ID``.
    """
    lines = [f"event: {kind}"] if kind else []
    if number is not None:
        lines.append(f"id: {number}")
    # JSON keeps every line break inside a string escaped.
    lines.append(f"data: {json.dumps(data, ensure_ascii=False, allow_nan=False)}")
    return "\n".join(lines) + "\n\n"


class Stream(StreamingResponse):
    """An answer of events, as they come. No proxy may hold them back."""

    def __init__(self, events: AsyncIterator[str], held: ExitStack) -> None:
        """
        Args:
            events: as :func:`event` makes them.
            held: closed when the answer is over, also where its reader had gone before the first event.
        """
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        super().__init__(events, media_type="text/event-stream", headers=headers)
        self._held = held

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._held:
            await super().__call__(scope, receive, send)


async def with_silence(items: AsyncIterator[T], seconds: float) -> AsyncIterator[T | None]:
    """The items as they come, and None whenever there was none for so many seconds."""
    following = asyncio.ensure_future(anext(items, _END))
    try:
        while True:
            await asyncio.wait((following,), timeout=seconds)
            if not following.done():
                yield None
                continue
            item = following.result()
            if isinstance(item, _End):
                return
            yield item
            following = asyncio.ensure_future(anext(items, _END))
    finally:
        following.cancel()
        with suppress(asyncio.CancelledError):
            await following
        if hasattr(items, "aclose"):
            await items.aclose()


class _End:
    """Behind the last item."""


_END = _End()
