"""`python -m experiments.few_shot_latency.help_published --table T`: `help` under HELP's own protocol, beside what its authors
published.

It says whether the comparison of the other commands is fair to HELP (Lee et al., NeurIPS 2021). As in the authors' code: the
same devices for training, validation and test; latencies of the first rows of the table and of ten reference architectures
to learn from; a new device gives the reference and ten more measurements, drawn from those of the first rows that are among
the middle 80 % *on that device*; and rho80, Spearman's rank correlation over the middle 80 % of the next 1,000 rows. Unlike
there, latencies are normalised by the reference, not by extremes of the new device that nobody has measured.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from time import process_time
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from experiments.few_shot_latency.dataset import Dataset, load
from experiments.few_shot_latency.figures import middle_rows
from experiments.few_shot_latency.protocols import Rows, split
from latency_predictors import MatrixBank
from latency_predictors.help import Help
from latency_predictors.help_training import Training
from latency_predictors.metrics import spearman
from nas.progress import Reporter

#: Measurements of a new device beside the reference.
SAMPLES = 10


def _devices(text: str) -> tuple[str, ...]:
    return tuple(text.split())


@dataclass(frozen=True)
class Published:
    """What HELP did with a table.

    Attributes:
        train: devices of meta-training.
        validation: devices to choose among the episodes by.
        reference: `arch_idx` of the reference architectures.
        episodes: of meta-training.
        rho80: published for each test device.
    """

    train: tuple[str, ...]
    validation: tuple[str, ...]
    reference: tuple[int, ...]
    episodes: int
    rho80: Mapping[str, float]


PUBLISHED: Mapping[str, Published] = MappingProxyType(
    {
        "nasbench201": Published(
            _devices("1080ti_1 1080ti_32 1080ti_256 silver_4114 silver_4210r samsung_a50 pixel3 essential_ph_1 samsung_s7"),
            _devices("titanx_1 titanx_32 titanx_256 gold_6240"),
            (11982, 431, 55, 9, 14451, 8636, 9881, 13479, 6196, 1462),
            2000,
            MappingProxyType(
                {"titan_rtx_256": 0.987, "gold_6226": 0.989, "fpga": 0.985, "pixel2": 0.802, "raspi4": 0.890, "eyeriss": 0.940}
            ),
        ),
        "fbnet": Published(
            _devices("1080ti_1 1080ti_32 1080ti_64 silver_4114 silver_4210r samsung_a50 pixel3 essential_ph_1 samsung_s7"),
            _devices("titanx_1 titanx_32 titanx_64 gold_6240"),
            (3328, 3790, 3313, 890, 3052, 2538, 1640, 2514, 457, 2100),
            4000,
            MappingProxyType({"fpga": 0.892, "raspi4": 0.887, "eyeriss": 0.943}),
        ),
    }
)  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table; the exit code: 0 done, 2 wrong use."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    torch.set_num_threads(1)
    try:
        if arguments.draws < 1:
            raise ValueError(f"draws must be 1 or more, not {arguments.draws}")
        data = load(arguments.space, arguments.table)
        result = run(data, PUBLISHED[arguments.space], arguments.draws, arguments.seed, arguments.episodes)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(markdown(result), file=sys.stderr if arguments.json else sys.stdout)
    if arguments.json:
        print(json.dumps(result, allow_nan=False))
    return 0


def run(data: Dataset, published: Published, draws: int, seed: int, episodes: int | None = None) -> dict[str, Any]:
    """rho80 of every test device that the table has.

    Args:
        data: latencies of the table.
        published: what HELP did with it.
        draws: how often the further samples are drawn anew.
        seed: of meta-training.
        episodes: of meta-training, by default as published.

    Raises:
        ValueError: when there is no episode, or the table lacks a device of training or validation, or a reference architecture.
    """
    settings = Training(
        published.episodes if episodes is None else episodes, validation=published.validation, seed=seed
    )
    names = [name for name in published.rho80 if name in data.latency_ms]
    if not names:
        raise ValueError(f"the table has none of the test devices {', '.join(published.rho80)}")
    reference = _rows(data, published.reference)
    predictor = Help(data.space, data.phase, _bank(data, published, reference), settings)
    started = process_time()
    devices: dict[str, dict[str, float]] = {}
    learning_s = 0.0
    with Reporter().progress(f"help on {data.space.name}") as advance:
        for done, name in enumerate(names, start=1):
            own = [_rho80(data, predictor, reference, data.matrix([name])[:, 0], draw) for draw in range(draws)]
            learning_s = learning_s or process_time() - started
            devices[name] = {
                "rho80": float(np.mean(own)),
                "deviation": float(np.std(own)),
                "published": published.rho80[name],
            }
            advance(done, len(names))
    means = {key: float(np.mean([found[key] for found in devices.values()])) for key in ("rho80", "published")}
    return {
        "space": data.space.name,
        "devices": devices,
        "mean": means,
        "reference": len(reference),
        "samples": SAMPLES,
        "draws": draws,
        "seed": seed,
        "episodes": settings.episodes,
        "learning_cpu_s": learning_s,
    }


def _rows(data: Dataset, numbers: Sequence[int]) -> Rows:
    place = {int(number): row for row, number in enumerate(data.index)}
    missing = [number for number in numbers if number not in place]
    if missing:
        raise ValueError(f"the table lacks reference architectures of HELP: arch_idx {', '.join(map(str, missing))}")
    return np.array([place[number] for number in numbers])


def _bank(data: Dataset, published: Published, reference: Rows) -> MatrixBank:
    devices = (*published.train, *published.validation)
    rows = np.union1d(split(data, "help").pool, reference)
    return MatrixBank.of(data.space, data.codes[rows], data.matrix(devices)[rows], devices, data.phase)


def _rho80(data: Dataset, predictor: Help, reference: Rows, measured_ms: NDArray[np.float64], draw: int) -> float:
    parts = split(data, "help")
    pool = parts.pool[middle_rows(measured_ms[parts.pool])]
    rows = np.concatenate([reference, np.random.default_rng(draw).permutation(pool)[:SAMPLES]])
    predictor.calibrate(data.codes[rows], measured_ms[rows])
    queries = parts.queries[middle_rows(measured_ms[parts.queries])]
    return spearman(predictor.predict(data.codes[queries]).mean_ms, measured_ms[queries])


def markdown(result: Mapping[str, Any]) -> str:
    """A line for each device, and their mean."""
    lines = [
        f"help on {result['space']}, rho80: {result['reference']} reference and {result['samples']} further measurements, "
        f"mean of {result['draws']} draws; meta-training {result['learning_cpu_s']:.0f} CPU-seconds",
        "| device | measured | published |",
        "|---|---|---|",
    ]
    for name, found in [*result["devices"].items(), ("mean", result["mean"])]:
        lines.append(f"| {name} | {found['rho80']:.3f} | {found['published']:.3f} |")
    return "\n".join(lines)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m experiments.few_shot_latency.help_published",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--table", required=True, help="nasbench201.parquet, or fbnet.parquet with --space fbnet")
    add("--space", choices=list(PUBLISHED), default="nasbench201", help="default: nasbench201")
    add("--draws", type=int, default=20, help="how often the ten further samples are drawn anew (default: 20)")
    add("--seed", type=int, default=0, help="of meta-training (default: 0)")
    add("--episodes", type=int, help="of meta-training (default: as published, 2,000 and 4,000)")
    add("--json", action="store_true", help="one JSON object, last on standard output")
    return parser


if __name__ == "__main__":
    sys.exit(main())
