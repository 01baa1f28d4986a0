"""Make the CIFAR-10 subset of the experiments from the official python batches.

python experiments/make_cifar10.py cifar-10-batches-py images/cifar10_20k.npz
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nas.tasks.cifar import read_cifar
from nas.tasks.image_data import ImageSet

Images = NDArray[np.uint8]
Labels = NDArray[np.int64]


def arrays(part: ImageSet) -> tuple[Images, Labels]:
    """Images (n, 32, 32, 3) and labels (n,)."""
    return part.images.permute(0, 2, 3, 1).numpy(), part.labels.numpy()


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
    data = read_cifar(arguments.batches)
    assert data.test is not None, "every archive of CIFAR has one"
    x_train, y_train = balanced(*arrays(data.train), 15_000, rng)
    x_test, y_test = balanced(*arrays(data.test), 5_000, rng)
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(arguments.output, x_train=x_train, y_train=y_train, x_test=x_test, y_test=y_test)


if __name__ == "__main__":
    main()
