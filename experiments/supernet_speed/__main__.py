"""`python -m experiments.supernet_speed`: what elastic layers cost: steps of training, extraction, features."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import search_spaces
from nas.config import TrainingConfig
from nas.memory import keep_freed_memory
from nas.training.execution import Execution
from nas.training.optimizer import make_optimizer
from search_spaces import Architecture, SearchSpace

#: Spaces at the size at which each is trained on a CPU, and the batch of images.
SPACES: dict[str, tuple[dict[str, Any], int]] = {
    "convnet": ({}, 64),
    "efficient-hybrid": ({"preset": "small-images"}, 32),
    "mobilenetv3": ({"resolutions": (128,)}, 32),
    "ofa-resnet50": ({"resolutions": (128,)}, 8),
    "vit": ({"resolutions": (32,), "patches": (4,), "stem": (24, 48), "widths": (64, 96), "depths": (2, 3, 4),
             "heads": (1, 2, 3), "head_width": 32, "ratios": (1, 2, 3), "class_token": False}, 64),
}  # fmt: skip


class Steps:
    """One network with its optimiser: the same step for the supernet's path and for the static network."""

    def __init__(self, network: nn.Module, images: Tensor, target: Tensor, execution: Execution) -> None:
        self.network = network.train()
        self.images, self.target = execution.place(images, target)
        self.execution = execution
        self.optimizer = make_optimizer(network, TrainingConfig())

    def __call__(self) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        with self.execution.active():
            loss = nn.functional.cross_entropy(self.network(self.images).float(), self.target)
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimizer.step()


def ratio(of: Callable[[], None], to: Callable[[], None], repeats: int) -> tuple[float, float, float]:
    """Median of the ratios of processor times of neighbouring calls, and the medians of both in milliseconds."""
    times = []
    for _ in range(repeats + 2):
        pair = []
        for call in (of, to):
            start = time.process_time()
            call()
            pair.append((time.process_time() - start) * 1e3)
        times.append(pair)
    times = times[2:]
    first, second = (median(column) for column in zip(*times, strict=True))
    return median(a / b for a, b in times), first, second


def networks(space: SearchSpace) -> dict[str, Architecture]:
    """The ends, and of 101 random networks that with the median of MACs."""
    sample = space.sample(min(101, space.size), seed=0)
    order = space.macs(space.codes(sample)).argsort()
    return {
        "smallest": space.smallest(),
        "median": sample[int(order[len(order) // 2])],
        "largest": space.largest(),
    }


def training(space: SearchSpace, batch: int, execution: Execution, repeats: int) -> dict[str, Any]:
    """The step of a path beside the step of the extracted network."""
    torch.manual_seed(0)
    supernet = space.build_supernet()
    found = {}
    for name, architecture in networks(space).items():
        shape = space.input_shapes(architecture)[space.input_name]
        images, target = torch.randn(batch, *shape[1:]), torch.randint(2, (batch,))
        static = supernet.extract(architecture)
        supernet.activate(architecture)
        path = Steps(supernet, images, target, execution)
        alone = Steps(static, images, target, execution)
        quotient, path_ms, static_ms = ratio(path, alone, repeats)
        found[name] = {"ratio": round(quotient, 3), "path_ms": round(path_ms, 1), "static_ms": round(static_ms, 1)}
    return found


def extraction_ms(space: SearchSpace, repeats: int) -> float:
    """Median over random architectures of the processor time of an extraction, once their shapes are known."""
    supernet = space.build_supernet().eval()
    times = []
    for architecture in space.sample(min(repeats, space.size), seed=1):
        supernet.extract(architecture)
        start = time.process_time()
        supernet.extract(architecture)
        times.append((time.process_time() - start) * 1e3)
    return median(times)


def features_per_s(space: SearchSpace, rows: int = 100_000) -> float:
    """Architectures per second of processor time, over all phases, in the best of three runs."""
    codes = space.random_codes(rows, np.random.default_rng(0))
    best = 0.0
    for phase in space.phases:
        space.features(codes[:1000], phase)
    for _ in range(3):
        start = time.process_time()
        for phase in space.phases:
            space.features(codes, phase)
        best = max(best, rows * len(space.phases) / (time.process_time() - start))
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--space", nargs="+", default=search_spaces.names(), choices=search_spaces.names())
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--bfloat16", action="store_true", help="train with autocast and channels last")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    keep_freed_memory()  # as every run does
    torch.set_num_threads(1)
    execution = Execution(bfloat16=arguments.bfloat16, channels_last=arguments.bfloat16)
    results: dict[str, Any] = {}
    for name in arguments.space:
        result: dict[str, Any] = {"features_per_s": round(features_per_s(search_spaces.get(name)))}
        if name in SPACES:
            options, batch = SPACES[name]
            space = search_spaces.get(name, **options)
            result["training"] = training(space, batch, execution, arguments.repeats)
            result["extraction_ms"] = round(extraction_ms(search_spaces.get(name), 20), 1)
        results[name] = result
        print(name, json.dumps(result), flush=True)
    if arguments.json:
        print(json.dumps(results))


if __name__ == "__main__":
    main()
