#!/usr/bin/env bash
# Tutorial: from a folder of pictures to a network that runs on this machine. `bash examples/your_images.sh` in an empty folder.
set -euo pipefail

# 1. A folder for each class is all that is needed: photos/CLASS/*.jpg, or photos/train/CLASS and photos/test/CLASS. Here the
#    digits that come with scikit-learn play the part of your pictures.
python - <<'PYTHON'
from pathlib import Path

from PIL import Image
from sklearn.datasets import load_digits

digits = load_digits()
for number, (image, label) in enumerate(zip(digits.images, digits.target)):
    folder = Path("photos", f"digit{label}")
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray((image * 15).astype("uint8")).save(folder / f"{number}.png")
PYTHON

# 2. What is searched, and for what. `nas spaces` lists the search spaces, `nas spaces convnet` the options of this one. For
#    photographs leave `options` out, but for the number of classes.
cat > photos.yaml <<'YAML'
name: photos
threads: 1
task: {data: photos}
space:
  name: convnet
  options: {resolutions: [8], in_channels: 1, classes: 10, stem: 16, widths: [[16, 24], [32, 48]], strides: [1, 2],
            depths: [[1, 2], [1, 2]], expansions: [2, 3], group_width: 8, head: 64}
training: {epochs: 8}
search:
  objectives: [accuracy, latency_ms.local]
  limits: ["latency_ms.local <= 70 %"]   # of the largest network's; or a number of milliseconds
  evaluations: 20
YAML

# 3. Before anything is trained: what do these networks cost on this machine, and can the limits be met?
nas profile photos.yaml

# 4. Calibrate, train, search, export the best network within the limits, verify it. Kill it at any time: the same command goes on.
nas run photos.yaml

# 5. What was found: a table here, a page to look at in runs/photos/report.html.
nas front runs/photos

# 6. Another choice from the same search, and whether it keeps its promises on this machine.
nas export runs/photos --minimize latency_ms.local --where "accuracy >= 0.8" --to fast
nas verify fast

# 7. What you deploy needs nothing of Nasmyth.
python - <<'PYTHON'
import json

import numpy as np
import onnxruntime

session = onnxruntime.InferenceSession("fast/model.onnx")
(images,) = session.get_inputs()
found = session.run(None, {images.name: np.zeros((1, 1, 8, 8), np.float32)})[0]
print("outputs for one image:", found.shape, "- how pixels become numbers is in fast/README.md")
PYTHON
