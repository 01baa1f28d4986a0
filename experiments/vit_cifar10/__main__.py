"""`python -m experiments.vit_cifar10 --data DIR`: run the chain on the images in DIR/images/cifar10_20k.npz.

It adds the device `openvino` (one thread) where there is none. With `--latency` it only measures networks on both devices
and says how well their latencies are predicted, which needs no data and a minute.
"""

from __future__ import annotations

import sys
from pathlib import Path

from experiments.chain import OPENVINO, add, run_chain
from nas.cli import main

CONFIG = Path(__file__).with_name("config.yaml")


def calibrate(device: str, options: list[str]) -> None:
    """`nas calibrate`; when it fails this program ends."""
    sys.argv[1:] = ["calibrate", str(CONFIG), "--device", device, *options]
    try:
        main()
    except SystemExit as end:
        if end.code:
            raise


if __name__ == "__main__":
    if "--latency" in sys.argv:
        options = [option for option in sys.argv[1:] if option != "--latency"]
        add([OPENVINO])
        for device in ("local", OPENVINO.name):
            calibrate(device, options)
    else:
        run_chain(CONFIG, __doc__, [OPENVINO])
