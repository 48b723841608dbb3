#!/usr/bin/env bash
# The base system: what later steps need, the folders, and nothing that reads or writes behind a run's back.
source "${AMI_ROOT:?}/lib.sh"

main() {
    local machine
    machine=$(uname -m)
    [[ $machine == "$ARCHITECTURE" ]] || die "$UNFIT" "this is a $machine machine, and the profile is for $ARCHITECTURE"
    rm -f "$ROOT/.setup_complete"
    settle
    quiet
    needs
    install -d -m 0755 "$ROOT" "$ROOT/models" "$ROOT/bin" "$ROOT/cache"
}

# sshd answers before cloud-init has ended, which may yet write apt's sources and hold its lock. An update that has
# begun is let end: cut, it would leave packages half installed.
settle() {
    local waited
    runs_here || return 0
    if command -v cloud-init >/dev/null; then
        timeout 600 cloud-init status --wait || say "cloud-init did not end well, or not in ten minutes"
    fi
    systemctl stop apt-daily.timer apt-daily-upgrade.timer || say "there are no timers of apt's"
    for ((waited = 0; waited < 600; waited += 2)); do
        updates || return 0
        sleep 2
    done
    say "the system's own update has not ended in ten minutes"
}

# Whether one of the two is at work.
updates() {
    systemctl show --property ActiveState apt-daily.service apt-daily-upgrade.service | grep -q '=activating$'
}

# Whether the machine that runs this is the one that the image is made of.
runs_here() {
    [[ -z $SYSTEM && -d /run/systemd/system ]]
}

# A fresh system begins with updates of its own, which hold apt's lock, and at a run's first boot would compete for
# the disk with what the run waits for. An image is replaced, not updated.
quiet() {
    local unit
    for unit in apt-daily.timer apt-daily-upgrade.timer apt-daily.service apt-daily-upgrade.service \
        unattended-upgrades.service man-db.timer motd-news.timer fstrim.timer e2scrub_all.timer \
        dpkg-db-backup.timer update-notifier-download.timer update-notifier-motd.timer \
        logrotate.timer fwupd-refresh.timer ua-timer.timer apt-news.service esm-cache.service \
        apport.service pollinate.service rsyslog.service syslog.socket; do
        mkdir -p "$SYSTEM/etc/systemd/system"
        ln -sfn /dev/null "$SYSTEM/etc/systemd/system/$unit"
    done
    # Nothing of a run is kept on its disk, and nothing waits for the disk to write a log.
    put "$SYSTEM/etc/systemd/journald.conf.d/10-gputx.conf" <<'END'
[Journal]
Storage=volatile
RuntimeMaxUse=64M
END
    if runs_here; then
        systemctl daemon-reload
        systemctl stop apt-daily.timer apt-daily-upgrade.timer unattended-upgrades.service \
            rsyslog.service syslog.socket ||
            say "some of them were not there to be stopped"
    fi
}

# NEEDS is "PROBE|PROBE:PACKAGE …": the package is installed where no probe, a path or a pattern, is there.
needs() {
    local need probe probes found missing=() wanted=()
    # Not `for need in $NEEDS`: that would expand the patterns.
    read -r -a wanted <<<"$NEEDS"
    for need in "${wanted[@]}"; do
        found=()
        IFS='|' read -r -a probes <<<"${need%:*}"
        for probe in "${probes[@]}"; do
            # Unquoted, because it may be a pattern.
            # shellcheck disable=SC2206
            found+=($probe)
        done
        there "${found[@]}" || missing+=("${need##*:}")
    done
    if ((${#missing[@]})); then
        apt_install "${missing[@]}"
    else
        say "all that is needed is there"
    fi
}

there() {
    local path
    for path in "$@"; do
        [[ -e $path || -e $SYSTEM$path ]] && return
    done
    return 1
}

main
