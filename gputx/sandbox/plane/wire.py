"""An AWS error, and how each of AWS's protocols writes one on the wire."""

from __future__ import annotations

import base64
import json
import uuid
from xml.sax.saxutils import escape

from gputx.sandbox.rules import default_status

# They name no action on the wire, and word errors as the query protocol does.
_REST_XML_SERVICES = frozenset({"route53", "cloudfront"})


class AwsError(Exception):
    """An answer that refuses.

    Args:
        code: as AWS documents it.
        message: as AWS words it, where that is known.
        status: HTTP status; what AWS sends with the code unless given.
    """

    def __init__(self, code: str, message: str, status: int | None = None) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.status = default_status(code) if status is None else status


class NotEmulated(AwsError):  # noqa: N818 - the code it is sent as
    """The sandbox does not do this; AWS would."""

    def __init__(self, service: str, action: str, why: str = "") -> None:
        reason = f": {why}" if why else ""
        super().__init__("NotEmulated", f"The sandbox does not emulate {service} {action}{reason}", 501)


class DryRun(AwsError):  # noqa: N818 - the code it is sent as
    """All is well, and nothing was done because nothing was to be done."""

    def __init__(self) -> None:
        super().__init__("DryRunOperation", "Request would have succeeded, but DryRun flag is set.", 412)


def encode_page(start: int) -> str:
    """The token of a page of an answer."""
    return base64.urlsafe_b64encode(str(start).encode()).decode()


def decode_page(token: str | None) -> int:
    """Where a page starts; 0 without a token.

    Raises:
        AwsError: InvalidNextToken; nobody was given this token.
    """
    if not token:
        return 0
    try:
        start = int(base64.urlsafe_b64decode(token))
    except ValueError as error:
        raise AwsError("InvalidNextToken", "The specified NextToken is invalid") from error
    if start < 0:
        raise AwsError("InvalidNextToken", "The specified NextToken is invalid")
    return start


def render_error(service: str, error: AwsError, *, form: bool) -> tuple[str, bytes]:
    """(content type, body) of an error in the protocol of a service.

    Args:
        form: the request was a form with an ``Action``, which is the query protocol, whatever the service.
    """
    request_id = str(uuid.uuid4())
    code, message = escape(error.code), escape(error.message)
    head = '<?xml version="1.0" encoding="UTF-8"?>'
    if service == "ec2":
        inner = f"<Errors><Error><Code>{code}</Code><Message>{message}</Message></Error></Errors>"
        body = f"{head}<Response>{inner}<RequestID>{request_id}</RequestID></Response>"
        return "text/xml;charset=UTF-8", body.encode()
    if service == "s3":
        inner = f"<Code>{code}</Code><Message>{message}</Message><RequestId>{request_id}</RequestId>"
        return "application/xml", f"{head}<Error>{inner}</Error>".encode()
    if form or service in _REST_XML_SERVICES:
        kind = "Receiver" if error.status >= 500 else "Sender"
        inner = f"<Error><Type>{kind}</Type><Code>{code}</Code><Message>{message}</Message></Error>"
        body = f"{head}<ErrorResponse>{inner}<RequestId>{request_id}</RequestId></ErrorResponse>"
        return "text/xml", body.encode()
    document = {"__type": error.code, "message": error.message, "Message": error.message}
    return "application/x-amz-json-1.1", json.dumps(document).encode()
