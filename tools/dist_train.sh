#!/usr/bin/env bash
# Runs tools/train.py with one process a GPU, on one machine or on several.
#   tools/dist_train.sh CONFIG GPUS [options of train.py]
# Several machines: set NNODES, NODE_RANK and MASTER_ADDR (and PORT, else 29500) on each.
# MAX_RESTARTS=3: when a process dies, all are started again, at most so often, and go on from the
# latest checkpoint.
set -euo pipefail
[ $# -ge 2 ] || { echo "usage: $0 CONFIG GPUS [options]" >&2; exit 2; }
config=$1 gpus=$2
shift 2
arguments=("$config")
# One machine: any port will do, and two runs must not have the same.
PORT=${PORT:-$([ "${NNODES:-1}" = 1 ] && echo $((20000 + RANDOM % 10000)) || echo 29500)}
# By this, a run that is started again knows what it wrote itself.
KNOWSWAP_LAUNCH=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
export KNOWSWAP_LAUNCH
here=$(cd "$(dirname "$0")" && pwd)
PYTHONPATH="$here/..:${PYTHONPATH:-}" exec "${PYTHON:-python}" -m knowswap_mm.distributed.launch \
    --nnodes="${NNODES:-1}" --node_rank="${NODE_RANK:-0}" \
    --master_addr="${MASTER_ADDR:-127.0.0.1}" --master_port="$PORT" \
    --max_restarts="${MAX_RESTARTS:-0}" --nproc_per_node="$gpus" \
    "$here/train.py" "${arguments[@]}" --launcher pytorch "$@"
