"""Client tokens: the same call with the same token is answered as the first time, and does nothing more."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from gputx.sandbox.plane.wire import AwsError

# Where a token holds: a region, mostly, and for a launch one zone of it.
Scope = tuple[str, ...]


class Tokens:
    """What the tokens of one action were used for."""

    def __init__(self) -> None:
        self._used: dict[tuple[Scope, str], tuple[str, Any]] = {}

    def recall(self, scope: Scope, token: str, fingerprint: str) -> Any:
        """What was answered to this token; None where there is no token, or it is new.

        Raises:
            AwsError: IdempotentParameterMismatch; it was used with other parameters.
        """
        if not token or (scope, token) not in self._used:
            return None
        known, answer = self._used[scope, token]
        if known != fingerprint:
            raise AwsError(
                "IdempotentParameterMismatch",
                "Arguments on this idempotent request are inconsistent with arguments used in previous request(s).",
            )
        return answer

    def keep(self, scope: Scope, token: str, fingerprint: str, answer: Any) -> None:
        """Remember an answer; without a token there is nothing to remember it by."""
        if token:
            self._used[scope, token] = (fingerprint, answer)


def fingerprint_of(params: dict[str, Any]) -> str:
    """What has to be the same when a token is used again."""
    rest = {name: value for name, value in params.items() if name not in ("ClientToken", "DryRun")}
    return hashlib.sha256(json.dumps(rest, sort_keys=True, default=str).encode()).hexdigest()
