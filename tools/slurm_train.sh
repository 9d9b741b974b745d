#!/usr/bin/env bash
set -euo pipefail

usage() {
    cat <<'TEXT'
Train on 1 to N nodes of a Slurm cluster, one process for each GPU.

    [GPUS=8] [GPUS_PER_NODE=8] [CPUS_PER_TASK=8] [PARTITION=...] [JOB_NAME=...] \
        [SRUN_ARGS='--time=2-0 ...'] tools/slurm_train.sh CONFIG [option of mmpatchconvnet train]...

GPUS=32 tools/slurm_train.sh configs/mask_rcnn/mask-rcnn_patchconvnet-s60_fpn_1x_coco.py \
    --cfg-options optim_wrapper.optimizer.lr=2e-4

It waits for the job; in a script of sbatch it is a step of that job. Which batch and
learning rate for how many GPUs: docs/scaling.md.
TEXT
}

if [[ $# -eq 0 || $1 == -h || $1 == --help ]]; then
    usage
    exit 0
fi
if [[ ! -f $1 ]]; then
    echo "error: $1 is not a file: give a config file first, then options." >&2
    exit 2
fi

gpus=${GPUS:-8}
per_node=${GPUS_PER_NODE:-8}
if ((gpus < per_node)); then
    per_node=$gpus
fi
if ((gpus < 1 || gpus % per_node)); then
    echo "error: GPUS=$gpus does not fill nodes of $per_node: give a multiple of it." >&2
    exit 2
fi

# A port of its own, so that two jobs can share a node; mmengine finds the address.
export MASTER_PORT=${MASTER_PORT:-$((20000 + RANDOM % 20000))}

job=$(basename "$1" .py)
request=(
    --job-name="${JOB_NAME:-$job}"
    --nodes="$((gpus / per_node))"
    --ntasks="$gpus"
    --ntasks-per-node="$per_node"
    --gres="gpu:$per_node"
    --cpus-per-task="${CPUS_PER_TASK:-8}"
    --kill-on-bad-exit=1
)
if [[ -n ${PARTITION:-} ]]; then
    request+=(--partition="$PARTITION")
fi
read -r -a extra <<<"${SRUN_ARGS:-}"

# --launcher stands first: --cfg-options takes all that follows it.
exec srun "${request[@]}" ${extra[@]+"${extra[@]}"} \
    "${PYTHON:-python}" -u "$(dirname "$0")/train.py" --launcher slurm "$@"
