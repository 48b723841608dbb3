"""Structured logs: a JSON object a line, on stderr.

What is never in them: text that was spoken, a prompt, the name of a file that was sent, a token, a query string.
"""

from __future__ import annotations

import json
import logging
import sys
import traceback
from datetime import UTC, datetime
from typing import Any

log = logging.getLogger("gputx.server")

_FIELDS = frozenset((*vars(logging.makeLogRecord({})), "message", "asctime", "taskName", "color_message", "websocket"))
"""What the standard library itself puts on a record; the rest is what the caller wanted logged."""


class JsonLines(logging.Formatter):
    """A record as one line of JSON: ``time`` (UTC), ``level``, ``event``, then the record's own fields."""

    def format(self, record: logging.LogRecord) -> str:
        fields: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
        }
        fields |= {name: value for name, value in vars(record).items() if name not in _FIELDS}
        if record.exc_info and record.exc_info[0] is not None:
            kind, error, trace = record.exc_info
            frames = traceback.extract_tb(trace)
            # Where it was, and what class: an exception's own text may quote what somebody said.
            fields["error"] = kind.__name__
            fields["at"] = [f"{frame.name}:{frame.lineno}" for frame in frames[-8:]]
            if isinstance(error, OSError):
                fields["errno"] = error.errno
        return json.dumps(fields, ensure_ascii=False, default=str)


def configure(level: int = logging.INFO) -> None:
    """Send what the server and uvicorn log to stderr, as JSON Lines. uvicorn's own access log stays off: ours says
    the route instead of the address, which may hold what is nobody's business."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    for name in ("gputx.server", "uvicorn", "uvicorn.error"):
        logger = logging.getLogger(name)
        logger.handlers = [handler] if name != "uvicorn.error" else []
        logger.setLevel(level)
        logger.propagate = name == "uvicorn.error"
    logging.getLogger("uvicorn.access").disabled = True
