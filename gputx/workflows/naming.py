"""The name of one use of gputx: on all that it makes, and on what it leaves."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime

from gputx.clock import Clock


def run_id(clock: Clock) -> str:
    """Sortable by time, unique enough to name AWS resources: 20261120-141503-7f3a9c."""
    return f"{datetime.fromtimestamp(clock.time(), UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"
