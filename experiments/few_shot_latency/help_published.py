"""`python -m experiments.few_shot_latency.help_published --table T`: `help` under HELP's own protocol, beside what its authors
published.

It says whether the comparison of the other commands is fair to HELP (Lee et al., NeurIPS 2021): the network and the
meta-training of the predictor, given what the authors' code gives them. These are the same devices for training, validation
and test; the latencies of the first rows of the table (the pool) to learn from; an embedding of ten reference architectures;
ten more measurements of a new device, drawn from the middle 80 % of the pool *on that device*, and normalised by the slowest
and the fastest of them; and rho80, Spearman's rank correlation over the middle 80 % of the next 1,000 rows. What the pool
says of a new device beyond the 20 measurements no user knows: `--method help` of the benchmark does without.
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
from experiments.few_shot_latency.protocols import split
from latency_predictors.help_network import DeviceNetwork, Initialisation
from latency_predictors.help_training import Lessons, Training, meta_train
from latency_predictors.metrics import spearman
from nas.progress import Reporter

Column = NDArray[np.float64]

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
        ValueError: when there is no episode, or the table lacks a device of training or validation, or a reference
            architecture.
    """
    settings = Training(
        published.episodes if episodes is None else episodes, validation=published.validation, seed=seed
    )
    names = [name for name in published.rho80 if name in data.latency_ms]
    if not names:
        raise ValueError(f"the table has none of the test devices {', '.join(published.rho80)}")
    protocol = _Protocol(data, published)
    started = process_time()
    training, validation = protocol.lessons(published.train), protocol.lessons(published.validation, queries=True)
    with Reporter().progress(f"meta-training on {data.space.name}") as advance:
        learned = meta_train(data.space, training, validation, settings, advance)
    learning_s = process_time() - started
    devices: dict[str, dict[str, float]] = {}
    for name in names:
        own = [protocol.rho80(learned, name, draw) for draw in range(draws)]
        devices[name] = {
            "rho80": float(np.mean(own)),
            "deviation": float(np.std(own)),
            "published": published.rho80[name],
        }
    means = {key: float(np.mean([found[key] for found in devices.values()])) for key in ("rho80", "published")}
    return {
        "space": data.space.name,
        "devices": devices,
        "mean": means,
        "reference": len(published.reference),
        "samples": SAMPLES,
        "draws": draws,
        "seed": seed,
        "episodes": settings.episodes,
        "learning_cpu_s": learning_s,
    }


class _Protocol:
    """HELP's data: rows of the pool, then the queries."""

    def __init__(self, data: Dataset, published: Published) -> None:
        place = {int(number): row for row, number in enumerate(data.index)}
        missing = [number for number in published.reference if number not in place]
        if missing:
            raise ValueError(
                f"the table lacks reference architectures of HELP: arch_idx {', '.join(map(str, missing))}"
            )
        self._data, parts = data, split(data, "help")
        self._reference = [place[number] for number in published.reference]
        self._rows, self._pool = np.concatenate([parts.pool, parts.queries]), len(parts.pool)
        network = DeviceNetwork(data.space, len(self._reference))
        self._x = network.encoder.encode(data.codes[self._rows])

    def lessons(self, devices: Sequence[str], queries: bool = False) -> Lessons:
        """What is known of devices: the pool, and on request the queries, which nothing is learned from."""
        latency_ms = self._data.matrix(devices).T
        y = torch.tensor(np.stack([self._normalised(column[self._rows]) for column in latency_ms])).float()
        embeddings = torch.tensor(np.stack([_unit(column[self._reference]) for column in latency_ms])).float()
        held_out = torch.arange(len(self._rows)) >= self._pool
        if not queries:
            y[:, held_out] = torch.nan
        # The reference is not fine-tuned on, so that it need not be among the rows.
        return Lessons(self._x, y, embeddings, torch.arange(0), SAMPLES, held_out)

    def _normalised(self, ms: Column) -> Column:
        """By the extremes of the middle of the pool, which become .05 and .95."""
        middle = ms[middle_rows(ms[: self._pool])]
        return np.asarray((ms - middle.min()) / (middle.max() - middle.min()) * 0.9 + 0.05)

    def rho80(self, learned: Initialisation, device: str, draw: int) -> float:
        """Of a device that is met with the reference and samples of one draw."""
        known = self.lessons([device], queries=True)
        y, embedding = known.y[0], known.embeddings[0]
        measured_ms = self._data.latency_ms[device][self._rows]
        few = np.random.default_rng(draw).permutation(middle_rows(measured_ms[: self._pool]))[:SAMPLES]
        asked = self._pool + middle_rows(measured_ms[self._pool :])
        adapted = learned.adapt(self._x[few], embedding, y[few])
        guess = learned.predict(adapted, self._x[asked], embedding)
        return spearman(guess.double().numpy(), measured_ms[asked])


def _unit(ms: Column) -> Column:
    return np.asarray((ms - ms.min()) / (ms.max() - ms.min()))


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
