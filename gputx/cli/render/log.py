"""What libraries log, for ``--debug``: said by the display, so that writing it can't hold up who logs."""

from __future__ import annotations

import logging
from collections.abc import Callable


class LogLines(logging.Handler):
    """Says each line of each record with ``say``."""

    def __init__(self, say: Callable[[str], None]) -> None:
        super().__init__()
        self._say = say
        self.setFormatter(logging.Formatter(logging.BASIC_FORMAT))

    def emit(self, record: logging.LogRecord) -> None:
        try:
            lines = self.format(record).splitlines()
        except Exception:  # noqa: BLE001 - a record that can't be formatted is its author's, not the work's
            self.handleError(record)
            return
        for line in lines:
            self._say(line)
