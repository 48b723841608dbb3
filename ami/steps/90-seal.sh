#!/usr/bin/env bash
# Last: nothing of the bake and of its machine stays behind. Who is logged in stays so, but nobody gets in again
# before the next boot, because the keys go too.
source "${AMI_ROOT:?}/lib.sh"

main() {
    local part home
    for part in manifest.json preread.list packages.lock venv/bin/python models/default/config.json; do
        [[ -e $ROOT/$part ]] || die "$MISSING" "there is no $ROOT/$part to seal"
    done
    if command -v apt-get >/dev/null && [[ -d $SYSTEM/var/lib/apt ]]; then
        [[ -n $SYSTEM ]] || apt-get -q clean
        rm -rf "$SYSTEM"/var/lib/apt/lists/*
    fi
    rm -f "$SYSTEM"/etc/ssh/ssh_host_*
    for home in "$SYSTEM/root" "$SYSTEM"/home/*; do
        rm -f "$home"/.ssh/authorized_keys "$home"/.ssh/id_* "$home"/.ssh/known_hosts
        rm -f "$home"/.bash_history "$home"/.python_history "$home"/.wget-hsts "$home"/.sudo_as_admin_successful
        rm -f "$home"/.lesshst "$home"/.viminfo
        rm -rf "$home"/.cache "$home"/.aws "$home"/.config/pip "$home"/gputx
    done
    [[ ! -e $SYSTEM/etc/machine-id ]] || : >"$SYSTEM/etc/machine-id"
    rm -f "$SYSTEM/var/lib/dbus/machine-id" "$SYSTEM/var/lib/systemd/random-seed"
    # cloud-init takes the next machine for a new one; seed and its configuration stay.
    rm -rf "$SYSTEM"/var/lib/cloud/{instance,instances,data,sem,scripts/per-*/gputx*} "$SYSTEM"/var/lib/gputx
    rm -rf "$SYSTEM"/var/lib/dhcp/*.leases "$SYSTEM"/var/lib/systemd/network-leases "$SYSTEM"/var/crash/*
    logs
    scratch
    find "$ROOT" -name __pycache__ -path "$ROOT/bin/*" -prune -exec rm -rf {} +
    date -u +%Y-%m-%dT%H:%M:%SZ >"$ROOT/.setup_complete"
    sync
    say "sealed"
}

# Files that a program has open are emptied, the others go.
logs() {
    [[ -d $SYSTEM/var/log ]] || return 0
    rm -rf "$SYSTEM"/var/log/journal/* "$SYSTEM"/var/log/apt/* "$SYSTEM"/var/log/unattended-upgrades/*
    find "$SYSTEM/var/log" -type f \( -name '*.gz' -o -name '*.[0-9]' -o -name '*.old' \) -delete
    find "$SYSTEM/var/log" -type f -size +0 -exec truncate -s 0 {} +
}

# Not what the steps themselves lie in: who uploaded it removes it, or it is in memory, below /run.
scratch() {
    local entry
    for entry in "$SYSTEM"/tmp/* "$SYSTEM"/tmp/.[!.]* "$SYSTEM"/var/tmp/* "$SYSTEM"/var/tmp/.[!.]*; do
        # What running services have open is gone with the next boot.
        [[ $entry == */systemd-private-* || $entry == */snap-private-tmp ]] && continue
        [[ $AMI_ROOT/ == "$entry"/* ]] || mounted "$entry" || rm -rf "$entry"
    done
}

# What is mounted at or below a path is another's, and no part of the image either.
mounted() {
    local point
    while read -r _ _ _ _ point _; do
        [[ $point/ != "$1"/* ]] || return 0
    done </proc/self/mountinfo
    return 1
}

main
