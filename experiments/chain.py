"""What the experiments that run the whole chain share: the data, the second runtime, and `nas run`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable
from pathlib import Path

from latency_predictors import Device
from nas.cli import main

OPENVINO = Device("openvino", "openvino")


def run_chain(config: Path, description: str | None, devices: Iterable[Device] = ()) -> None:
    """`nas run` on a configuration, with the options of the command line; `--data` says where outside data is.

    Args:
        config: the configuration.
        description: of the experiment, for `--help`.
        devices: are added where there is none of their name.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--data", default=os.environ.get("NASMYTH_DATA"), help="by default $NASMYTH_DATA")
    arguments, rest = parser.parse_known_args()
    if not arguments.data:
        parser.error("give --data DIR or set NASMYTH_DATA; experiments/README.md says how to make the files")
    os.environ["NASMYTH_DATA"] = str(Path(arguments.data).resolve())
    add(devices)
    sys.argv[1:] = ["run", str(config), *rest]
    main()


def add(devices: Iterable[Device]) -> None:
    """Save the devices that are not known yet."""
    for device in devices:
        if device.name not in Device.names():
            device.save()
