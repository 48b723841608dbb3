"""What gputx needed of IAM, written down while it is used: the policies of ``iam/`` are held against it.

Off unless ``GPUTX_SANDBOX_NEEDS`` names a file. Each line is a JSON object: the ``command`` that called (empty where it
did not say), or the ``role`` of the instance that did, and the need's ``action``, ``resource`` and ``context``. A kind
of need is written once by each sandbox; several may write to one file.
"""

from __future__ import annotations

import json
import os
import re
import threading
from collections.abc import Iterable, Mapping
from typing import Any

from gputx.sandbox.plane.calls import Call
from gputx.sandbox.plane.need import Need
from gputx.sandbox.plane.sessions import Session, needs_of

VARIABLE = "GPUTX_SANDBOX_NEEDS"

# The AWS SDKs write AWS_SDK_UA_APP_ID so: `app/gputx-run`, where whoever starts gputx says that it is `run`.
_COMMAND = re.compile(r"(?:^| )app/gputx-([\w-]+)")
# gputx says that it calls; a test's own boto3, or a person's aws, does not.
_OURS = re.compile(r"(?:^| )gputx(?: |$)")
# Ids, hashes and times: two needs that differ only in these are of one kind.
_PARTICULAR = re.compile(r"[0-9a-f]*\d[\w.]*")


class NeedLog:
    """Thread safe."""

    def __init__(self, file: str | None) -> None:
        """``file`` None: nothing is written."""
        self._file = file
        self._lock = threading.Lock()
        self._written: set[str] = set()
        self._put_by: dict[str, str] = {}

    @classmethod
    def from_environment(cls) -> NeedLog:
        return cls(os.environ.get(VARIABLE))

    def note(self, call: Call, environ: Mapping[str, Any]) -> None:
        """Write down what a call needs. Under the account's lock: it looks at tags."""
        agent = str(environ.get("HTTP_USER_AGENT", ""))
        if self._file is None or not (call.presigned or _OURS.search(agent)):
            return
        said = _COMMAND.search(agent)
        command = said[1] if said else ""
        if call.presigned:
            # A presigned address may do what its signer may: here, whoever put the object there.
            command = self._put_by.get(call.path, "")
        elif call.action == "PutObject":
            self._put_by[call.path] = command
        for need in needs_of(call):
            seen = json.dumps(need.as_dict(), sort_keys=True)
            kind = f"{command} {need.action} {_PARTICULAR.sub('#', seen)}"
            self._write(kind, json.dumps({"command": command, **need.as_dict()}, sort_keys=True))

    def note_role(self, session: Session, needs: Iterable[Need]) -> None:
        """Write down what an instance's role was needed for; what it was refused has not been done."""
        for need in needs if self._file is not None else ():
            told = {"role": session.role, **need.as_dict()}
            told["context"] |= {"aws:userid": session.user_id}
            # Names of jobs look like nothing in particular; which part of a bucket it is says enough.
            kind = f"{session.role} {need.action} {'/'.join(need.resource.split('/')[:2])}"
            self._write(kind, json.dumps(told, sort_keys=True))

    def _write(self, kind: str, line: str) -> None:
        with self._lock:
            if kind in self._written or self._file is None:
                return
            self._written.add(kind)
            # One write to the end of the file: lines of several sandboxes do not mix.
            with open(self._file, "ab", buffering=0) as file:  # noqa: PTH123 - Path.open has no reason to be here
                file.write(line.encode() + b"\n")
