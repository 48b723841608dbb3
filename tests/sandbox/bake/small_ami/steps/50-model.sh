#!/usr/bin/env bash
source "${AMI_ROOT:?}/lib.sh"
rm -rf "$ROOT/models/default"
cp -r "$AMI_ROOT/model" "$ROOT/models/default"
(cd "$ROOT/models/default" && echo "$MODEL_SHA256  model.safetensors" | sha256sum --check --status)
echo "the model is $MODEL"
