"""The shape of language models as numbers, and tables of what their trainings gave."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas.errors import UsageError
from nas.search.worker import Evaluation
from search_spaces import Architecture, SearchSpace
from search_spaces.space import Codes

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Shapes:
    """n networks.

    Attributes:
        sizes: positive numbers by name, each of shape (n,): `depth` (layers), `width`, `feed_forward` (1 + hidden units
            per width, the mean over the layers) and `tokens` (of the training).
        shares: of the layers that have each kind of mixer, by its name, each of shape (n,).
        parameters: shape (n,).
    """

    sizes: Mapping[str, Floats]
    shares: Mapping[str, Floats]
    parameters: Floats

    def take(self, rows: NDArray[np.intp]) -> Shapes:
        """Some of them."""
        sizes, shares = ({name: values[rows] for name, values in group.items()} for group in (self.sizes, self.shares))
        return Shapes(sizes, shares, self.parameters[rows])


def shapes(space: SearchSpace, codes: Codes, tokens: Floats) -> Shapes:
    """The shapes of networks of `hybrid-slm`.

    Args:
        space: of the networks.
        codes: shape (n, number of choices).
        tokens: that each was trained on, shape (n,).
    """
    codes = space.canonical(codes)
    active, columns = space.active(codes), {choice.name: column for column, choice in enumerate(space.choices)}
    width = space.choices[columns["width"]]
    mixers = [column for name, column in columns.items() if name.endswith("_mixer")]
    ratios = [column for name, column in columns.items() if name.endswith("_ratio")]
    depth = active[:, mixers].sum(axis=1).astype(np.float64)
    hidden = sum(
        (np.array(space.choices[column].options, dtype=np.float64)[codes[:, column]] * active[:, column] for column in ratios),
        np.zeros(len(codes)),
    )  # fmt: skip
    kinds = space.choices[mixers[0]].options
    counts = {
        str(kind): np.sum([active[:, column] & (codes[:, column] == index) for column in mixers], axis=0)
        for index, kind in enumerate(kinds)
    }
    sizes = {
        "depth": depth,
        "width": np.array(width.options, dtype=np.float64)[codes[:, columns["width"]]],
        "feed_forward": 1 + hidden / depth,
        "tokens": np.asarray(tokens, dtype=np.float64),
    }
    shares = {kind: count / depth for kind, count in counts.items()}
    return Shapes(sizes, shares, space.parameters(codes))


@dataclass(frozen=True)
class Trainings:
    """Networks with their losses.

    Attributes:
        codes: canonical, shape (n, number of choices).
        shapes: of the networks.
        loss: such as bits per byte, shape (n,).
    """

    codes: Codes
    shapes: Shapes
    loss: Floats

    def __len__(self) -> int:
        return len(self.loss)

    def take(self, rows: NDArray[np.intp]) -> Trainings:
        """Some of them."""
        return Trainings(self.codes[rows], self.shapes.take(rows), self.loss[rows])

    @property
    def networks(self) -> NDArray[np.intp]:
        """A number for each network, the same for all of its trainings, shape (n,)."""
        return np.asarray(np.unique(self.codes, axis=0, return_inverse=True)[1].reshape(-1))


def trainings(
    space: SearchSpace, architectures: Sequence[Architecture], loss: Sequence[float], tokens: Sequence[float]
) -> Trainings:
    """A table of networks that were trained.

    Raises:
        UsageError: when there are fewer than ten of them.
    """
    if len(architectures) < 10:
        raise UsageError(f"a law needs ten trainings or more, there are {len(architectures)}")
    codes = space.codes(architectures)
    return Trainings(codes, shapes(space, codes, np.array(tokens)), np.array(loss, dtype=np.float64))


def evaluated(space: SearchSpace, evaluations: Sequence[Evaluation], metric: str) -> Trainings:
    """The networks of a run with what they inherit from its supernet; all are taken to have seen the same tokens.

    Raises:
        UsageError: when a network has no such metric, or there are too few.
    """
    complete = [evaluation for evaluation in evaluations if evaluation.complete]
    if not all(metric in evaluation.metrics for evaluation in complete):
        raise UsageError(f"the run knows no {metric!r} of its networks")
    loss = [evaluation.metrics[metric] for evaluation in complete]
    return trainings(space, [evaluation.architecture for evaluation in complete], loss, [1.0] * len(loss))


def trained_alone(space: SearchSpace, file: Path, metric: str) -> Trainings:
    """The rows that `experiments.hybrid_slm.alone` wrote.

    Raises:
        UsageError: when the file cannot be read, has no such figures, or there are too few.
    """
    try:
        rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        found = [(_architecture(space, row), float(row["alone"][metric]), float(row["tokens"])) for row in rows]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{file} cannot be read as trainings of this space with {metric!r}: {error!r}") from error
    return (
        trainings(space, *(list(column) for column in zip(*found, strict=True)))
        if found
        else trainings(space, [], [], [])
    )


def _architecture(space: SearchSpace, row: Mapping[str, Any]) -> Architecture:
    found = Architecture(space.name, tuple(row["values"].items()))
    space.codes([found])  # raises when it is of another space
    return found
