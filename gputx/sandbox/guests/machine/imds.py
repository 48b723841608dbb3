"""The instance metadata service: IMDSv2 over HTTP/1.1 on the guest's own address.

Tokens are always required, as with ``HttpTokens=required``.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import socket
from collections.abc import Mapping, Sequence

LINK_LOCAL = "169.254.169.254"
_PREFIX = "/latest/meta-data"
_MAX_TTL_SECONDS = 21600
_TIMEOUT_SECONDS = 5
_REASONS = {
    200: "OK",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
}
# Names in the instance identity document, and where in the tree their values are.
_IDENTITY = {
    "availabilityZone": "placement/availability-zone",
    "imageId": "ami-id",
    "instanceId": "instance-id",
    "instanceType": "instance-type",
    "privateIp": "local-ipv4",
    "region": "placement/region",
}


class MetadataService:
    """Answers what EC2 tells an instance about itself.

    Args:
        metadata: paths under ``/latest/meta-data/`` to text, or to data that is sent as JSON.
        user_data: as given at launch; empty means there is none (404).
        keys: the launch's public keys, in OpenSSH's format.
    """

    def __init__(self, metadata: Mapping[str, object], user_data: bytes, keys: Sequence[str] = ()) -> None:
        self._tree: dict[str, object] = {"services/domain": "amazonaws.com", "services/partition": "aws"}
        self._tree |= {path.strip("/"): value for path, value in metadata.items()}
        self._tree |= {f"public-keys/{number}/openssh-key": key for number, key in enumerate(keys)}
        # The one list that is not of names: cloud-init reads a key's number and name from it.
        self._key_list = "\n".join(f"{number}={_key_name(key)}" for number, key in enumerate(keys))
        self._user_data = user_data
        self._tokens: set[str] = set()

    async def listen(self, address: str, port: int = 0) -> str:
        """Serve on a port, by default one that is free; returns the endpoint's URL."""
        server = await asyncio.start_server(self._serve, address, port, family=socket.AF_INET)
        port = server.sockets[0].getsockname()[1]
        return f"http://{address}:{port}"

    def set(self, path: str, value: object | None) -> None:
        """Publish a value, or withdraw it with None."""
        if value is None:
            self._tree.pop(path.strip("/"), None)
        else:
            self._tree[path.strip("/")] = value

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_TIMEOUT_SECONDS):
                head = await reader.readuntil(b"\r\n\r\n")
        except (TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError):
            writer.close()
            return
        request, *lines = head.decode("latin-1").split("\r\n")
        headers = {
            name.strip().lower(): value.strip()
            for name, found, value in (line.partition(":") for line in lines)
            if found
        }
        parts = request.split(" ")
        status, body = self.answer(parts[0], parts[1], headers) if len(parts) == 3 else (400, b"")
        writer.write(
            f"HTTP/1.1 {status} {_REASONS[status]}\r\nContent-Type: text/plain\r\nServer: EC2ws\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode("ascii")
            + body
        )
        writer.close()

    def answer(self, method: str, target: str, headers: Mapping[str, str]) -> tuple[int, bytes]:
        """Status and body for a request; header names are lower-case."""
        path = target.partition("?")[0]
        if path == "/latest/api/token":
            return self._token(method, headers)
        if method not in {"GET", "HEAD"}:
            return 405, b""
        if headers.get("x-aws-ec2-metadata-token") not in self._tokens:
            return 401, b""
        return self._read(path)

    def _read(self, path: str) -> tuple[int, bytes]:
        if path == "/latest/user-data":
            return (200, self._user_data) if self._user_data else (404, b"")
        if path == "/latest/dynamic/instance-identity/document":
            return 200, json.dumps(self._identity(), indent=2).encode("utf-8")
        if path == _PREFIX or path.startswith(_PREFIX + "/"):
            return self._metadata(path.removeprefix(_PREFIX).strip("/"))
        return 404, b""

    def _token(self, method: str, headers: Mapping[str, str]) -> tuple[int, bytes]:
        if method != "PUT":
            return 405, b""
        if "x-forwarded-for" in headers:
            return 403, b""  # so that an open proxy on the instance gives no token away
        ttl = headers.get("x-aws-ec2-metadata-token-ttl-seconds", "")
        if not ttl.isdigit() or not 1 <= int(ttl) <= _MAX_TTL_SECONDS:
            return 400, b""
        token = secrets.token_urlsafe(40)
        self._tokens.add(token)
        return 200, token.encode("ascii")

    def _metadata(self, path: str) -> tuple[int, bytes]:
        if path in self._tree:
            value = self._tree[path]
            return 200, (value if isinstance(value, str) else json.dumps(value)).encode("utf-8")
        if path == "public-keys" and self._key_list:
            return 200, self._key_list.encode("utf-8")
        prefix = f"{path}/" if path else ""
        below = [key.removeprefix(prefix) for key in self._tree if key.startswith(prefix)]
        if not below:
            return 404, b""
        names = {head + slash for head, slash, _ in (key.partition("/") for key in below)}
        return 200, "\n".join(sorted(names)).encode("utf-8")

    def _identity(self) -> dict[str, object]:
        known = {name: self._tree[path] for name, path in _IDENTITY.items() if path in self._tree}
        return {"architecture": "x86_64", **known, "version": "2017-09-30"}


def _key_name(key: str) -> str:
    return key.split(" ", 2)[2].strip() if key.count(" ") > 1 else "key"
