# shellcheck shell=bash
set -euo pipefail
# shellcheck source=/dev/null
set -a && source "$AMI_ROOT/profile.env" && set +a
ROOT=${TRANSCRIBE_ROOT:-/opt/transcribe}
