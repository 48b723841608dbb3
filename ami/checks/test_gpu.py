"""The driver, the GPU, and one set of CUDA libraries that all load."""

from __future__ import annotations

import json

import pytest

pytestmark = pytest.mark.gpu

SEEN = """
import json, torch
print(json.dumps({
    "name": torch.cuda.get_device_name(0),
    "capability": torch.cuda.get_device_capability(0),
    "cuda": torch.version.cuda,
    "arches": torch.cuda.get_arch_list(),
}))
"""
MATMUL = """
import torch
a = torch.full((1024, 1024), 0.5, device="cuda", dtype=torch.float16)
b = a @ a
torch.cuda.synchronize()
assert b.dtype == torch.float16 and torch.all(b == 256).item(), b
"""
LIBRARIES = """
import json
import ctranslate2, torch
torch.zeros(8, 8, device="cuda") @ torch.zeros(8, 8, device="cuda")
ctranslate2.StorageView.from_array(torch.zeros(4, device="cuda"))
loaded = {line.split()[-1] for line in open("/proc/self/maps") if ".so" in line}
print(json.dumps(sorted(path for path in loaded if "libcu" in path or "libnv" in path)))
"""


def test_driver_sees_the_gpu(host):
    assert host.run("nvidia-smi").rc == 0


def test_driver_branch(host, image):
    version = host.check_output("nvidia-smi --query-gpu=driver_version --format=csv,noheader | head -n 1")
    assert version.split(".")[0] == image.values["DRIVER_BRANCH"]


def test_module_is_loaded(host):
    assert host.file("/sys/module/nvidia/version").exists


def test_nouveau_is_not_loaded(host):
    assert not host.file("/sys/module/nouveau").exists


def test_modules_are_of_the_kernel_that_boots(host):
    kernels = host.check_output("ls -d /lib/modules/*/kernel | xargs -n 1 dirname | sort -V | tail -n 1")
    assert host.run("find %s -name 'nvidia.ko*' | grep -q .", kernels).rc == 0


@pytest.mark.fresh
def test_gpu_stays_awake(host):
    assert host.check_output("nvidia-smi --query-gpu=persistence_mode --format=csv,noheader | head -n 1") == "Enabled"


def test_kernel_is_held(host):
    held = host.check_output("apt-mark showhold").split()
    assert any(name.startswith("linux-") for name in held)


@pytest.fixture(scope="module")
def seen(host, image):
    return json.loads(host.check_output(image.does(SEEN)))


def test_torch_sees_the_gpu(seen):
    assert seen["name"]


def test_torch_has_machine_code_for_it(seen):
    major, minor = seen["capability"]
    assert f"sm_{major}{minor}" in seen["arches"]


def test_cuda_build(seen, image):
    assert seen["cuda"].replace(".", "") == image.values["CUDA_BUILD"].removeprefix("cu")


def test_login_user_may_use_the_gpu(host, image):
    """A run's worker is not root: the devices have to be there, and open to it."""
    seen = image.does("import torch; print(torch.cuda.is_available())")
    assert host.check_output("runuser -u %s -- sh -c %s", image.values["SSH_USER"], seen) == "True"


def test_half_precision_matmul(host, image):
    assert host.run(image.does(MATMUL)).rc == 0


def test_ctranslate2_sees_the_gpu(host, image):
    count = host.check_output(image.does("import ctranslate2; print(ctranslate2.get_cuda_device_count())"))
    assert int(count) >= 1


def test_one_set_of_cuda_libraries(host, image):
    loaded = json.loads(host.check_output(image.does(LIBRARIES)))
    cublas = [path for path in loaded if "/libcublas.so" in path]
    assert len(cublas) == 1
    assert cublas[0].startswith(f"{image.root}/venv/")


def test_loader_finds_cublas_without_torch(host, image):
    assert host.run(image.does("import ctypes; ctypes.CDLL('libcublas.so.12')")).rc == 0


def test_manifest_says_the_driver(host, manifest):
    version = host.check_output("nvidia-smi --query-gpu=driver_version --format=csv,noheader | head -n 1")
    assert manifest["driver"] == version


def test_kernel_caches_are_kept_or_there_are_none(host, image):
    files = int(host.check_output("find %s -type f | wc -l", f"{image.root}/cache"))
    hook = host.run(f"ls {image.root}/venv/lib/python3.*/site-packages/sitecustomize.py").rc == 0
    assert hook == (files > 0)
