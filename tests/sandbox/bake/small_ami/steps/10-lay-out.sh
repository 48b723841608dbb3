#!/usr/bin/env bash
source "${AMI_ROOT:?}/lib.sh"
echo "laying out $ROOT"
mkdir -p "$ROOT/venv/bin" "$ROOT/cache" "$ROOT/models"
cat > "$ROOT/venv/bin/python" <<'END'
#!/bin/sh
exec /opt/python/bin/python3 "$@"
END
chmod 755 "$ROOT/venv/bin/python"
echo "laid out"
