#!/usr/bin/env bash
# Holds `rir trace` against the JAX model in f64, forward and every gradient: equal to 1e-8, or exit code 1.
#
# usage: benches/peers/check-trace.sh [PYTHON [MODEL...]]     PYTHON has requirements.txt; default: all small models
set -euo pipefail
cd "$(dirname "$0")/../.."
python=${1:-python3}
shift || true
models=("$@")
[ ${#models[@]} -gt 0 ] || models=(rir-32 resnet-32 resnet-init-32 cnn-32)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

cargo build --release --quiet
rir=target/release/rir
"$python" - "$work/batch.safetensors" <<'EOF'
import sys
import numpy as np
from safetensors.numpy import save_file
rng = np.random.default_rng(0)
images = rng.standard_normal((4, 3, 32, 32)).astype(np.float32)
save_file({"images": images, "labels": rng.integers(0, 10, 4).astype(np.int32)}, sys.argv[1])
EOF
for model in "${models[@]}"; do
    echo "$model"
    $rir init --model "$model" --classes 10 --seed 1 --output "$work/$model.safetensors"
    $rir trace --train --checkpoint "$work/$model.safetensors" --input "$work/batch.safetensors" \
        --output "$work/$model-trace.safetensors"
    "$python" benches/peers/jax_rir.py --model "$model" --check "$work/$model-trace.safetensors" \
        --checkpoint "$work/$model.safetensors" --input "$work/batch.safetensors"
done
