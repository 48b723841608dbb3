"""Which of the checks apply: by the recipe's values."""

import os

import pytest


def pytest_configure(config):
    config.addinivalue_line("markers", "gpu: needs a GPU")


def pytest_collection_modifyitems(items):
    for item in items:
        if item.get_closest_marker("gpu") and os.environ["HAS_GPU"] != "yes":
            item.add_marker(pytest.mark.skip(reason="the profile has no GPU"))
