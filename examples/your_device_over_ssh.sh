#!/usr/bin/env bash
# Tutorial: networks for another machine, such as a Raspberry Pi. `bash examples/your_device_over_ssh.sh pi@raspberry` in an
# empty folder; further words are options of `nas device add`, such as --python /usr/bin/python3.11.
#
# All that the other machine needs is Python 3.9 with `pip install onnxruntime numpy`, and that `ssh pi@raspberry` works without
# a password (ssh-copy-id) from here, where its host key is known.
set -euo pipefail
host=${1:?usage: your_device_over_ssh.sh USER@HOST [options of nas device add]}

# 1. A device is a name for a machine and a runtime on it.
nas device add pi --ssh "$host" "${@:2}"
nas device list

# 2. Is it steady enough to be measured? The same networks, twice: exit code 1 says no, and the text why.
nas device check pi || echo "the figures below are as unsteady as this device"

# 3. The search is for that machine. Everything but the measuring happens here.
cat > pi.yaml <<'YAML'
name: pi
threads: 1
devices: [pi]
space:
  name: convnet
  options: {resolutions: [8], in_channels: 1, classes: 10, stem: 16, widths: [[16, 24], [32, 48]], strides: [1, 2],
            depths: [[1, 2], [1, 2]], expansions: [2, 3], group_width: 8, head: 64}
training: {epochs: 8}
search:
  objectives: [accuracy, latency_ms.pi]
  limits: ["latency_ms.pi <= 70 %"]
  evaluations: 20
YAML

# 4. Ten networks are measured there to calibrate the latency predictor, twenty others to test it.
nas calibrate pi.yaml --device pi

# 5. Train here, search with the predictor, export, and verify on the device: the chosen network is measured there.
nas run pi.yaml
nas verify runs/pi/exports/chosen --device pi
