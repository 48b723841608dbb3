#!/usr/bin/env bash
# The packages of the lock, each checked by its hash, without what a run never reads.
source "${AMI_ROOT:?}/lib.sh"

main() {
    local python=$ROOT/venv/bin/python site log installed=yes
    # shellcheck disable=SC2153  # LOCK is the profile's
    local lock=$AMI_ROOT/lock/$LOCK
    [[ -x $python ]] || die "$MISSING" "there is no $python"
    site=$("$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
    "$python" -c 'import pip' 2>/dev/null || "$python" -m ensurepip --default-pip >/dev/null
    log=$(mktemp)
    # Not as a flag: the pip of Ubuntu 22.04 does not know it.
    export PIP_ROOT_USER_ACTION=ignore
    # The lock is whole, so nothing is resolved here; a source package would run its maker's code as root.
    "$python" -m pip --disable-pip-version-check --no-input install --require-hashes --no-deps \
        --only-binary :all: --no-compile --no-cache-dir --retries 5 --timeout 30 --progress-bar off \
        --requirement "$lock" 2>&1 | tee "$log" | { grep -v "already satisfied" || true; } || installed=no
    [[ $installed == yes ]] || why_not "$log"
    rm "$log"
    cp "$lock" "$ROOT/packages.lock"
    chmod 0644 "$ROOT/packages.lock"
    share_libraries "$site"
    if [[ -d $site/pip ]]; then
        # Debian's ensurepip brings setuptools along.
        "$python" -m pip --disable-pip-version-check --quiet uninstall --yes setuptools pip
    fi
    say "before: $(size "$ROOT/venv")"
    "$python" -I "$AMI_ROOT/files/slim.py" "$site" | tee "$ROOT/slimmed.txt"
    # A Python of our own brings what only its makers need.
    rm -rf "$ROOT"/python/lib/python3*/{test,idlelib,turtledemo} "$ROOT"/python/share
    # Bytecode that is not compared with its source again: neither its time nor its content is asked for.
    "$python" -m compileall -q -j 0 -f --invalidation-mode unchecked-hash "$site" "$ROOT"/python/lib/python3* ||
        say "some files are no Python $PYTHON_VERSION"
    say "after: $(size "$ROOT/venv")"
}

# why_not LOG: end with what pip failed for. It takes away what it had fetched, so a disk that was full may not be now.
why_not() {
    local wrong
    wrong=$(grep -m 1 "^ERROR" "$1" || tail -n 1 "$1")
    if grep -q "DO NOT MATCH THE HASHES\|HashMismatch" "$1"; then
        wrong=$(grep -m 1 -A 1 -i 'expected sha256' "$1" | tr -s '\n ' ' ')
        die "$CHANGED" "a package is not what the lock pins: $wrong"
    fi
    ! grep -q "No space left on device" "$1" || die "$FULL" "the disk was full: $wrong"
    ! grep -qE "Retrying \(|HTTP error|HTTPError|ConnectionError|Connection broken|timed out" "$1" ||
        die "$UNREACHABLE" "pip: $wrong"
    die 1 "pip: $wrong"
}

# CTranslate2 asks for libcublas by name, and torch for its own by path: all are to find the one in the environment.
share_libraries() {
    local folders=("$1"/nvidia/*/lib) list=$SYSTEM/etc/ld.so.conf.d/gputx.conf
    if ((${#folders[@]})); then
        printf '%s\n' "${folders[@]}" | put "$list"
        [[ -n $SYSTEM ]] || ldconfig
    else
        rm -f "$list"
    fi
}

size() {
    du -sm "$1" | cut -f 1 | sed 's/$/ MiB/'
}

main
