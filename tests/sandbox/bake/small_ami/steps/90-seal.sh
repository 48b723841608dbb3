#!/usr/bin/env bash
source "${AMI_ROOT:?}/lib.sh"
printf '{"contract": %s, "model": {"id": "%s", "revision": "%s"}, "built_at": "%s"}\n' \
  "$CONTRACT" "$MODEL" "$MODEL_REVISION" "$(date -u +%FT%TZ)" > "$ROOT/manifest.json"
touch "$ROOT/.setup_complete"
echo "sealed"
