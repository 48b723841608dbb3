#!/usr/bin/env bash
# Run the model once on the GPU with its caches where the image keeps them, and say what stays of it.
# What a driver compiles just in time is kept in CUDA_CACHE_PATH, what Triton and Inductor compile in theirs. The
# wheels bring machine code for the T4, so it may well be nothing: then nothing is kept, and that is said.
source "${AMI_ROOT:?}/lib.sh"

main() {
    local kept site
    site=$("$ROOT/venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
    rm -rf "$ROOT/cache"
    install -d -m 0755 "$ROOT/cache"
    put "$site/sitecustomize.py" <<'END'
import os
import sys

_cache = os.path.join(os.path.dirname(sys.prefix), "cache")
for _name, _folder in (
    ("CUDA_CACHE_PATH", "cuda"),
    ("TRITON_CACHE_DIR", "triton"),
    ("TORCHINDUCTOR_CACHE_DIR", "inductor"),
):
    if os.path.isdir(os.path.join(_cache, _folder)):
        os.environ.setdefault(_name, os.path.join(_cache, _folder))
END
    mkdir -p "$ROOT/cache/"{cuda,triton,inductor}
    for decoder in auto torch ctranslate2; do
        say "decoder $decoder"
        run_payload transcribe.py "$ROOT/models/default" "$AMI_ROOT/files/sample.flac" cuda "$decoder"
    done
    find "$ROOT/cache" -type d -empty -delete
    mkdir -p "$ROOT/cache"
    kept=$(find "$ROOT/cache" -type f | wc -l)
    if ((kept)); then
        # The login user reads and adds.
        chmod -R a+rwX "$ROOT/cache"
        say "kept: $kept files, $(du -sh "$ROOT/cache" | cut -f 1)"
    else
        rm "$site/sitecustomize.py"
        say "kept: nothing, no kernel was compiled just in time"
    fi
}

main
