"""The model: the pinned one, whole, and ready for each decoder."""

from __future__ import annotations

import json

import pytest

DTYPES = """
import json, struct, sys
with open(sys.argv[1], "rb") as file:
    header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
print(json.dumps(sorted({entry["dtype"] for name, entry in header.items() if name != "__metadata__"})))
"""


@pytest.fixture(scope="module")
def origin(host, image):
    return json.loads(host.file(f"{image.model}/origin.json").content_string)


def test_is_the_profile_s(origin, image):
    assert origin["of"]["model"] == image.values["MODEL"]
    assert origin["of"]["revision"] == image.values["MODEL_REVISION"]


def test_files_are_as_they_were_made(host, image, origin):
    wrong = [name for name, digest in origin["files"].items() if host.file(f"{image.model}/{name}").sha256sum != digest]
    assert wrong == []


def test_weights_are_what_was_uploaded(origin, image):
    if image.values["MODEL_SOURCE"] != "upload":
        pytest.skip("the weights come from the hub")
    assert origin["files"]["model.safetensors"] == image.values["MODEL_SHA256"]


def test_half_precision(host, image):
    weights = f"{image.model}/model.safetensors"
    assert json.loads(host.check_output(image.does(DTYPES, weights))) == ["F16"]


def test_config_says_half_precision(host, image):
    config = json.loads(host.file(f"{image.model}/config.json").content_string)
    assert (config["model_type"], config["dtype"]) == ("whisper", "float16")


def test_only_safetensors(host, image):
    found = host.check_output(
        "find %s \\( -name '*.bin' -o -name '*.pt' -o -name '*.pickle' -o -name '*.py' \\) ! -path '*/ctranslate2/*'",
        f"{image.root}/models",
    )
    assert found == ""


def test_conversion_is_whole(host, image):
    folder = f"{image.model}/ctranslate2"
    (name,) = host.check_output("ls -A %s", folder).split()
    seal = json.loads(host.file(f"{folder}/{name}/gputx.json").content_string)
    assert host.file(f"{folder}/{name}/model.bin").size == seal["bytes"]
    assert (seal["model"], seal["revision"]) == (image.values["MODEL"], image.values["MODEL_REVISION"])
