#!/bin/sh
# Makes a guest's root out of its disk and this machine's programs, and becomes the command inside it.
# Runs as the first process of new mount, PID, IPC and UTS namespaces, with their root's rights.
#
#   enter.sh DISK MOUNTS HOSTNAME UID COMMAND...
#
# UID is the guest's user, as seen from here; /run is to be its own.
# MOUNTS is a file of lines KIND<tab>SOURCE<tab>TARGET, done in order:
#   ro      bind SOURCE, a file or a directory, read-only
#   device  bind the device SOURCE
#   link    make TARGET a symbolic link to SOURCE
#   fs      mount a new file system; SOURCE is TYPE:OPTIONS
set -eu
PATH=/usr/sbin:/usr/bin:/sbin:/bin
disk=$1 mounts=$2 hostname=$3 uid=$4
shift 4
tab=$(printf '\t')

fail() {
    echo "enter: $1" >&2
    exit 1
}

# The disk is the guest's to fill: a symbolic link it left must not lead a mount, or a mkdir, out of it.
place() {
    [ "$(realpath -m -- "$disk$1")" = "$disk$1" ] || fail "$1 is not where it should be on this disk"
}

mount --bind "$disk" "$disk"
cd "$disk"
while IFS=$tab read -r kind source target; do
    case $kind in
    link)
        place "${target%/*}"
        [ -e ".$target" ] || [ -L ".$target" ] || ln -s "$source" ".$target"
        ;;
    ro)
        place "$target"
        if [ -d "$source" ]; then
            mkdir -p ".$target"
        else
            mkdir -p ".${target%/*}"
            [ -e ".$target" ] || : >".$target"
        fi
        # Flags that are locked in a user namespace have to be repeated, and devices are of no use here.
        mount -o bind,ro,nosuid,nodev "$source" ".$target"
        ;;
    device)
        : >".$target"
        mount --bind "$source" ".$target"
        ;;
    fs)
        place "$target"
        mkdir -p ".$target"
        mount -t "${source%%:*}" -o "${source#*:}" "${source%%:*}" ".$target"
        ;;
    *) fail "unknown kind of mount: $kind" ;;
    esac
done <"$mounts"
chown "$uid:$uid" ./run

if command -v hostname >/dev/null; then hostname "$hostname"; fi
pivot_root . .
umount -l .
cd /
exec "$@"
