"""The manifest of an image, on stdout: `manifest.py ROOT` with the profile's values."""

import json
import os
import platform
import subprocess
import sys
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path


def main() -> None:
    root = Path(sys.argv[1])
    packages = {}
    for name in ("torch", "transformers", "ctranslate2", "onnxruntime", "numpy"):
        try:
            packages[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            sys.exit(f"there is no package {name} to write into the manifest")
    origin = json.loads((root / "models" / "default" / "origin.json").read_text(encoding="utf-8"))["of"]
    if (origin["model"], origin["revision"]) != (os.environ["MODEL"], os.environ["MODEL_REVISION"]):
        sys.exit(f"the model is {origin['model']} {origin['revision']}, not the profile's")
    manifest = {
        "contract": int(os.environ["CONTRACT"]),
        "model": {"id": origin["model"], "revision": origin["revision"]},
        "built_at": built_at(root),
        "profile": os.environ["PROFILE"],
        "recipe": os.environ["RECIPE"],
        "python": platform.python_version(),
        "packages": packages,
        "system": system(),
        "driver": driver(),
    }
    print(json.dumps(manifest, indent=2))


def built_at(root: Path) -> str:
    """When this recipe was first done here: a step that is run again changes nothing."""
    try:
        before = json.loads((root / "manifest.json").read_text(encoding="utf-8"))
        if before["recipe"] == os.environ["RECIPE"]:
            return str(before["built_at"])
    except (OSError, ValueError, KeyError):
        pass  # there is none yet, or it is another's
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def system() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", "")
    except OSError:
        return platform.platform()


def driver() -> str | None:
    if os.environ["HAS_GPU"] != "yes":
        return None
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.split("\n")[0].strip()


main()
