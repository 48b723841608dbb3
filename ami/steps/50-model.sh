#!/usr/bin/env bash
# The model at its pinned revision, in half precision, and its conversion for CTranslate2 beside it.
source "${AMI_ROOT:?}/lib.sh"

main() {
    local target=$ROOT/models/default
    mkdir -p "$ROOT/models"
    run_payload model.py "$target" || die "$?" "the model could not be made ready; the line above says why"
    chmod -R a+rX,go-w "$target"
    say "$(du -sh "$target" | cut -f 1) in $target"
}

main
