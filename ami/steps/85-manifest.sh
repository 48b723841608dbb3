#!/usr/bin/env bash
# What the image holds, for the client, the checks and a person.
source "${AMI_ROOT:?}/lib.sh"

main() {
    run_payload manifest.py "$ROOT" | put "$ROOT/manifest.json"
    cat "$ROOT/manifest.json"
    say "written"
}

main
