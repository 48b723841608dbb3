"""Folders and files are there, belong to the system, and nobody else may write to them."""

from __future__ import annotations

import pytest

FOLDERS = ("", "bin", "cache", "models", "models/default", "models/default/ctranslate2", "venv", "venv/bin")
FILES = (
    "manifest.json",
    "preread.list",
    "packages.lock",
    "slimmed.txt",
    "bin/preread",
    "bin/unarmed",
    "models/default/model.safetensors",
    "models/default/config.json",
    "models/default/tokenizer.json",
    "models/default/preprocessor_config.json",
    "models/default/origin.json",
    ".setup_complete",
)
PROGRAMS = ("bin/preread", "bin/unarmed", "venv/bin/python")


@pytest.mark.parametrize("name", FOLDERS)
def test_folder(host, image, name):
    folder = host.file(f"{image.root}/{name}".rstrip("/"))
    assert folder.is_directory
    assert folder.uid == image.owner
    assert folder.mode & 0o755 == 0o755
    assert not folder.mode & 0o022 or name == "cache"


@pytest.mark.parametrize("name", FILES)
def test_file(host, image, name):
    file = host.file(f"{image.root}/{name}")
    assert file.is_file
    assert file.size > 0
    assert file.uid == image.owner
    assert file.mode & 0o444 == 0o444
    assert not file.mode & 0o022


@pytest.mark.parametrize("name", PROGRAMS)
def test_program(host, image, name):
    assert host.run("test -x %s", f"{image.root}/{name}").rc == 0


def test_nothing_is_writable_for_all(host, image):
    found = host.check_output(
        "find %s -xdev -path %s -prune -o ! -type l -perm -0002 -print | head -n 5", image.root, f"{image.root}/cache"
    )
    assert found == ""


def test_no_half_made_model(host, image):
    left = host.check_output("ls -A %s", f"{image.root}/models").split()
    assert left == ["default"]


def test_no_code_of_gputx(host, image):
    found = host.check_output(
        "find %s -xdev \\( -name 'gputx_remote*' -o -name 'payload*.pyz' \\) | head -n 5", image.root
    )
    assert found == ""


def test_login_user(host, image):
    assert host.run("id %s", image.values["SSH_USER"]).rc == 0
