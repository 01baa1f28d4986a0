"""`python -m experiments.few_shot_latency.ablation --data DIR`: what each ingredient of the simulated devices brings.

The population of `gaussian_process` is changed in one respect at a time, without any training device: NAS-Bench-201 by HELP's
protocol on its visible test devices, FBNet on the test devices of NASFLAT's tasks, and our own devices.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from experiments.few_shot_latency.benchmark import Plan, run
from experiments.few_shot_latency.dataset import SHIPPED, load
from experiments.few_shot_latency.methods import Predictor
from latency_predictors import LatencyPredictor, MatrixBank
from latency_predictors.gaussian_process import GaussianProcess
from latency_predictors.simulated_devices import Population
from nas.progress import Reporter
from search_spaces import SearchSpace

VARIANTS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "as it ships": {},
        "another draw": {"seed": 1},
        "1,024 devices": {"devices": 1024},
        "64 devices": {"devices": 64},
        "no parallelism": {"parallel": 0.0},
        "no cache": {"cached": 0.0},
        "no roofline": {"roofline": 0.0},
        "all rooflines": {"roofline": 1.0},
        "windows cost alike": {"window_deviation": 0.0},
        "no pooling as convolution": {"pooling_as_convolution": 0.0},
        "no cost of a call": {"call": 0.0},
        "one price per resource": {"price_deviation": 0.0},
        "resources vary less (1)": {"resource_deviation": 1.0},
        "resources vary more (2)": {"resource_deviation": 2.0},
        "prices only": {
            "parallel": 0.0, "cached": 0.0, "roofline": 0.0, "window_deviation": 0.0, "pooling_as_convolution": 0.0,
            "call": 0.0,
        },
    }
)  # fmt: skip

#: Name of the column, space, table, test devices (all when there are none), protocol, figure.
TABLES = (
    ("NAS-Bench-201", "nasbench201", "nasbench201.parquet", "titan_rtx_256 gold_6226 pixel2 eyeriss", "help", "rho80"),
    (
        "FBNet", "fbnet", "fbnet.parquet",
        "eyeriss raspi4 samsung_a50 samsung_s7 1080ti_1 1080ti_32 2080ti_1 2080ti_32 titan_rtx_1 titan_rtx_32 titanxp_1 "
        "gold_6226 pixel2 essential_ph_1", "all", "rho",
    ),
    ("own devices", "convnet", SHIPPED, "", "all", "rho"),
)  # fmt: skip


class Varied(Predictor):
    """The Gaussian process with another population."""

    def __init__(self, population: Population) -> None:
        super().__init__(GaussianProcess)
        self._population = population

    def make(self, space: SearchSpace, phase: str, bank: MatrixBank | None) -> LatencyPredictor:
        return GaussianProcess(space, phase, bank, self._population)


def main() -> int:
    """Print the table; the exit code: 0 done, 2 wrong use."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default=os.environ.get("NASMYTH_DATA"), help="by default $NASMYTH_DATA")
    parser.add_argument("--draws", type=int, default=10)
    arguments = parser.parse_args()
    if not arguments.data:
        parser.error("give --data DIR or set NASMYTH_DATA; experiments/README.md says how to make the files")
    tables = [
        (load(space, table if table == SHIPPED else f"{arguments.data}/latency/{table}"), devices, protocol, figure)
        for _, space, table, devices, protocol, figure in TABLES
    ]
    heads = [f"{name}: {figure} | mdape | coverage90" for name, *_, figure in TABLES]
    print(f"| simulated devices | {' | '.join(heads)} |\n|{'---|' * (1 + 3 * len(TABLES))}")
    reporter = Reporter()
    with reporter.progress("populations") as advance:
        for done, (name, changes) in enumerate(VARIANTS.items(), start=1):
            cells = []
            for data, devices, protocol, figure in tables:
                test = tuple(devices.split()) or tuple(data.latency_ms)
                plan = Plan("gaussian_process", (), test, draws=arguments.draws, protocol=protocol)
                mean = run(data, plan, method=Varied(Population(**changes)))["mean"]
                cells.append(f"{mean[figure]:.4f} | {mean['mdape']:.2f} | {mean['coverage90']:.2f}")
            print(f"| {name} | {' | '.join(cells)} |", flush=True)
            advance(done, len(VARIANTS))
    return 0


if __name__ == "__main__":
    sys.exit(main())
