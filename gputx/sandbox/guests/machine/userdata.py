"""Takes user-data apart as cloud-init does: gzip, MIME, and the kinds told by their first line."""

from __future__ import annotations

import email
import email.policy
import gzip
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

_STARTS = {
    b"#cloud-boothook": "boothook",
    b"#cloud-config": "config",
    b"#!": "script",
}
_CONTENT_TYPES = {
    "text/cloud-boothook": "boothook",
    "text/cloud-config": "config",
    "text/x-shellscript": "script",
}
_GZIP_MAGIC = b"\x1f\x8b"


@dataclass(frozen=True)
class Part:
    """One piece of user-data. ``kind`` is ``boothook``, ``config``, ``script`` or ``unknown``."""

    kind: str
    name: str
    content: bytes


def parts(user_data: bytes) -> tuple[Part, ...]:
    """The parts of raw user-data, in order; none for empty user-data.

    Raises:
        ValueError: gzip that can't be unpacked.
    """
    return tuple(
        Part(kind, name or f"part-{number:03d}", content)
        for number, (kind, name, content) in enumerate(_split(user_data), start=1)
    )


def _split(raw: bytes) -> Iterator[tuple[str, str, bytes]]:
    data = _unpacked(raw)
    if not data.strip():
        return
    if not _is_mime(data):
        yield _kind(data, "text/plain"), "", data
        return
    message = email.message_from_bytes(data, policy=email.policy.default)
    for part in message.walk():
        if part.is_multipart():
            continue
        payload = part.get_payload(decode=True)
        content = _unpacked(payload if isinstance(payload, bytes) else b"")
        yield _kind(content, part.get_content_type()), part.get_filename() or "", content


def _unpacked(data: bytes) -> bytes:
    if not data.startswith(_GZIP_MAGIC):
        return data
    try:
        return gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"user-data is not gzip after all: {error}") from error


def _is_mime(data: bytes) -> bool:
    head = data[:256].lower()
    return head.startswith((b"content-type: multipart/", b"mime-version:")) or b"\ncontent-type: multipart/" in head


def _kind(content: bytes, content_type: str) -> str:
    if content_type in _CONTENT_TYPES:
        return _CONTENT_TYPES[content_type]
    for start, kind in _STARTS.items():
        if content.lstrip().startswith(start):
            return kind
    return "unknown"
