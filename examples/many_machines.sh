#!/usr/bin/env bash
# Tutorial: several workers on one search. `bash examples/many_machines.sh postgresql://me@db.example.org/nasmyth` in an empty
# folder; the password is in PGPASSWORD or ~/.pgpass. It needs `pip install 'nasmyth[postgresql]'`.
#
# Both workers run here. On a cluster each would run on a host of its own that sees this folder: slurm_workers.sh beside this file.
set -euo pipefail
database=${1:?usage: many_machines.sh postgresql://USER@HOST/DATABASE}

cat > many.yaml <<YAML
name: many
threads: 1
space:
  name: convnet
  options: {resolutions: [8], in_channels: 1, classes: 10, stem: 16, widths: [[16, 24], [32, 48]], strides: [1, 2],
            depths: [[1, 2], [1, 2]], expansions: [2, 3], group_width: 8, head: 64}
training: {epochs: 6}
search:
  storage: $database
  objectives: [accuracy, latency_ms.local]
  evaluations: 24
YAML

# 1. The supernet is trained once, on the best machine; the device is calibrated.
nas calibrate many.yaml --device local
nas train many.yaml

# 2. Any number of workers, at any time. One that is killed loses nothing: another one evaluates its network.
nas worker runs/many & first=$!
nas worker runs/many & second=$!
wait "$first"
wait "$second"

# 3. The front can be looked at from anywhere, also while they work.
nas front runs/many
nas export runs/many --to chosen
nas verify chosen
