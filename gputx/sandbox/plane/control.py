"""The sandbox's own API under ``/_sandbox/``: JSON, for whoever knows the secret in the state directory."""

from __future__ import annotations

import hmac
import json
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl

from gputx.errors import GputxError
from gputx.sandbox.plane.account import EmulatedAccount
from gputx.sandbox.plane.calls import read_body
from gputx.sandbox.plane.table import table
from gputx.sandbox.plane.wire import AwsError

PREFIX = "/_sandbox/"
SECRET_HEADER = "X-Gputx-Sandbox-Secret"  # noqa: S105 - the header's name

Answer = tuple[int, str, bytes]


class Control:
    """Answers (status, content type, body) for a WSGI request.

    Args:
        description: what ``status`` shows beside the moving parts.
        secret: a web page open in a browser can reach loopback, but can't know this.
        stop: called when the daemon is to end.
    """

    def __init__(
        self, account: EmulatedAccount, description: dict[str, Any], secret: str, stop: Callable[[], None]
    ) -> None:
        self._account = account
        self._description = description
        self._secret = secret
        self._stop = stop

    def __call__(self, environ: dict[str, Any]) -> Answer:
        path = environ["PATH_INFO"].removeprefix(PREFIX).strip("/")
        method = environ["REQUEST_METHOD"]
        if path == "checkip":
            # As https://checkip.amazonaws.com: the caller's public address, here loopback, and a newline.
            return 200, "text/plain", b"127.0.0.1\n"
        given = environ.get("HTTP_" + SECRET_HEADER.upper().replace("-", "_"), "")
        if not hmac.compare_digest(given.encode(), self._secret.encode()):
            return _json(403, {"error": f"the header {SECRET_HEADER} is missing or wrong"})
        body = read_body(environ)
        query = dict(parse_qsl(environ.get("QUERY_STRING", "")))
        try:
            document = json.loads(body) if body else {}
            return _json(200, self._route(method, path, document, query))
        except GputxError as error:
            return _json(400, {"error": error.message, "hint": error.hint})
        except AwsError as error:
            return _json(400, {"error": error.message, "hint": None})
        except (json.JSONDecodeError, KeyError, TypeError, ValueError) as error:
            return _json(400, {"error": f"the request is not understood: {error}", "hint": None})

    def _route(  # noqa: PLR0911 - a table of routes
        self, method: str, path: str, document: dict[str, Any], query: dict[str, str]
    ) -> object:
        account = self._account
        match (method, path):
            case ("GET", "status"):
                return {**self._description, **self._moving()}
            case ("GET", "table"):
                with account.lock:
                    account.timers.run_due()
                    return table(account, self._description["endpoint_url"])
            case ("GET", "calls"):
                return account.calls.since(int(query.get("since", 0)))
            case ("POST", "clock/advance"):
                return {"offset": account.advance(float(document["seconds"]))}
            case ("GET", "rules"):
                return account.rules.as_dicts()
            case ("POST", "rules"):
                return account.add_rule(str(document["text"])).as_dict()
            case ("DELETE", "rules"):
                account.rules.clear()
                return {}
            case ("DELETE", _) if path.startswith("rules/"):
                account.rules.remove(path.removeprefix("rules/"))
                return {}
            case ("POST", "stop"):
                self._stop()
                return {}
        raise ValueError(f"{method} {path}")

    def _moving(self) -> dict[str, Any]:
        account = self._account
        with account.lock:
            account.timers.run_due()
            instances = {machine.id: machine.state for machine in account.machines.all()}
        return {
            "time": account.clock.time(),
            "clock_offset": account.clock.offset,
            "instances": instances,
            "rules": account.rules.as_dicts(),
            "isolation": account.guests.isolation,
        }


def _json(status: int, document: object) -> Answer:
    return status, "application/json", json.dumps(document).encode()
