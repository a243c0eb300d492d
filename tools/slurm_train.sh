#!/usr/bin/env bash
# Submits tools/train.py to a Slurm cluster, one task a GPU.
#   GPUS=8 GPUS_PER_NODE=8 tools/slurm_train.sh PARTITION JOB_NAME CONFIG WORK_DIR [options of train.py]
# Nodes without GPUs: CPU_ONLY=1; GPUS and GPUS_PER_NODE then count processes.
# The processes meet at a port that is made of the numbers of job and step; MASTER_PORT sets another.
set -euo pipefail
[ $# -ge 4 ] || { echo "usage: $0 PARTITION JOB_NAME CONFIG WORK_DIR [options]" >&2; exit 2; }
partition=$1 job=$2 config=$3 work_dir=$4
shift 4
gpus=${GPUS:-8}
gpus_per_node=${GPUS_PER_NODE:-$((gpus < 8 ? gpus : 8))}
devices=("--gres=gpu:$gpus_per_node")
[ "${CPU_ONLY:-0}" = 0 ] || devices=()
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck disable=SC2086  # SRUN_ARGS holds several words on purpose
PYTHONPATH="$here/..:${PYTHONPATH:-}" exec srun -p "$partition" --job-name="$job" \
    ${devices[@]+"${devices[@]}"} --ntasks="$gpus" --ntasks-per-node="$gpus_per_node" \
    --cpus-per-task="${CPUS_PER_TASK:-5}" --kill-on-bad-exit=1 ${SRUN_ARGS:-} \
    "${PYTHON:-python}" -u "$here/train.py" "$config" --work-dir="$work_dir" --launcher slurm "$@"
