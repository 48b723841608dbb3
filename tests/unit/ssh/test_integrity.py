"""Uploads that arrive damaged: sent again once, then an error, never stored."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import pytest

from gputx.ssh.connection import Connection
from gputx.ssh.errors import IntegrityError

from .conftest import Peer


def test_a_damaged_upload_is_sent_again(peer: Peer, dial: Callable[[Peer], Connection]) -> None:
    peer.start(damaged_uploads=1)
    dial(peer).upload_bytes(b"speech", "file")
    assert (peer.home / "file").read_bytes() == b"speech"


def test_an_upload_damaged_twice_is_an_error_and_leaves_nothing(peer: Peer, dial: Callable[[Peer], Connection]) -> None:
    peer.start(damaged_uploads=2)
    (peer.home / "file").write_bytes(b"before")
    with pytest.raises(IntegrityError, match="damaged") as caught:
        dial(peer).upload_bytes(b"speech", "file")
    assert hashlib.sha256(b"speech").hexdigest() in caught.value.details[0]
    assert [path.name for path in peer.home.iterdir()] == ["file"]
    assert (peer.home / "file").read_bytes() == b"before"
