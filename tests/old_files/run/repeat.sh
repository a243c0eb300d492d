#!/usr/bin/env bash
# Repeats this run in another folder: bash repeat.sh NEW_FOLDER
set -euo pipefail
[ $# -eq 1 ] || { echo "usage: $0 NEW_FOLDER" >&2; exit 2; }
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1"
new=$(cd "$1" && pwd)
cd .
exec "${PYTHON:-python}" -m knowswap_mm train "$here"/20261129_204402.py \
    --work-dir "$new" --launcher none \
    --cfg-options randomness.seed=3 resume=False
