"""`python -m experiments.hybrid_cifar10 --data DIR`: run the chain on the images in DIR/images/cifar10_20k.npz.

It adds the device `openvino` (one thread) where there is none of that name.
"""

from __future__ import annotations

from pathlib import Path

from experiments.chain import OPENVINO, run_chain

if __name__ == "__main__":
    run_chain(Path(__file__).with_name("config.yaml"), __doc__, [OPENVINO])
