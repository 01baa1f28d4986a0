"""`python -m experiments.vit_cifar10 --data DIR`: run the chain on the images in DIR/images/cifar10_20k.npz.

It adds the device `openvino` (one thread) where there is none. With `--latency` it only measures networks on both devices
and says how well their latencies are predicted, which needs no data and a minute.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from latency_predictors import Device
from nas.cli import main

CONFIG = str(Path(__file__).with_name("config.yaml"))
DEVICE = Device("openvino", "openvino")


def run(arguments: list[str]) -> None:
    """A command of `nas`; when it fails this program ends."""
    sys.argv[1:] = arguments
    try:
        main()
    except SystemExit as end:
        if end.code:
            raise


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default=os.environ.get("NASMYTH_DATA"), help="by default $NASMYTH_DATA")
    parser.add_argument("--latency", action="store_true", help="only calibrate the devices")
    arguments, rest = parser.parse_known_args()
    if DEVICE.name not in Device.names():
        DEVICE.save()
    if arguments.latency:
        run(["calibrate", CONFIG, "--device", "local", *rest])
        run(["calibrate", CONFIG, "--device", DEVICE.name, *rest])
    else:
        if not arguments.data:
            parser.error("give --data DIR or set NASMYTH_DATA; experiments/README.md says how to make the files")
        os.environ["NASMYTH_DATA"] = str(Path(arguments.data).resolve())
        run(["run", CONFIG, *rest])
