"""The command line that the parts of the experiment share."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import torch

from experiments.chain import add
from experiments.device_pool.__main__ import DEVICES
from experiments.rows import Rows
from latency_predictors import Device
from nas.config import RunConfig, load
from nas.progress import Reporter
from nas.training.execution import computes_bfloat16

KNOWN: Mapping[str, Device] = MappingProxyType({device.name: device for device in DEVICES})

#: Runtimes and settings that rank networks differently; the first one is where every chain of studies begins.
CHOSEN = ("onnxruntime", "onnxruntime-plain", "openvino", "openvino-bf16", "ncnn", "tract", "torch")


@dataclass(frozen=True)
class Settings:
    """What the parts share.

    Attributes:
        config: of the supernet; every study has its space, data and training.
        out: folder of all that is kept.
        devices: that are specialised for.
        seeds: of the searches; the networks of the first one are exported as bundles and verified.
        evaluations: networks that the first study of a chain evaluates.
        further: networks that each later one evaluates beside those that it takes over.
        limits: latencies at which networks are chosen for each device.
        max_seconds: of a measurement, after which no rounds are added.
    """

    config: RunConfig
    out: Path
    devices: tuple[Device, ...]
    seeds: tuple[int, ...] = (0, 1, 2)
    evaluations: int = 60
    further: int = 20
    limits: int = 5
    max_seconds: float = 60.0

    @property
    def rows(self) -> Rows:
        """What is on record."""
        return Rows(self.out / "rows")

    @property
    def reporter(self) -> Reporter:
        """Tells a person what happens."""
        return Reporter()

    def chain(self, seed: int) -> list[Device]:
        """The order in which a seed comes to the devices: each begins with another one."""
        turn = self.seeds.index(seed) % len(self.devices) if seed in self.seeds else 0
        return [*self.devices[turn:], *self.devices[:turn]]


def parser(description: str | None) -> argparse.ArgumentParser:
    """The options that all parts have."""
    found = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    found.add_argument("--data", default=os.environ.get("NASMYTH_DATA"), help="by default $NASMYTH_DATA")
    found.add_argument("--out", type=Path, default=Path("runs/many_devices"))
    found.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="as for 'nas run'")
    found.add_argument("--devices", nargs="*", default=able(CHOSEN), choices=list(KNOWN), metavar="NAME")
    found.add_argument("--seeds", nargs="*", type=int, default=list(Settings.seeds), help="of the searches")
    found.add_argument("--evaluations", type=int, default=Settings.evaluations, help="of the first study of a chain")
    found.add_argument("--further", type=int, default=Settings.further, help="evaluations of each later study")
    found.add_argument("--limits", type=int, default=Settings.limits, help="networks chosen for each device")
    found.add_argument("--max-seconds", type=float, default=Settings.max_seconds, help="of a measurement, about")
    return found


def settings(arguments: argparse.Namespace) -> Settings:
    """What the command line says; the devices are saved, as `nas device add` does.

    Raises:
        SystemExit: when it is not said where the data is.
    """
    if not arguments.data:
        raise SystemExit("give --data DIR or set NASMYTH_DATA; experiments/README.md says how to make the files")
    os.environ["NASMYTH_DATA"] = str(Path(arguments.data).resolve())
    torch.set_num_threads(1)
    devices = tuple(KNOWN[name] for name in arguments.devices)
    add(devices)
    return Settings(
        load(Path(__file__).with_name("config.yaml"), arguments.set),
        arguments.out,
        devices,
        tuple(arguments.seeds),
        arguments.evaluations,
        arguments.further,
        arguments.limits,
        arguments.max_seconds,
    )


def able(names: Sequence[str]) -> list[str]:
    """Those of `names` that this processor computes in earnest: bfloat16 only where it has arithmetic for it."""
    imitated = not computes_bfloat16("cpu")
    return [name for name in names if not (imitated and KNOWN[name].options.get("precision") == "bf16")]
