"""The code an instance runs: ``gputx_remote`` as one zip that its Python executes, named by its content."""

from __future__ import annotations

import hashlib
import importlib.util
import io
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from gputx.errors import ConfigurationError

PACKAGE = "gputx_remote"
# The oldest date a zip can hold: the same bytes come out whenever the package was installed.
EPOCH = (1980, 1, 1, 0, 0, 0)
ENTRY_POINT = f"""\
import sys

from {PACKAGE}.__main__ import main

sys.exit(main())
"""


@dataclass(frozen=True)
class Payload:
    """``name`` is ``payload-<first 16 hex digits of sha256>.pyz``; ``sha256`` is of ``data``, in hex."""

    name: str
    sha256: str
    data: bytes = field(repr=False)


def build_payload(package_dir: Path | None = None) -> Payload:
    """Zip the package so that ``python payload.pyz …`` does what ``python -m gputx_remote …`` does.

    The same files give the same bytes on any machine: sorted, dated 1980, stored rather than deflated (zlib
    and zlib-ng pack differently), without caches.

    Args:
        package_dir: the directory of the package; the installed one by default, found without importing it.

    Raises:
        ConfigurationError: the package is not installed as files.
    """
    root = package_dir or _installed()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        _add(archive, "__main__.py", ENTRY_POINT.encode())
        for file in _files(root):
            _add(archive, f"{PACKAGE}/{file.relative_to(root).as_posix()}", file.read_bytes())
    data = buffer.getvalue()
    sha256 = hashlib.sha256(data).hexdigest()
    return Payload(name=f"payload-{sha256[:16]}.pyz", sha256=sha256, data=data)


def _installed() -> Path:
    spec = importlib.util.find_spec(PACKAGE)
    for location in (spec.submodule_search_locations or ()) if spec else ():
        if (root := Path(location)).is_dir():
            return root
    raise ConfigurationError(
        f"the package {PACKAGE} is not installed as files",
        hint="install gputx again: pip install --force-reinstall gputx",
    )


def _files(root: Path) -> Iterator[Path]:
    for file in sorted(root.rglob("*"), key=lambda path: path.relative_to(root).as_posix()):
        parts = file.relative_to(root).parts
        if file.is_file() and "__pycache__" not in parts and not any(part.startswith(".") for part in parts):
            yield file


def _add(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    entry = zipfile.ZipInfo(name, EPOCH)
    entry.create_system = 3  # Unix, also when built elsewhere
    entry.external_attr = 0o644 << 16
    archive.writestr(entry, data)
