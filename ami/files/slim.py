"""Take out of an environment what a run never reads, and say how much that was: `slim.py SITE_PACKAGES`.

Each rule was tried: with it, everything in the lock imports, and a transcript is the same. Whole packages that nothing
uses are kept out by the lock instead (tools/ami/lock.py).
"""

import shutil
import sys
from pathlib import Path

RULES = (
    ("tests of packages", ("**/tests", "**/test")),
    (
        "headers and static libraries",
        ("torch/include", "torch/share", "nvidia/*/include", "**/*.a", "numpy/_core/include"),
    ),
    # Not torch_shm_manager, without which torch does not import.
    ("torch's programs", ("torch/bin/protoc*", "torch/bin/test_*", "torch/bin/*_test", "torch/bin/*.py")),
    ("CUDA: several GPUs in one solver", ("nvidia/cusolver/lib/libcusolverMg.so*",)),
    ("CUDA: a second compiler", ("nvidia/cuda_nvrtc/lib/*.alt.so*",)),
    (
        "CUDA: profiling",
        (
            "nvidia/cuda_cupti/lib/libnvperf_*.so*",
            "nvidia/cuda_cupti/lib/libpcsamplingutil.so*",
            "nvidia/cuda_cupti/lib/libcheckpoint.so*",
        ),
    ),
    ("CUDA: FFTW's and BLAS's names", ("nvidia/cufft/lib/libcufftw.so*", "nvidia/cublas/lib/libnvblas.so*")),
    ("CUDA: GPUs of other machines", ("nvidia/nvshmem/lib/nvshmem_*", "nvidia/cufile/lib/libcufile_rdma.so*")),
    (
        "sources of compiled modules",
        ("cuda/**/*.pyx", "cuda/**/*.cpp", "cuda/**/*.pxd", "sklearn/**/*.pyx", "scipy/**/*.pxd"),
    ),
)


def main() -> None:
    site = Path(sys.argv[1])
    whole = 0
    for name, patterns in RULES:
        freed = sum(remove(path) for pattern in patterns for path in sorted(site.glob(pattern)))
        whole += freed
        if freed:
            print(f"{freed / 2**20:8.1f} MiB  {name}")
    print(f"{whole / 2**20:8.1f} MiB  in all")


def remove(path: Path) -> int:
    """Its size in bytes; 0 for what went with a folder above it."""
    if path.is_symlink() or path.is_file():
        size = path.lstat().st_size
        path.unlink()
        return size
    size = sum(file.lstat().st_size for file in path.rglob("*") if not file.is_dir())
    shutil.rmtree(path, ignore_errors=True)
    return size


main()
