"""`python -m experiments.hybrid_slm --data DIR`: run the chain on the books in DIR/text.

It adds the device `openvino` (one thread) where there is none of that name.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from latency_predictors import Device
from nas.cli import main

OPENVINO = Device("openvino", "openvino")

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default=os.environ.get("NASMYTH_DATA"), help="by default $NASMYTH_DATA")
    arguments, rest = parser.parse_known_args()
    if not arguments.data:
        parser.error("give --data DIR or set NASMYTH_DATA; experiments/README.md says how to make the files")
    os.environ["NASMYTH_DATA"] = str(Path(arguments.data).resolve())
    if OPENVINO.name not in Device.names():
        OPENVINO.save()
    sys.argv[1:] = ["run", str(Path(__file__).with_name("config.yaml")), *rest]
    main()
