# shellcheck shell=bash
# Sourced by every step, first line: the profile's values, the paths, and what a step says when it fails.
# A step runs as root with AMI_ROOT, the directory these files were uploaded to. It prints progress on stdout.
set -Eeuo pipefail
shopt -s inherit_errexit nullglob
umask 022
# needrestart is to restart nothing: what it would restart boots anew with the image.
export LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1 NEEDRESTART_MODE=l
unset PYTHONPATH PYTHONHOME

set -a
# shellcheck source=/dev/null
source "$AMI_ROOT/profile.env"
set +a

# Where the image's own files go. Paths of the system are written "$SYSTEM/etc/…": empty on a machine, and a
# directory where an image is laid out in one.
export ROOT=${TRANSCRIBE_ROOT:-/opt/transcribe}
export SYSTEM=${ROOT%/opt/transcribe}
STEP=$(basename "$0" .sh)

# The statuses that gputx/ami/recipe.py explains.
readonly UNREACHABLE=10 FULL=11 CHANGED=12 UNFIT=13 MISSING=14
readonly FULL_BELOW_KIB=65536

say() {
    printf '%s\n' "$*"
}

# die STATUS TEXT…: end with one of the statuses above. A full disk makes everything else fail, so it is said first.
die() {
    local status=$1 free
    shift
    free=$(df --output=avail -k "$(existing "$ROOT")" | tail -n 1)
    if ((free < FULL_BELOW_KIB)); then
        status=$FULL
        set -- "the disk is full: $((free / 1024)) MiB left"
    fi
    trap - ERR
    printf '%s: %s\n' "$STEP" "$*" >&2
    exit "$status"
}
trap 'die "$?" "line $LINENO: status $?: $BASH_COMMAND"' ERR

# existing PATH: the nearest folder above it that is there.
existing() {
    local path=$1
    until [[ -e $path ]]; do
        path=$(dirname "$path")
    done
    printf '%s' "$path"
}

# put PATH [MODE]: write standard input there; a file that is as it should be keeps its times.
put() {
    local path=$1 mode=${2:-0644} made
    mkdir -p "$(dirname "$path")"
    made=$(mktemp "$path.XXXXXX")
    cat >"$made"
    chmod "$mode" "$made"
    if [[ -f $path ]] && cmp -s "$made" "$path" && [[ $(stat -c %a "$path") == "${mode#0}" ]]; then
        rm "$made"
    else
        mv -f "$made" "$path"
    fi
}

# apt_install PACKAGE…: those that are not installed yet.
apt_install() {
    local package missing=()
    for package in "$@"; do
        is_installed "$package" || missing+=("$package")
    done
    if ((${#missing[@]} == 0)); then
        say "installed already: $*"
        return
    fi
    say "asking the mirror for ${missing[*]}"
    # Without Error-Mode, an update that reached nothing is a warning. No question about a file of /etc is asked.
    local apt=(apt-get -q -y -o Acquire::Retries=3 -o DPkg::Lock::Timeout=300 -o APT::Update::Error-Mode=any
        -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold --no-install-recommends)
    # What an attempt that was cut left half done.
    [[ -z $(dpkg --audit) ]] || dpkg --configure -a
    "${apt[@]}" update ||
        die "$UNREACHABLE" "apt's mirror can't be reached, or what it says is not signed as it should be"
    for package in "${missing[@]}"; do
        apt-cache show "$package" >/dev/null 2>&1 || die "$UNFIT" "this system's archive has no package $package"
    done
    "${apt[@]}" --simulate install "${missing[@]}" >/dev/null ||
        die "$UNFIT" "what this system has does not go with the archive's ${missing[*]}"
    # Fetched first: only then is a failure the mirror's.
    "${apt[@]}" --download-only install "${missing[@]}" ||
        die "$UNREACHABLE" "a package could not be fetched from apt's mirror: ${missing[*]}"
    "${apt[@]}" install "${missing[@]}"
}

# is_installed PACKAGE: held or not.
is_installed() {
    [[ $(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null) == installed ]]
}

# fetch FILE SHA256 URL…: download from the first that answers; what was cut goes on where it stopped.
fetch() {
    local file=$1 wanted=$2 url sum
    shift 2
    for url in "$@"; do
        [[ -e $file ]] && break
        say "fetching $url"
        curl --fail --silent --show-error --location --retry 5 --connect-timeout 15 --speed-limit 1024 \
            --speed-time 60 --continue-at - --output "$file.part" "$url" || continue
        mv "$file.part" "$file"
    done
    [[ -e $file ]] || die "$UNREACHABLE" "could not fetch $url"
    sum=$(sha256sum "$file" | cut -d ' ' -f 1)
    if [[ $sum != "$wanted" ]]; then
        rm "$file"
        die "$CHANGED" "${file##*/} is not what was pinned: its sha256 is $sum, not $wanted"
    fi
}

# run_payload SCRIPT [ARGUMENT…]: a Python script of files/ with gputx_remote at hand.
run_payload() {
    [[ -x $ROOT/venv/bin/python ]] || die "$MISSING" "there is no $ROOT/venv/bin/python"
    PYTHONPATH=$AMI_ROOT/payload.pyz "$ROOT/venv/bin/python" "$AMI_ROOT/files/$1" "${@:2}"
}
