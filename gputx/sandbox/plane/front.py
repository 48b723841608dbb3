"""The door: every request is read, checked, perhaps failed by a rule, answered, and worded as AWS would."""

from __future__ import annotations

import hmac
import io
import json
import logging
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from gputx.sandbox.plane import emulator
from gputx.sandbox.plane.account import EmulatedAccount
from gputx.sandbox.plane.calllog import LoggedCall
from gputx.sandbox.plane.calls import Call, presigned_window, read_call
from gputx.sandbox.plane.control import PREFIX, Control
from gputx.sandbox.plane.needlog import NeedLog
from gputx.sandbox.plane.sessions import Session, needs_of
from gputx.sandbox.plane.signals import Striker
from gputx.sandbox.plane.wire import AwsError, NotEmulated, render_error
from gputx.sandbox.rules import Fault, Signal

log = logging.getLogger(__name__)

StartResponse = Callable[..., Any]
# Status, headers and body.
Answer = tuple[int, list[tuple[str, str]], bytes]
_POLL_SECONDS = 0.05
# Paths under which moto would answer what no AWS endpoint does: its reset button, a metadata service for all.
_MOTO_S_OWN = ("/moto-api", "/latest/meta-data/", "/latest/api/")
# Longer than any wait in SQS's API, so that a mistaken client can't hold a thread for ever.
_LONGEST_POLL_SECONDS = 20.0


class Dropped(ConnectionResetError):  # noqa: N818 - it is an ending, not an error
    """A rule cut the connection, before or after the call's effect; the server takes it for a client that left."""


class FrontDoor:
    """The WSGI application of the sandbox.

    Args:
        account: what is behind the door.
        control: the sandbox's own API, under ``/_sandbox/``.
        access_key: the only key that opens it, so that real credentials fail here instead of half working.
    """

    def __init__(self, account: EmulatedAccount, control: Control, access_key: str) -> None:
        self._account = account
        self._control = control
        self._access_key = access_key
        self._striker = Striker(account)
        self._needs = NeedLog.from_environment()
        # Clients sign calls to services without regions, such as IAM, for "aws-global" or us-east-1.
        self._regions = emulator.regions() | {"aws-global"}

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        if not _is_loopback_name(environ.get("HTTP_HOST", "")):
            # A page in a browser can reach loopback through a name of its own; no client of ours needs one.
            return _send(environ, start_response, 403, "text/plain", b"this endpoint answers to loopback names only\n")
        if environ["PATH_INFO"].startswith(PREFIX):
            status, content_type, body = self._control(environ)
            return _send(environ, start_response, status, content_type, body)
        try:
            call = _understand(environ)
        except AwsError as error:
            unread = "json" if "HTTP_X_AMZ_TARGET" in environ else "ec2"
            log.info("%s ? → %d %s", unread, error.status, error)
            return _send_with(environ, start_response, *_refusal(unread, error, form=False))
        entry = self._account.calls.begin(call, self._account.clock.time())
        try:
            answer, signal = self._log(call, entry, environ)
        except Dropped:
            _cut(environ)
            raise
        pieces = _send_with(environ, start_response, *answer)
        return pieces if signal is None else self._and_then(pieces, signal, entry)

    def _log(self, call: Call, entry: LoggedCall, environ: dict[str, Any]) -> tuple[Answer, Signal | None]:
        """Answer a call and put down how."""
        began = time.monotonic()
        try:
            answer, signal = self._answer(call, entry, environ)
            entry.answered(*answer)
        except Dropped as cut:
            entry.outcome = f"cut {cut}"
            log.info("%s %s → connection cut by rule", call.service, call.action)
            raise
        finally:
            self._account.calls.end(entry, self._account.clock.time())
        took = (time.monotonic() - began) * 1000
        log.info("%s %s → %d in %.0f ms", call.service, call.action, answer[0], took)
        return answer, signal

    def _and_then(self, pieces: list[bytes], signal: Signal, entry: LoggedCall) -> Iterator[bytes]:
        """Give a signal once all of the answer is on the wire, or nobody takes it."""
        try:
            # The server asks for the next piece when the last one was handed to the socket.
            yield from pieces
        finally:
            self._striker.strike(signal, entry)

    def _authenticate(self, call: Call) -> Session | None:
        """Who calls: a session of a role, or None for the account's owner. Raises AwsError."""
        if call.access_key is None:
            if call.service == "s3":
                raise AwsError("AccessDenied", "Access Denied", 403)  # no bucket of the account is public
            raise AwsError("MissingAuthenticationToken", "Request is missing Authentication Token", 403)
        with self._account.lock:
            session = self._account.sessions.of(call)
        if session is None and not hmac.compare_digest(call.access_key.encode(), self._access_key.encode()):
            code = {"ec2": "AuthFailure", "s3": "InvalidAccessKeyId"}.get(call.service, "InvalidClientTokenId")
            raise AwsError(
                code,
                "This is a gputx sandbox, and the access key of the request is not the sandbox's. "
                "`gputx sandbox status --json` shows the one to use.",
                403,
            )
        if call.region not in self._regions:
            message = f"Credential should be scoped to a valid region, not '{call.region}'."
            raise AwsError("SignatureDoesNotMatch", message, 403)
        if call.presigned and (window := presigned_window(call.params)):
            signed_at, seconds = window
            if self._account.clock.time() > self._account.on_the_clock(signed_at) + seconds:
                raise AwsError("AccessDenied", "Request has expired", 403)
        return session

    def _answer(self, call: Call, entry: LoggedCall, environ: dict[str, Any]) -> tuple[Answer, Signal | None]:
        """The answer to a call, under all the rules that fit it, and the signal that is to follow it.

        Raises:
            Dropped: there is to be no answer.
        """
        fault = signal = answer = None
        try:
            session = self._authenticate(call)
            with self._account.lock:
                self._allow(call, session, environ)
            facets = self._account.facets(call)
            fault = self._account.rules.fault(call.service, call.action, facets)
            # What a guest fetches by a presigned address, or asks for with its role, is no call of the client's.
            of_guests = call.presigned or session is not None
            signal = None if of_guests else self._account.rules.signal(call.service, call.action, facets)
            self._hold(fault, signal)
            if signal and signal.at == "before":
                self._striker.strike(signal, entry)
            if not _cuts("before", fault, signal):
                answer = self._carry_out(call, fault, entry, environ)
        except AwsError as error:
            log.info("%s %s: %s", call.service, call.action, error)
            answer = _refusal(call.service, error, form=call.form)
        finally:
            entry.carried_out = True
        unanswered = answer is None or _cuts("after", fault, signal)
        if signal and (signal.at == "after" or (signal.at == "response" and unanswered)):
            self._striker.strike(signal, entry)
        if answer is None or unanswered:
            raise Dropped("before" if answer is None else "after")
        return answer, signal if signal and signal.at == "response" else None

    def _allow(self, call: Call, session: Session | None, environ: dict[str, Any]) -> None:
        """Put down what a call needs. Only of a role's it is judged: the owner of a sandbox may do everything.

        Raises:
            AwsError: the role may not do this.
        """
        if session is None:
            self._needs.note(call, environ)
            return
        needs = needs_of(call)
        session.judge(needs, call.service)
        self._needs.note_role(session, needs)

    def _hold(self, *rules: Fault | Signal | None) -> None:
        """Wait as long as the rules say."""
        for rule in rules:
            if rule and rule.delay:
                self._account.clock.sleep(rule.delay)

    def _carry_out(self, call: Call, fault: Fault | None, entry: LoggedCall, environ: dict[str, Any]) -> Answer:
        if fault and fault.error:
            raise AwsError(fault.error, fault.message, fault.status)
        deadline = self._account.clock.time() + self._long_poll(call, environ)
        while True:
            answer = self._execute(call, entry, environ)
            if self._account.clock.time() >= deadline or b"Messages" in answer[2] or b"<Message>" in answer[2]:
                break
            # moto would wait holding the account's lock; waiting here leaves the account to others.
            time.sleep(_POLL_SECONDS)
        return answer

    def _long_poll(self, call: Call, environ: dict[str, Any]) -> float:
        """Take the wait out of an SQS receive; the seconds it asked to wait."""
        if call.service != "sqs" or call.action != "ReceiveMessage" or "HTTP_X_AMZ_TARGET" not in environ:
            return 0.0
        wait = float(call.params.pop("WaitTimeSeconds", 0))
        call.params["WaitTimeSeconds"] = 0
        call.body = json.dumps(call.params).encode()
        return min(wait, _LONGEST_POLL_SECONDS)

    def _execute(self, call: Call, entry: LoggedCall, environ: dict[str, Any]) -> Answer:
        if environ["PATH_INFO"].startswith(_MOTO_S_OWN):
            raise NotEmulated(call.service, call.action)
        with self._account.lock:
            self._account.timers.run_due()
            document = self._account.answer(call)
            try:
                if document is not None:
                    answer = 200, [("Content-Type", "application/x-amz-json-1.1")], json.dumps(document).encode()
                else:
                    answer = _ask_moto(self._account.application, call, environ)
            except AwsError:
                raise
            except NotImplementedError as error:
                raise NotEmulated(call.service, call.action, str(error).partition(".")[0]) from error
            except Exception as error:  # moto's own faults must reach the client as an answer it can read
                log.exception("%s %s failed inside the emulator", call.service, call.action)
                raise NotEmulated(call.service, call.action, f"it failed with {type(error).__name__}") from error
            # Under the lock, so that nobody sees both a launch on its way and its instance.
            entry.carried_out = True
            entry.made(answer[2])
            return answer


def _understand(environ: dict[str, Any]) -> Call:
    try:
        return read_call(environ)
    except ValueError as error:
        raise AwsError("SerializationException", f"The request can't be read: {error}") from error


def _cuts(phase: str, fault: Fault | None, signal: Signal | None) -> bool:
    """Whether a rule cuts the connection ``before`` or ``after`` the call's effect."""
    return bool((fault and fault.drop == phase) or (signal and signal.kills and signal.at == phase))


def _refusal(service: str, error: AwsError, *, form: bool) -> Answer:
    content_type, body = render_error(service, error, form=form)
    return error.status, [("Content-Type", content_type), ("x-amzn-errortype", error.code)], body


def _ask_moto(application: Callable[..., Any], call: Call, environ: dict[str, Any]) -> Answer:
    answered: list[tuple[str, list[tuple[str, str]]]] = []

    def start_response(status: str, headers: list[tuple[str, str]], _error: object = None) -> Callable[..., None]:
        answered.append((status, headers))
        return lambda _: None

    own = {**environ, "wsgi.input": io.BytesIO(call.body), "CONTENT_LENGTH": str(len(call.body))}
    pieces = application(own, start_response)
    body = b"".join(pieces)
    if close := getattr(pieces, "close", None):
        close()
    status, headers = answered[0]
    code = int(status.split()[0])
    content_type = dict(headers).get("Content-Type", "")
    if code >= 400 and content_type.startswith("text/html") and b"<!doctype html>" in body[:64].lower():
        raise NotEmulated(call.service, call.action)
    return code, headers, body


def _send(
    environ: dict[str, Any], start_response: StartResponse, status: int, content_type: str, body: bytes
) -> list[bytes]:
    return _send_with(environ, start_response, status, [("Content-Type", content_type)], body)


def _send_with(
    environ: dict[str, Any],
    start_response: StartResponse,
    status: int,
    headers: list[tuple[str, str]],
    body: bytes,
) -> list[bytes]:
    if environ["REQUEST_METHOD"] == "HEAD":
        body = b""  # its Content-Length, if any, is the object's
    elif status not in (204, 304):
        headers = [pair for pair in headers if pair[0].lower() != "content-length"]
        headers.append(("Content-Length", str(len(body))))
    start_response(f"{status} {'OK' if status < 400 else 'Error'}", headers)
    return [body]


def _is_loopback_name(host: str) -> bool:
    name = host.rpartition(":")[0] or host
    return name in ("127.0.0.1", "localhost") or name.endswith(".localhost")


def _cut(environ: dict[str, Any]) -> None:
    """Make the client see a connection that ends without an answer."""
    connection: socket.socket = environ["werkzeug.socket"]
    # Closing would not do: the server's own buffers still hold the socket.
    connection.shutdown(socket.SHUT_RDWR)
