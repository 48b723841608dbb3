#!/usr/bin/env bash
# What systemd starts in a run: the pre-read, and the watchdog of an instance that nobody armed.
source "${AMI_ROOT:?}/lib.sh"

main() {
    local unit name
    install -d -m 0755 "$ROOT/bin"
    put "$ROOT/bin/preread" 0755 <"$AMI_ROOT/files/preread.py"
    put "$ROOT/bin/unarmed" 0755 <"$AMI_ROOT/files/unarmed.sh"
    for unit in "$AMI_ROOT"/units/*; do
        name=$(basename "$unit")
        put "$SYSTEM/etc/systemd/system/$name" <"$unit"
        say "$name"
    done
    enable gputx-preread.service sysinit.target
    enable gputx-unarmed.timer timers.target
}

# enable UNIT TARGET: as `systemctl enable` does, also where no systemd runs.
enable() {
    local folder=$SYSTEM/etc/systemd/system/$2.wants
    mkdir -p "$folder"
    ln -sfn "../$1" "$folder/$1"
}

main
