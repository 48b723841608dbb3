"""CloudWatch's log groups: moto's, but that a new one has no tags of one that went before it under its name."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any

from gputx.sandbox.plane import emulator


class LogGroups:
    """Called under the account's lock."""

    def __init__(self) -> None:
        self._patched = False

    def install(self) -> None:
        """Once, when the service is first asked for something."""
        if self._patched:
            return
        from moto.logs.models import LogsBackend  # noqa: PLC0415 - moto reads its settings when imported

        LogsBackend.delete_log_group = _with_its_tags(LogsBackend.delete_log_group)
        self._patched = True

    @staticmethod
    def all() -> list[dict[str, Any]]:
        """Every log group: name, region, for how many days it keeps what it holds (None: for ever), tags."""
        if "moto.logs.models" not in sys.modules:
            return []  # nobody has asked for any, and the import takes a while
        from moto.logs.models import logs_backends  # noqa: PLC0415 - as above

        return [
            {
                "name": group.name,
                "region": group.region,
                "retention": group.retention_in_days,
                "tags": dict(backend.tagger.get_tag_dict_for_resource(group.arn)),
            }
            for backend in logs_backends[emulator.ACCOUNT_ID].values()
            for group in backend.groups.values()
        ]


def _with_its_tags(delete: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(delete)
    def delete_log_group(backend: Any, log_group_name: str) -> None:
        group = backend.groups.get(log_group_name)
        delete(backend, log_group_name)
        backend.tagger.delete_all_tags_for_resource(group.arn)

    return delete_log_group
