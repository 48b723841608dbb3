"""Uploads: any name, any content, hash-checked, and all or nothing."""

from __future__ import annotations

import hashlib
import threading
from pathlib import Path

import pytest

from gputx.ssh.connection import Connection
from gputx.ssh.errors import UploadError

from .conftest import some_bytes


@pytest.mark.parametrize(
    "remote",
    [
        "plain",
        "in/a file.flac",
        "~/gputx/åäö.flac",
        'it\'s "quoted" $HOME `id`',
        "two\nlines",
        "-dash",
        "a\\b*?",
    ],
)
def test_an_upload_lands_under_any_name(connection: Connection, home: Path, tmp_path: Path, remote: str) -> None:
    data = some_bytes(1_500_000)
    source = tmp_path / "source"
    source.write_bytes(data)
    seen: list[tuple[int, int]] = []
    connection.upload(source, remote, progress=lambda done, total: seen.append((done, total)))
    landed = home / remote.removeprefix("~/")
    assert landed.read_bytes() == data
    assert landed.stat().st_mode & 0o077 == 0
    assert [path for path in home.rglob("*") if path.is_file()] == [landed]
    assert seen[-1] == (len(data), len(data))
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_an_absolute_path_and_an_empty_file(connection: Connection, tmp_path: Path) -> None:
    connection.upload_bytes(b"", str(tmp_path / "new" / "empty"))
    assert (tmp_path / "new" / "empty").read_bytes() == b""


def test_an_upload_replaces_what_was_there(connection: Connection, home: Path) -> None:
    connection.upload_bytes(b"old and longer", "file")
    connection.upload_bytes(b"new", "file")
    assert (home / "file").read_bytes() == b"new"


def test_uploads_and_commands_share_a_connection(connection: Connection, home: Path) -> None:
    blobs = {f"file{index}": some_bytes(400_000 + index) for index in range(4)}
    threads = [threading.Thread(target=connection.upload_bytes, args=(data, name)) for name, data in blobs.items()]
    for thread in threads:
        thread.start()
    assert connection.run("echo meanwhile").stdout == b"meanwhile\n"
    for thread in threads:
        thread.join()
    assert {name: hashlib.sha256((home / name).read_bytes()).digest() for name in blobs} == {
        name: hashlib.sha256(data).digest() for name, data in blobs.items()
    }


def test_a_host_that_cannot_store_says_why(connection: Connection, home: Path) -> None:
    (home / "directory").mkdir()
    with pytest.raises(UploadError, match="it is a directory"):
        connection.upload_bytes(some_bytes(5_000_000), "directory")
    (home / "file").write_bytes(b"")
    with pytest.raises(UploadError, match=r"file/below.*[Nn]ot a directory|File exists"):
        connection.upload_bytes(b"x", "file/below")


def test_a_full_disk_is_reported_in_the_hosts_own_words(connection: Connection, home: Path) -> None:
    (home / "big.part").symlink_to("/dev/full")
    with pytest.raises(UploadError, match="No space left"):
        connection.upload_bytes(some_bytes(2_000_000), "big")
    assert not (home / "big").exists()


def test_a_path_with_nul_is_a_mistake_of_the_caller(connection: Connection) -> None:
    with pytest.raises(ValueError, match="NUL"):
        connection.upload_bytes(b"", "a\0b")
