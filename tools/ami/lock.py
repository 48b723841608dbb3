"""Write the locks of the image recipe again: `make ami-lock`. Needs uv, and for the CPU lock a CPU wheel of torch.

    python tools/ami/lock.py [--uv UV] [--find-links DIR_OR_URL] [--check]

Pins are those of constraints.txt. uv resolves for the image's platform whatever machine this is; nothing is installed.
`--check` writes nothing: it resolves again with the locks' versions preferred, and says what the index has otherwise.
`--find-links` names where the CPU wheels of torch are: https://download.pytorch.org/whl/cpu, or a directory.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LOCKS = ROOT / "ami" / "lock"
GPU = ("--python-platform", "x86_64-manylinux_2_28", "--python-version", "3.12")
CPU = ("--python-platform", "x86_64-manylinux_2_28", "--python-version", "3.11")


def main() -> int:
    parser = argparse.ArgumentParser(description="Write the locks of the image recipe again.")
    parser.add_argument("--uv", default="uv")
    parser.add_argument("--find-links", default="https://download.pytorch.org/whl/cpu")
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    platforms = dict.fromkeys(sorted(LOCKS.glob("gpu-*.in")), GPU)
    platforms[LOCKS / "cpu.in"] = (*CPU, "--find-links", arguments.find_links)
    wrong = 0
    for source, platform in platforms.items():
        lock = source.with_suffix(".txt")
        if arguments.check:
            wrong += differs(lock, compiled(arguments.uv, source, platform, prefer=lock))
        else:
            lock.write_text(compiled(arguments.uv, source, platform), encoding="utf-8")
    return 1 if wrong else 0


def compiled(uv: str, source: Path, platform: tuple[str, ...], *, prefer: Path | None = None) -> str:
    """A lock: without ``prefer``, of the newest that goes together and with constraints.txt."""
    with tempfile.TemporaryDirectory() as folder:
        constraints = Path(folder) / "constraints.txt"
        lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
        # Which torch is for each lock to say.
        constraints.write_text("\n".join(line for line in lines if not line.startswith("torch==")), encoding="utf-8")
        made = Path(folder) / source.with_suffix(".txt").name
        if prefer:
            # Without its hashes, which uv would believe.
            pins = entries(prefer.read_text(encoding="utf-8"))
            cpu = "+cpu" if "--find-links" in platform else ""
            made.write_text("".join(pin + cpu * pin.startswith("torch==") + "\n" for pin in pins), encoding="utf-8")
        command = [uv, "pip", "compile", "--quiet", "--no-config", "--generate-hashes", "--no-annotate", *platform]
        # For torch.compile, which nothing here uses: 640 MB, and the CPU builds come without it. So goes setuptools.
        command += ["--no-emit-package", "triton", "--no-emit-package", "setuptools"]
        command += ["--default-index", "https://pypi.org/simple", "--constraints", str(constraints)]
        environment = {**os.environ, "UV_CUSTOM_COMPILE_COMMAND": "make ami-lock"}
        subprocess.run(
            [*command, "--output-file", str(made), str(source)],
            check=True,
            cwd=ROOT,
            env=environment,
            stdout=subprocess.DEVNULL,
        )
        # A torch without a local version is the one that a sandbox's Python on another platform may have.
        return re.sub(r"(?m)^(torch==[0-9.]+)\+cpu", r"\1", made.read_text(encoding="utf-8"))


def differs(lock: Path, again: str) -> bool:
    """Say which packages of a lock the index has otherwise today. What it has more of, is no matter."""
    there, index = entries(lock.read_text(encoding="utf-8")), entries(again)
    wrong = [pin for pin, hashes in there.items() if not hashes or not hashes <= index.get(pin, set())]
    wrong += sorted(set(index) - set(there))
    said = ", ".join(wrong) or "as the index has them, every hash"
    print(f"{lock.name}: {len(there)} packages: {said}")
    return bool(wrong)


def entries(text: str) -> dict[str, set[str]]:
    """Pin → its hashes."""
    parts = re.split(r"(?m)^(?=[a-z0-9])", text)[1:]
    return {part.split()[0]: set(re.findall(r"--hash=(\S+)", part)) for part in parts}


if __name__ == "__main__":
    sys.exit(main())
