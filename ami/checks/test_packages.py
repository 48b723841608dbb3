"""The Python environment against its lock."""

from __future__ import annotations

import json
import os
import re

import pytest

MODULES = os.environ.get("MODULES", "").split()
"""Of the profile, each a check of its own."""

VERSIONS = """
import json
from importlib import metadata
def plain(name):
    return name.lower().replace("_", "-").replace(".", "-")
# The first on the path is the one that imports.
found = {}
for distribution in metadata.distributions():
    found.setdefault(plain(distribution.metadata["Name"] or ""), distribution.version)
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def installed(host, image):
    return json.loads(host.check_output(image.does(VERSIONS)))


@pytest.fixture(scope="module")
def pinned(image):
    lock = (image.recipe / "lock" / image.values["LOCK"]).read_text(encoding="utf-8")
    return dict(re.findall(r"(?m)^([a-z0-9.\-]+)==([^ ;\\]+)", lock))


def test_python_version(host, image):
    version = host.check_output(image.does("import sys; print(*sys.version_info[:2])")).split()
    wanted = image.values["PYTHON_VERSION"].split(".")
    assert [int(part) for part in version] >= [int(part) for part in wanted]
    if image.values["PYTHON_FROM"] == "managed":
        assert version == wanted


def test_environment_is_virtual(host, image):
    prefixes = host.check_output(image.does("import sys; print(sys.prefix); print(sys.base_prefix)")).split()
    assert prefixes[0] == f"{image.root}/venv"
    assert prefixes[1] != prefixes[0]


def test_lock_is_the_recipe_s(host, image):
    lock = image.recipe / "lock" / image.values["LOCK"]
    assert host.file(f"{image.root}/packages.lock").content == lock.read_bytes()


def test_every_package_is_the_pinned_one(installed, pinned):
    wrong = {
        name: (installed.get(name), version)
        for name, version in pinned.items()
        # What a build for one device adds to its version, as in 2.13.0+cpu, is not another version.
        if (installed.get(name) or "").split("+")[0] != version.split("+")[0]
    }
    assert wrong == {}


def test_nothing_else_is_installed(host, site, pinned):
    names = host.check_output("ls %s", site).split()
    folders = (name.split("-")[0].lower() for name in names if name.endswith(".dist-info"))
    found = {name.replace("_", "-").replace(".", "-") for name in folders}
    assert found - set(pinned) == set()


@pytest.mark.parametrize("module", MODULES)
def test_import(host, image, module):
    assert host.run(image.does(f"import {module}")).rc == 0


def test_bytecode_needs_no_source(host, image, site):
    """The flags of the pyc of every package: compiled, and not held against its source again."""
    stale = host.check_output(
        f"for f in $(find {site} -name '*.pyc' | head -n 200); do od -An -tu1 -j4 -N1 $f; done | grep -vc 1 || true"
    )
    assert stale == "0"
    slim = host.file(f"{image.root}/slimmed.txt").content_string
    assert "in all" in slim


def test_standard_library_is_compiled(host, image):
    """Who runs a transcript may not write beside the image's Python, so what is missing would be missed every time."""
    code = "import argparse, asyncio, dataclasses, email.message, json, logging, os, sys;"
    code += "print([n for n, m in sorted(sys.modules.items()) if (c := getattr(m, '__cached__', None))"
    code += " and not os.path.exists(c)])"
    assert host.check_output(image.does(code)) == "[]"


def test_no_tests_no_headers_no_archives(host, site):
    folders = "-type d \\( -name tests -o -name test \\)"
    found = host.check_output(f"find {site} \\( {folders} -o -name '*.a' -o -path '*/torch/include' \\) | head -n 5")
    assert found == ""


def test_no_installer_is_left(host, site):
    assert not host.file(f"{site}/pip").exists
