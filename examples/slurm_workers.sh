#!/usr/bin/env bash
# Workers of one search as a SLURM array: any number at any time, preempted and started again as the cluster likes.
#
#   nas train my.yaml                                 # once: the supernet, on a node with a GPU if there is one
#   sbatch examples/slurm_workers.sh runs/my          # when the devices are calibrated ('nas calibrate my.yaml --device NAME')
#   nas front runs/my                                 # at any time, also while they work
#
# my.yaml names a database that all nodes reach, with its own sessions (pgbouncer only in session mode):
#
#   search:
#     storage: postgresql://me@db.cluster/nasmyth     # the password is in ~/.pgpass, mode 600
#     evaluations: 2000
#
# The run's directory is on a disk that all nodes see; the workers read it, and write one small file (study.json). Where a
# node reaches the database under another name: nas worker RUN --storage URL.
#
#SBATCH --job-name=nas-worker
#SBATCH --array=0-15            # so many workers; submit it again for more
#SBATCH --cpus-per-task=2       # more workers with few threads evaluate more than few workers with many
#SBATCH --mem=4G
#SBATCH --time=12:00:00
#SBATCH --requeue               # a preempted or lost worker is started again ...
#SBATCH --open-mode=append      # ... and goes on in the same log
#SBATCH --output=nas-worker-%A-%a.log
set -euo pipefail
run=${1:?usage: sbatch slurm_workers.sh RUN}

# SLURM sends SIGTERM before it takes a node away (PreemptMode=REQUEUE, --time). srun passes it on to the worker, which gives
# its network back and ends with code 143; even one that is killed at once loses nothing, since the database frees its
# locks with its connection and another worker evaluates the network. When the budget is spent all workers end with code 0.
export OMP_NUM_THREADS=${SLURM_CPUS_PER_TASK:-1}
exec srun nas worker "$run"
