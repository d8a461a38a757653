#!/usr/bin/env bash
# Tests marked gpu, then dynamics and shear on a GPU; in about eight minutes.
#   experiments/on_gpu.sh GLASS [OUT]     GLASS: a relaxed glass of some 10,000 atoms
set -euo pipefail
glass=$(realpath "$1") out=$(realpath -m "${2:-runs/gpu}")
cd "$(dirname "$0")/.."
# Several processes share the card.
export XLA_PYTHON_CLIENT_PREALLOCATE=false
mkdir -p "$out"
python -m pytest -m gpu -n 6 tests/test_on_gpu.py --durations=10 | tee "$out/tests.log"
for suite in md npt aqs; do
    python experiments/benchmark.py --suite=$suite --glass="$glass" --nolammps --out="$out/$suite.json"
done
