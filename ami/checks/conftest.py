"""What every check gets: the machine as root, the profile's values, and where things are on it.

`gputx build-ami` runs them over the connection it has, with the recipe's values as environment variables and
GPUTX_CHECKED, which says where: on the "builder" after its last step, or on an instance launched from the image. They
bring what they need on the machine themselves, below /run, which is memory. docs/ami.md says how to run them by hand.
"""

from __future__ import annotations

import base64
import io
import json
import os
import shlex
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from testinfra.host import Host

from gputx.ssh.payload import build_payload

RECIPE = Path(__file__).parent.parent
BUILDER = "builder"
CHUNK = 96_000
"""Characters in one argument of a command, of which Linux takes 131,072."""


@dataclass(frozen=True)
class Image:
    """What the checks know beforehand."""

    values: dict[str, str]
    root: str
    """``/opt/transcribe`` there."""

    system: str
    """What stands before ``/etc`` there: nothing on a machine."""

    owner: int
    """Whom a system's files belong to: 0, but where an image is laid out for another user."""

    @property
    def recipe(self) -> Path:
        return RECIPE

    @property
    def has_gpu(self) -> bool:
        return self.values["HAS_GPU"] == "yes"

    @property
    def python(self) -> str:
        return f"{self.root}/venv/bin/python"

    def does(self, code: str, *arguments: str) -> str:
        """Shell words that run some Python of the image, and leave nothing in it: no bytecode, no caches."""
        return f"env HOME=/nowhere {shlex.join([self.python, '-I', '-B', '-c', code, *arguments])}"

    @property
    def model(self) -> str:
        return f"{self.root}/models/default"


@dataclass(frozen=True)
class Tools:
    """What the checks brought to the machine."""

    folder: str
    image: Image

    @property
    def sample(self) -> str:
        return f"{self.folder}/sample.flac"

    def command(self, *arguments: str) -> str:
        """Shell words: the image's Python with gputx_remote at hand."""
        return (
            f"env PYTHONPATH={self.folder}/payload.pyz PYTHONDONTWRITEBYTECODE=1 HOME=/nowhere "
            f"{shlex.join([self.image.python, *arguments])}"
        )

    def transcribe(self, decoder: str) -> str:
        """Shell words that transcribe the sample as a run does."""
        device = "cuda" if self.image.has_gpu else "cpu"
        return self.command(f"{self.folder}/transcribe.py", self.image.model, self.sample, device, decoder)


def pytest_configure(config: pytest.Config) -> None:
    for name, meaning in (
        ("gpu", "needs a GPU; not run for profiles without one"),
        ("builder", "of the builder after its last step, before the image is made"),
        ("fresh", "of an instance launched from the image"),
    ):
        config.addinivalue_line("markers", f"{name}: {meaning}")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    where = os.environ.get("GPUTX_CHECKED", BUILDER)
    for item in items:
        if item.get_closest_marker("builder") and where != BUILDER:
            item.add_marker(pytest.mark.skip(reason="asked of a builder only"))
        if item.get_closest_marker("fresh") and where == BUILDER:
            item.add_marker(pytest.mark.skip(reason="asked of a fresh instance only"))
        if item.get_closest_marker("gpu") and os.environ["HAS_GPU"] != "yes":
            item.add_marker(pytest.mark.skip(reason="the profile has no GPU"))


@pytest.fixture(scope="module", autouse=True)
def as_root(host: Host) -> None:
    host.backend.sudo = True


@pytest.fixture(scope="module")
def image(host: Host) -> Image:
    root = host.check_output('echo "${TRANSCRIBE_ROOT:-/opt/transcribe}"')
    system = root.removesuffix("/opt/transcribe")
    return Image(dict(os.environ), root, system, int(host.check_output("stat -c %%u %s", system or "/")))


_brought: dict[int, str] = {}


@pytest.fixture(scope="module")
def tools(host: Host, image: Image) -> Tools:
    key = id(host.backend)
    if key not in _brought:
        _brought[key] = bring(host)
    return Tools(_brought[key], image)


def bring(host: Host) -> str:
    """Put the payload, the sample and the script that transcribes it into a folder there; it is named."""
    parts = {"payload.pyz": build_payload().data}
    for name in ("sample.flac", "transcribe.py"):
        parts[name] = (RECIPE / "files" / name).read_bytes()
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, data in parts.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(data), 0o644
            archive.addfile(entry, io.BytesIO(data))
    folder = host.check_output("mktemp -d /run/gputx-checks-XXXXXX 2>/dev/null || mktemp -d")
    text = base64.b64encode(buffer.getvalue()).decode("ascii")
    for start in range(0, len(text), CHUNK):
        host.check_output(f"printf %s {text[start : start + CHUNK]} >> {folder}/archive")
    host.check_output(f"cd {folder} && base64 -d archive | tar -xz && rm archive && chmod 755 .")
    return folder


@pytest.fixture(scope="module")
def manifest(host: Host, image: Image) -> Any:
    return json.loads(host.check_output("cat %s", f"{image.root}/manifest.json"))


@pytest.fixture(scope="module")
def site(host: Host, image: Image) -> str:
    """The folder of the environment's packages."""
    return host.check_output(image.does("import sysconfig; print(sysconfig.get_path('purelib'))"))
