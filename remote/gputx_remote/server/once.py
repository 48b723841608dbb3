"""One job for a recording that is sent twice: whoever lost the answer asks again under the same ``Idempotency-Key``.

The header is that of https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/, and of services that
had it before.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from gputx_remote.server.job import Job
from gputx_remote.server.jobs import Jobs

MAX_LENGTH = 255
"""Characters of a key."""


class Once:
    """What is being made under a key; what has been made is in the jobs' own orders, and is forgotten with them. Used
    from the event loop only."""

    def __init__(self) -> None:
        self._making: dict[tuple[str, str], asyncio.Event] = {}

    async def job(self, jobs: Jobs, owner: str, key: str, make: Callable[[], Awaitable[Job]]) -> tuple[Job, bool]:
        """The job under this key, and whether it was made now. A request that comes while the first is still being
        decoded waits for that; where the first is refused, it is the one that makes it.

        Raises whatever ``make`` raises.
        """
        while True:
            if (known := jobs.keyed(owner, key)) is not None:
                return known, False
            if (first := self._making.get((owner, key))) is None:
                break
            await first.wait()
        ended = self._making[owner, key] = asyncio.Event()
        try:
            return await make(), True
        finally:
            del self._making[owner, key]
            ended.set()
