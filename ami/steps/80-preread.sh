#!/usr/bin/env bash
# Record which parts of which files a first transcript reads, in their order, for the pre-read at boot.
source "${AMI_ROOT:?}/lib.sh"

main() {
    local device=cpu
    [[ $HAS_GPU == yes ]] && device=cuda
    run_payload record.py "$ROOT" "$AMI_ROOT/files/sample.flac" "$device" | put "$ROOT/preread.list"
    [[ -s $ROOT/preread.list ]] || die "$MISSING" "a transcript was made, and no file was seen to be read"
    awk '{ bytes += $2 } END { printf "%d parts, %.0f MiB to read ahead\n", NR, bytes / 1048576 }' "$ROOT/preread.list"
}

main
