"""A form with a recording in it, counted while it streams in and written under a name of the server's own.

The body is never held: it goes through python-multipart's parser to disk as it comes. What is too large, too slow or
no form is refused at the byte where that is certain, and the rest is not read.
"""

from __future__ import annotations

import asyncio
import errno
import os
import secrets
import shutil
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from fastapi import Request
from python_multipart.multipart import parse_options_header

from gputx_remote.server.errors import RefusedError
from gputx_remote.server.limits import RESERVE_BYTES
from gputx_remote.server.parts import CLOSE, Form, Look, Parts, no_form
from gputx_remote.server.settings import RequestLimits

if TYPE_CHECKING:
    from gputx_remote.server.service import Service


FLUSH_BYTES = 1 << 20
SLICE_BYTES = 16 << 10
"""Parsed at once, before anybody else has a turn: there are bodies at which the parser is at work byte by byte."""


@asynccontextmanager
async def receive(request: Request, service: Service, directory: Path, name: str, look: Look) -> AsyncIterator[Form]:
    """Read a ``multipart/form-data`` body.

    Args:
        request: whose body nobody has begun to read.
        service: whose limits are kept, and which may end before the body does.
        directory: where the recording is written.
        name: the field that is the recording.
        look: shown the text fields that stand before the recording, once it begins: what can't be is refused before
            the recording has come.

    Raises:
        RefusedError: 400 no form, no recording, an empty one, or the client went away; 408 too slow; 413 too large;
            415 not a multipart form; 503 the server begins to drain; 507 no room on the disk.
    """
    limits = service.settings.limits
    boundary = _boundary(request.headers.get("content-type", ""))
    path = directory / f"upload-{secrets.token_hex(16)}"
    try:
        with _opened(path) as file:
            parts = Parts(boundary, limits, Form(path), name, look)
            # What is still on its way would be refused once it is here, so whoever sends it is told now.
            await service.unless_leaving(_pump(request, limits, parts, file))
        yield parts.finished()
    finally:
        path.unlink(missing_ok=True)


def sweep(directory: Path) -> None:
    """Remove what a process that was killed has left."""
    for path in directory.glob("upload-*"):
        path.unlink(missing_ok=True)


async def discard(request: Request, limits: RequestLimits) -> None:
    """Read a body that nobody needs, so that whoever sends it gets to read the answer.

    Raises:
        RefusedError: it is too large or too slow, or the client went away.
    """
    async for _ in _chunks(request, limits):
        pass


async def _pump(request: Request, limits: RequestLimits, parts: Parts, file: BinaryIO) -> None:
    """The body, from the connection to the disk."""
    async for chunk in _chunks(request, limits):
        for start in range(0, len(chunk), SLICE_BYTES):
            parts.feed(chunk[start : start + SLICE_BYTES])
            await asyncio.sleep(0)
        if len(parts.pending) >= FLUSH_BYTES:
            await _write(file, parts)
    await _write(file, parts)
    await asyncio.to_thread(file.flush)


async def _chunks(request: Request, limits: RequestLimits) -> AsyncIterator[bytes]:
    """The body as it comes, within the limits."""
    announced = request.headers.get("content-length", "")
    if announced.isascii() and announced.isdigit() and int(announced) > limits.upload_bytes:
        raise _too_large(limits)
    started = time.monotonic()
    came = 0
    more = True
    while more:
        try:
            message = await asyncio.wait_for(request.receive(), limits.stall_seconds)
        except TimeoutError:
            raise _too_slow(f"nothing came for {limits.stall_seconds:g} s") from None
        if message["type"] == "http.disconnect":
            raise RefusedError(400, "client_gone", "the connection ended before the form did", headers=CLOSE)
        chunk = message.get("body", b"")
        more = message.get("more_body", False)
        came += len(chunk)
        if came > limits.upload_bytes:
            raise _too_large(limits)
        took = time.monotonic() - started
        if more and took > limits.grace_seconds and came < took * limits.bytes_per_second:
            raise _too_slow(f"{came} bytes in {took:.0f} s")
        yield chunk


async def _write(file: BinaryIO, parts: Parts) -> None:
    data, parts.pending = parts.pending, bytearray()
    if not data:
        return

    def write() -> None:
        if shutil.disk_usage(file.fileno()).free < RESERVE_BYTES + len(data):
            raise OSError(errno.ENOSPC, "reserve")
        left = memoryview(data)
        while left:
            # One call may take less than it is given: up to 2 GB, or up to where the disk is full.
            left = left[file.write(left) :]

    try:
        # In a thread: a disk that is slow for a moment stops no other request.
        await asyncio.to_thread(write)
    except OSError as error:
        raise RefusedError(507, "no_room", "no room on the server's disk for this; try later", headers=CLOSE) from error


def _boundary(content_type: str) -> bytes:
    kind, options = parse_options_header(content_type)
    boundary = options.get(b"boundary", b"")
    if kind != b"multipart/form-data":
        raise RefusedError(
            415, "unsupported_media_type", "send the recording as multipart/form-data: curl -F …", headers=CLOSE
        )
    if not 0 < len(boundary) <= 70:  # RFC 2046, 5.1.1
        raise no_form("the form's boundary is missing or too long")
    return boundary


def _opened(path: Path) -> BinaryIO:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise RefusedError(507, "no_room", "the server can't write this down now; try later", headers=CLOSE) from error
    return os.fdopen(descriptor, "wb", buffering=0)


def _too_slow(message: str) -> RefusedError:
    return RefusedError(408, "upload_too_slow", f"the upload was too slow: {message}", headers=CLOSE)


def _too_large(limits: RequestLimits) -> RefusedError:
    most = f"{limits.upload_bytes / (1 << 20):g} MB"
    return RefusedError(413, "file_too_large", f"larger than {most}: send it compressed, or in parts", headers=CLOSE)
