"""Enough to see that checks are run, and that one that fails is heard of."""

import json
import os

import pytest


def test_the_interpreter_runs(host):
    assert host.check_output("/opt/transcribe/venv/bin/python -c 'print(6 * 7)'") == "42"


def test_the_manifest_says_what_is_inside(host):
    manifest = json.loads(host.file("/opt/transcribe/manifest.json").content_string)
    assert manifest["model"] == {"id": os.environ["MODEL"], "revision": os.environ["MODEL_REVISION"]}


def test_it_is_sealed(host):
    assert host.file("/opt/transcribe/.setup_complete").exists


def test_nothing_forbids_an_image(host):
    assert not host.file(f"/var/tmp/spoiled-on-{os.environ['GPUTX_CHECKED']}").exists


@pytest.mark.gpu
def test_there_is_a_gpu(host):
    assert host.run("nvidia-smi").rc == 0
