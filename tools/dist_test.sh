#!/usr/bin/env bash
# Runs tools/test.py with one process a GPU, on one machine or on several.
#   tools/dist_test.sh CONFIG CHECKPOINT GPUS [options of test.py]
# Several machines: set NNODES, NODE_RANK and MASTER_ADDR (and PORT, else 29500) on each.
set -euo pipefail
[ $# -ge 3 ] || { echo "usage: $0 CONFIG CHECKPOINT GPUS [options]" >&2; exit 2; }
config=$1 checkpoint=$2 gpus=$3
shift 3
arguments=("$config" "$checkpoint")
# One machine: any port will do, and two runs must not have the same.
PORT=${PORT:-$([ "${NNODES:-1}" = 1 ] && echo $((20000 + RANDOM % 10000)) || echo 29500)}
here=$(cd "$(dirname "$0")" && pwd)
PYTHONPATH="$here/..:${PYTHONPATH:-}" exec "${PYTHON:-python}" -m knowswap_mm.distributed.launch \
    --nnodes="${NNODES:-1}" --node_rank="${NODE_RANK:-0}" \
    --master_addr="${MASTER_ADDR:-127.0.0.1}" --master_port="$PORT" \
    --nproc_per_node="$gpus" \
    "$here/test.py" "${arguments[@]}" --launcher pytorch "$@"
