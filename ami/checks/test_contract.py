"""What the client relies on: docs/contracts.md."""

from __future__ import annotations

from datetime import datetime


def test_number(manifest, image):
    assert manifest["contract"] == int(image.values["CONTRACT"])


def test_model(manifest, image):
    assert manifest["model"] == {"id": image.values["MODEL"], "revision": image.values["MODEL_REVISION"]}


def test_recipe(manifest, image):
    assert manifest["recipe"] == image.values["RECIPE"]
    assert manifest["profile"] == image.values["PROFILE"]


def test_built_at(manifest):
    assert datetime.fromisoformat(manifest["built_at"]).tzinfo is not None


def test_versions_are_those_that_import(host, image, manifest):
    for package, version in manifest["packages"].items():
        there = host.check_output(image.does(f"from importlib import metadata as m; print(m.version('{package}'))"))
        assert there == version


def test_finished(host, image):
    said = host.file(f"{image.root}/.setup_complete").content_string.strip()
    assert datetime.fromisoformat(said).tzinfo is not None
