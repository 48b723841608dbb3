"""What was asked of the account, call by call: the log a test reads, and what is still being carried out."""

from __future__ import annotations

import json
import re
import threading
from collections import deque
from dataclasses import dataclass
from typing import Any

from gputx.sandbox.plane.calls import Call

# The log is a ring of so many calls.
KEPT_CALLS = 20_000
LAUNCHES = frozenset({"RunInstances", "CreateFleet"})
_INSTANCE_ID = re.compile(r"\bi-(?:[0-9a-f]{17}|[0-9a-f]{8})\b")
_FORM_TAG = re.compile(r"((?:TagSpecification\.\d+\.)?(?:Tag|Tags\.member)\.\d+)\.Key")
_XML_CODE = re.compile(rb"<Code>([^<]+)</Code>")


@dataclass
class LoggedCall:
    """One call, from when it came.

    Attributes:
        number: 1 for the first call of the account.
        time: when it came, and ``end``: when it was answered or cut; seconds on the sandbox's clock.
        outcome: ``answered``, ``error``, ``cut before`` or ``cut after`` (its effect); None until then.
        carried_out: it has had all the effect it will ever have.
    """

    number: int
    time: float
    service: str
    action: str
    token: str | None
    tags: dict[str, str]
    instances: list[str]
    presigned: bool
    end: float | None = None
    outcome: str | None = None
    code: str | None = None
    carried_out: bool = False

    @property
    def launching(self) -> bool:
        """Whether an instance may still come of it."""
        return not self.carried_out and self.service == "ec2" and self.action in LAUNCHES

    def made(self, body: bytes) -> None:
        """Take down the instances that a launch's answer names."""
        if self.service == "ec2" and self.action in LAUNCHES:
            found = _INSTANCE_ID.findall(body.decode("utf-8", "replace"))
            self.instances = list(dict.fromkeys([*self.instances, *found]))

    def answered(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        """Take down what the client is told."""
        self.outcome = "answered"
        if status >= 400:
            self.outcome = "error"
            self.code = _error_code(status, dict(headers), body)

    def as_dict(self) -> dict[str, Any]:
        return {
            "number": self.number,
            "time": self.time,
            "end": self.end,
            "service": self.service,
            "action": self.action,
            "outcome": self.outcome,
            "code": self.code,
            "token": self.token,
            "tags": dict(self.tags),
            "instances": list(self.instances),
            "presigned": self.presigned,
        }


class CallLog:
    """Thread safe: calls come side by side."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._count = 0
        self._calls: deque[LoggedCall] = deque(maxlen=KEPT_CALLS)
        self._open: dict[int, LoggedCall] = {}

    def begin(self, call: Call, now: float) -> LoggedCall:
        """Number a call that has just come."""
        params = call.params
        token = params.get("ClientToken") or params.get("clientToken")
        tags, instances = _tags(params), _instances(call)
        with self._lock:
            self._count += 1
            entry = LoggedCall(
                self._count, now, call.service, call.action, token or None, tags, instances, call.presigned
            )
            self._calls.append(entry)
            self._open[entry.number] = entry
        return entry

    def end(self, entry: LoggedCall, now: float) -> None:
        entry.end = now
        with self._lock:
            self._open.pop(entry.number, None)

    def since(self, number: int) -> list[dict[str, Any]]:
        """The calls that came after call ``number``, in order; those not answered yet have no outcome."""
        with self._lock:
            return [entry.as_dict() for entry in self._calls if entry.number > number]

    def in_flight(self) -> list[LoggedCall]:
        """Calls that have not had their effect yet: being carried out, held by a rule, or waiting their turn."""
        with self._lock:
            return [entry for entry in self._open.values() if not entry.carried_out]


def _tags(params: dict[str, Any]) -> dict[str, str]:
    """All tags a request gives, whatever to, in the words of any protocol."""
    given = params.get("Tags") or params.get("tags")
    if isinstance(given, dict):
        return {str(key): str(value) for key, value in given.items()}
    if isinstance(given, list):
        return {str(tag.get("Key")): str(tag.get("Value", "")) for tag in given if isinstance(tag, dict)}
    tags = {}
    for name, key in params.items():
        if name.endswith(".Key") and (found := _FORM_TAG.fullmatch(name)):
            tags[str(key)] = str(params.get(f"{found[1]}.Value", ""))
    return tags


def _instances(call: Call) -> list[str]:
    """The ids of instances a request names, in its parameters or in what a schedule is to do."""
    if call.service == "ec2":
        named = [value for value in call.params.values() if isinstance(value, str) and value.startswith("i-")]
        return [value for value in dict.fromkeys(named) if _INSTANCE_ID.fullmatch(value)]
    if call.service == "scheduler":
        return list(dict.fromkeys(_INSTANCE_ID.findall(call.body.decode("utf-8", "replace"))))
    return []


def _error_code(status: int, headers: dict[str, str], body: bytes) -> str:
    """The code an answer refuses with, in whatever protocol; the HTTP status where there is none, as for HEAD."""
    if named := headers.get("x-amzn-errortype") or headers.get("X-Amzn-Errortype"):
        return named.partition(":")[0]
    if found := _XML_CODE.search(body):
        return found[1].decode()
    try:
        document = json.loads(body)
    except ValueError:
        return str(status)
    code = document.get("__type") or document.get("code") if isinstance(document, dict) else None
    return str(code or status).rpartition("#")[2]
