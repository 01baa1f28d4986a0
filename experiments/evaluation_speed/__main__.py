"""`python -m experiments.evaluation_speed`: seconds to recalibrate and evaluate networks on 5,000 random images."""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch

import search_spaces
from nas.memory import keep_freed_memory
from nas.search.evaluation import Evaluator
from nas.tasks import ImageClassification
from nas.tasks.image_data import ImageData, ImageSet, image_set
from search_spaces import Architecture, SearchSpace

CLASSES = 10


def random_images(count: int, seed: int) -> ImageSet:
    """Colour images of 32 x 32 pixels, as many of each class."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
    return image_set(pixels, np.arange(count) % CLASSES, "random images")


def ends_and_median(space: SearchSpace) -> dict[str, Architecture]:
    """The smallest and the largest network, and of 101 random ones that with the median of MACs."""
    sample = space.sample(101, seed=0)
    order = space.macs(space.codes(sample)).argsort()
    return {"smallest": space.smallest(), "median": sample[int(order[50])], "largest": space.largest()}


def seconds(evaluator: Evaluator, architecture: Architecture, repeats: int) -> tuple[float, float]:
    """The least time of several, and the least processor time, which other work on the machine hardly lengthens."""
    evaluator.evaluate(architecture)  # the images are made ready
    times = []
    for _ in range(repeats):
        start, processor_start = time.perf_counter(), time.process_time()
        evaluator.evaluate(architecture)
        times.append((time.perf_counter() - start, time.process_time() - processor_start))
    wall, processor = zip(*times, strict=True)
    return min(wall), min(processor)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    keep_freed_memory()  # as every run does
    names = tuple(str(label) for label in range(CLASSES))
    task = ImageClassification(ImageData("random", names, random_images(1000, 0), validation=random_images(5000, 1)))
    space = search_spaces.get("convnet")
    torch.manual_seed(0)
    evaluator = Evaluator(space.build_supernet(), task)
    for name, architecture in ends_and_median(space).items():
        macs = space.macs(space.codes([architecture])).item() / 1e6
        for threads in arguments.threads:
            torch.set_num_threads(threads)
            wall, processor = seconds(evaluator, architecture, arguments.repeats)
            print(
                f"{name:8} {macs:6.1f} MMAC, {architecture.values['resolution']} px, {threads} threads: "
                f"{wall:.2f} s, {processor:.2f} s of processor time",
                flush=True,
            )


if __name__ == "__main__":
    main()
