#!/usr/bin/env bash
# A Python and an empty virtual environment in /opt/transcribe/venv.
# PYTHON_FROM names where to look, in order: "managed" downloads a pinned build; "system" takes what the distribution
# has; "shared:PATH" takes an interpreter whose packages are to be used as they are.
source "${AMI_ROOT:?}/lib.sh"

main() {
    local from python=
    if usable "$ROOT/venv/bin/python" "$PYTHON_FROM"; then
        say "there already: $("$ROOT/venv/bin/python" --version)"
        return
    fi
    for from in $PYTHON_FROM; do
        case $from in
        managed)
            managed
            python=$ROOT/python/bin/python3
            ;;
        system) python=$(command -v "python$PYTHON_VERSION" || command -v python3 || true) ;;
        shared:*) python=${from#shared:} ;;
        *) die "$UNFIT" "PYTHON_FROM has $from, which is none of managed, system and shared:PATH" ;;
        esac
        [[ $from != shared:* || -e $python ]] || python=$SYSTEM$python
        usable "$python" "$from" && break
        python=
    done
    [[ -n $python ]] || die "$UNFIT" "no Python $PYTHON_VERSION here; looked for: $PYTHON_FROM"
    say "$from: $("$python" --version)"
    rm -rf "$ROOT/venv"
    # What installs packages comes and goes with the step that does.
    "$python" -m venv --without-pip "$ROOT/venv"
    if [[ $from == shared:* ]]; then
        "$python" -c 'import sysconfig as s; print(*sorted({s.get_path("purelib"), s.get_path("platlib")}), sep="\n")' |
            put "$(site_packages)/shared.pth"
    fi
}

# PYTHON_VERSION exactly, because the lock is for it. One whose packages are there already may be newer.
usable() {
    [[ -x $1 ]] || return 1
    "$1" -c 'if True:
        import sys, venv, ensurepip
        wanted = tuple(map(int, sys.argv[1].split(".")))
        shared = sys.argv[2].startswith("shared:") and sys.version_info[:2] > wanted
        sys.exit(not shared and sys.version_info[:2] != wanted)
    ' "$PYTHON_VERSION" "$2" 2>/dev/null
}

site_packages() {
    "$ROOT/venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))'
}

managed() {
    local version sha256 urls archive=$ROOT/python.tar.gz
    # shellcheck disable=SC2034
    read -r version sha256 urls < <(grep "^$PYTHON_VERSION\." "$AMI_ROOT/lock/python.txt") ||
        die "$UNFIT" "there is no pinned Python $PYTHON_VERSION"
    mkdir -p "$ROOT"
    # Unquoted: there may be several.
    # shellcheck disable=SC2086
    fetch "$archive" "$sha256" $urls
    rm -rf "$ROOT/python"
    tar -xzf "$archive" -C "$ROOT" --no-same-owner
    rm "$archive"
}

main
