"""What makes a first transcript come soon on a disk that is still far away."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="module")
def listed(host, image):
    lines = host.check_output("cat %s", f"{image.root}/preread.list").splitlines()
    parts = (line.split("\t", 2) for line in lines)
    return [
        (int(start), int(length), f"{image.root}/{path}" if path[0] != "/" else path) for start, length, path in parts
    ]


def test_list_has_the_model_and_the_environment(listed, image):
    paths = {path for _, _, path in listed}
    assert any(path.startswith(f"{image.root}/models/default/") for path in paths)
    assert any(path.startswith(f"{image.root}/venv/") for path in paths)


def test_list_is_of_files_that_are_there(host, listed):
    paths = sorted({path for _, _, path in listed})
    assert host.run("stat -- {} >/dev/null".format(" ".join(["%s"] * len(paths))), *paths).rc == 0


def test_list_leaves_out_what_is_not_read(host, image, listed):
    whole = int(host.check_output("du -sb %s", image.root).split()[0])
    ours = sum(length for _, length, path in listed if path.startswith(image.root))
    assert 0 < ours <= whole


def test_preread_reads_all_of_it(host, image):
    said = host.check_output(
        "%s -I -B -S %s %s", image.python, f"{image.root}/bin/preread", f"{image.root}/preread.list"
    )
    assert "; 0 parts could not be read" in said


def test_disk_has_room(host, image):
    free = int(host.check_output("df --output=avail -k %s | tail -n 1", image.root))
    assert free * 1024 >= 2 * 2**30


def test_size(host, image):
    used = int(host.check_output("du -sm %s", image.root).split()[0])
    assert used <= int(image.values["SIZE_MIB"])
