"""Make the CIFAR-10 subset of the experiments from the official python batches.

python experiments/make_cifar10.py cifar-10-batches-py images/cifar10_20k.npz
"""

from __future__ import annotations

import argparse
import pickle
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Images = NDArray[np.uint8]
Labels = NDArray[np.int64]


def read(paths: list[Path]) -> tuple[Images, Labels]:
    """Images (n, 32, 32, 3) and labels (n,) of the authors' own files, which are pickles: trust their source."""
    batches: list[dict[bytes, Any]] = [pickle.loads(path.read_bytes(), encoding="bytes") for path in paths]
    images = np.concatenate([batch[b"data"] for batch in batches]).reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return images, np.concatenate([batch[b"labels"] for batch in batches])


def balanced(images: Images, labels: Labels, n: int, rng: np.random.Generator) -> tuple[Images, Labels]:
    """`n` images, as many of each class, in random order."""
    rows = np.concatenate([rng.permutation(np.flatnonzero(labels == c))[: n // 10] for c in range(10)])
    rows = rng.permutation(rows)
    return images[rows], labels[rows]


def main() -> None:
    """Read, draw and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("batches", type=Path, help="the unpacked directory cifar-10-batches-py")
    parser.add_argument("output", type=Path, help="the .npz file to write")
    arguments = parser.parse_args()
    rng = np.random.default_rng(0)
    train = read([arguments.batches / f"data_batch_{number}" for number in range(1, 6)])
    test = read([arguments.batches / "test_batch"])
    x_train, y_train = balanced(*train, 15_000, rng)
    x_test, y_test = balanced(*test, 5_000, rng)
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(arguments.output, x_train=x_train, y_train=y_train, x_test=x_test, y_test=y_test)


if __name__ == "__main__":
    main()
