"""The model of an image: fetched at its pinned revision, checked, in half precision, converted for CTranslate2.

    model.py TARGET        with MODEL, MODEL_REVISION, MODEL_SOURCE, MODEL_SHA256 and AMI_ROOT of the profile

Runs with gputx_remote on the path. Ends with 10 where the hub can't be reached, 12 where a file is not what was
pinned. What was fetched before a cut is kept and gone on with.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path
from typing import NoReturn

from gputx_remote.decoders import ctranslate2_conversion
from gputx_remote.weights import PATTERNS, ModelLocation

UNREACHABLE, CHANGED = 10, 12


def main() -> None:
    target = Path(sys.argv[1])
    model, revision = os.environ["MODEL"], os.environ["MODEL_REVISION"]
    origin = {"model": model, "revision": revision, "precision": "float16"}
    if not is_made(target, origin):
        source = from_hub(model, revision, target) if os.environ["MODEL_SOURCE"] == "hub" else from_upload()
        assemble(source, target, origin)
        shutil.rmtree(downloads(target), ignore_errors=True)
    converted = ctranslate2_conversion.convert(
        ModelLocation(target, model, revision), target / ctranslate2_conversion.BESIDE
    )
    print(f"for CTranslate2: {converted.name}")


def is_made(target: Path, origin: dict[str, str]) -> bool:
    """Whether an earlier run of this step made it whole, of the same model."""
    try:
        return bool(json.loads((target / "origin.json").read_text(encoding="utf-8"))["of"] == origin)
    except (OSError, ValueError, KeyError):
        return False


def downloads(target: Path) -> Path:
    return target.parent / ".downloading"


def from_upload() -> Path:
    """What travelled with the recipe."""
    source = Path(os.environ["AMI_ROOT"]) / "model"
    check_sha256(source / "model.safetensors", os.environ["MODEL_SHA256"])
    return source


def from_hub(model: str, revision: str, target: Path) -> Path:
    """Fetch what is missing, and hold every file against what the hub says of that commit.

    The hub's own client throws away what it has of a file when it is ended (2.4), so curl fetches them.
    """
    from httpx2 import HTTPError
    from huggingface_hub import HfApi, hf_hub_url
    from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError, RevisionNotFoundError

    try:
        info = HfApi().model_info(model, revision=revision, files_metadata=True, timeout=60)
    except (RepositoryNotFoundError, RevisionNotFoundError) as error:
        sys.exit(f"the hub has no {model} at {revision}: {first_line(error)}")
    except (HfHubHTTPError, HTTPError, OSError) as error:
        fail(UNREACHABLE, f"{model} could not be fetched from the hub: {first_line(error)}")
    if info.sha != revision:
        fail(CHANGED, f"the hub answers with commit {info.sha} for {revision}")
    folder = downloads(target)
    folder.mkdir(parents=True, exist_ok=True)
    for sibling in info.siblings:
        name = sibling.rfilename
        # What lies in folders is the same model for other programs.
        if "/" in name or not any(fnmatch(name, pattern) for pattern in PATTERNS):
            continue
        print(f"fetching {name}, {sibling.size / 2**20:.1f} MiB", flush=True)
        fetch(hf_hub_url(model, name, revision=revision), folder / name, sibling.size)
        if sibling.lfs:
            check_sha256(folder / name, sibling.lfs.sha256)
        else:
            check_blob(folder / name, sibling.blob_id)
    if pinned := os.environ.get("MODEL_SHA256"):
        check_sha256(folder / "model.safetensors", pinned)
    return folder


def fetch(url: str, file: Path, size: int) -> None:
    """Download a file, from where an earlier attempt was cut."""
    if file.is_file() and file.stat().st_size == size:
        return
    command = ["curl", "--fail", "--silent", "--show-error", "--location", "--retry", os.environ.get("RETRIES", "5")]
    command += ["--connect-timeout", "15", "--speed-limit", "1024", "--speed-time", "60", "--continue-at", "-"]
    done = subprocess.run([*command, "--output", str(file), url], check=False, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        fail(UNREACHABLE, f"{file.name} could not be fetched from the hub: {first_line(done.stderr)}")


def check_sha256(file: Path, wanted: str) -> None:
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    check(file, digest.hexdigest(), wanted)


def check_blob(file: Path, wanted: str) -> None:
    """By git's own name for a file's content."""
    data = file.read_bytes()
    digest = hashlib.sha1(b"blob %d\0" % len(data), usedforsecurity=False)
    digest.update(data)
    check(file, digest.hexdigest(), wanted)


def check(file: Path, found: str, wanted: str) -> None:
    if found != wanted:
        file.unlink(missing_ok=True)
        fail(CHANGED, f"{file.name} is not what was pinned: its hash is {found}, not {wanted}")


def assemble(source: Path, target: Path, origin: dict[str, str]) -> None:
    """Lay the model out, in half precision; a target that is there is replaced at once."""
    from safetensors.torch import load_file, save_file
    from torch import float16

    making = target.with_name(".making")
    shutil.rmtree(making, ignore_errors=True)
    making.mkdir(parents=True)
    files = {}
    for file in sorted(source.iterdir()):
        if not file.is_file() or not any(fnmatch(file.name, pattern) for pattern in PATTERNS):
            continue
        if file.suffix == ".safetensors":
            weights = load_file(file)
            halved = {
                name: value.to(float16) if value.is_floating_point() else value for name, value in weights.items()
            }
            if any(halved[name].dtype != value.dtype for name, value in weights.items()):
                print(f"{file.name}: in half precision", flush=True)
                save_file(halved, making / file.name, metadata={"format": "pt"})
            else:
                shutil.copyfile(file, making / file.name)
        else:
            shutil.copyfile(file, making / file.name)
    config = making / "config.json"
    settings = json.loads(config.read_text(encoding="utf-8"))
    settings.pop("torch_dtype", None)
    config.write_text(
        json.dumps(settings | {"dtype": "float16"}, indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
    )
    for file in sorted(making.iterdir()):
        files[file.name] = hashlib.sha256(file.read_bytes()).hexdigest()
    (making / "origin.json").write_text(json.dumps({"of": origin, "files": files}, indent=2) + "\n", encoding="utf-8")
    shutil.rmtree(target, ignore_errors=True)
    making.rename(target)


def first_line(error: object) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def fail(status: int, text: str) -> NoReturn:
    print(text, file=sys.stderr)
    sys.exit(status)


main()
