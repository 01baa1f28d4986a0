"""What a surrogate sees of a network: its choices, how often each option occurs, its costs and its connectivity."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import block_diag

from search_spaces import Choice, SearchSpace
from search_spaces.space import Codes

Floats = NDArray[np.float32]

#: Random networks whose columns have mean 0 and deviation 1 after scaling.
SCALE_SAMPLES = 2000


@dataclass(frozen=True)
class Described:
    """Many networks.

    Attributes:
        groups: matrices of shape (n, columns); squared distances of rows are means over the columns, so that groups
            of different widths are alike.
    """

    groups: tuple[Floats, ...]

    def __len__(self) -> int:
        return len(self.groups[0])

    def take(self, rows: NDArray[np.intp] | NDArray[np.bool_]) -> Described:
        """Some of them."""
        return Described(tuple(group[rows] for group in self.groups))

    @classmethod
    def joined(cls, parts: Sequence[Described]) -> Described:
        """One after the other."""
        groups = zip(*(part.groups for part in parts), strict=True)
        return cls(tuple(np.concatenate(group) for group in groups))


class Descriptors:
    """Describes networks of a space by three groups of columns.

    1. One-hot choices, ordered ones by thermometer code too; a choice without effect is an option of its own. The
       squared distance is the share of choices that differ (Hamming), where neighbours count about half.
    2. How often each option occurs among the choices that have the same options.
    3. Logarithms of the costs in every phase (MACs by kind, bytes, kernels, parameters), and connectivity: number and
       lengths of the paths through the network.

    Args:
        space: of the networks.
    """

    def __init__(self, space: SearchSpace) -> None:
        self.space = space
        self._offsets, self._embedding, self._kinds, self._owners = _tables(space)
        sample = space.random_codes(SCALE_SAMPLES, np.random.default_rng(0))
        self._floor = np.maximum(self._costs(sample).mean(0) * 1e-3, 1e-12)
        counts = self._counts(self._rows(sample)).astype(float)
        self._scales = [(raw.mean(0), _spread(raw)) for raw in (counts, self._sums(sample))]

    def __call__(self, codes: Codes) -> Described:
        """Describe canonical codes, shape (n, choices)."""
        rows = self._rows(codes)
        raws = self._counts(rows), self._sums(codes)
        scaled = [
            ((raw - mean) / spread)[:, np.isfinite(spread)] / np.sqrt(max(1, np.isfinite(spread).sum()))
            for raw, (mean, spread) in zip(raws, self._scales, strict=True)
        ]
        embedded = self._embedding[rows[:, self._owners], np.arange(len(self._owners))]
        return Described(tuple(np.ascontiguousarray(group, dtype=np.float32) for group in (embedded, *scaled)))

    def _rows(self, codes: Codes) -> NDArray[np.int64]:
        """Which row of the tables each choice has: that of its option, or the one for that it has no effect."""
        active = self.space.active(codes)
        return np.asarray(self._offsets[:-1] + np.where(active, codes, np.diff(self._offsets) - 1))

    def _counts(self, rows: NDArray[np.int64]) -> Floats:
        one_hot = np.zeros((len(rows), self._offsets[-1]), dtype=np.float32)
        np.put_along_axis(one_hot, rows, 1.0, axis=1)
        return one_hot @ self._kinds

    def _costs(self, codes: Codes) -> NDArray[np.float64]:
        phases = self.space.phases
        return np.concatenate(
            [
                *(self.space.features(codes, phase) for phase in phases),
                *(self.space.parameters(codes, phase)[:, None] for phase in phases),
            ],
            axis=1,
        )

    def _sums(self, codes: Codes) -> NDArray[np.float64]:
        paths = [self.space.connectivity(codes, phase) for phase in self.space.phases]
        return np.concatenate([np.log(self._costs(codes) + self._floor), *paths], axis=1)


def _spread(raw: NDArray[np.float64]) -> NDArray[np.float64]:
    """Deviation of each column; infinite where nothing but rounding varies, so that the column is left out."""
    spread = raw.std(0)
    return np.where(spread > 1e-9 * (1 + np.abs(raw).max(0)), spread, np.inf)


def _tables(space: SearchSpace) -> tuple[NDArray[np.int64], Floats, Floats, NDArray[np.intp]]:
    """Where the one-hot columns of each choice begin; what they are multiplied with for the first group and the second;
    the choice that decides each column of the first one.

    Shapes (choices + 1,), (one-hot columns, columns of the group), (columns of the first group,).
    """
    sizes = [len(choice.options) + 1 for choice in space.choices]
    blocks = [_embedding(choice) for choice in space.choices]
    varying = max(1, sum(len(choice.options) > 1 for choice in space.choices))
    kinds = list(dict.fromkeys(choice.options for choice in space.choices))
    counts = np.zeros((sum(sizes), sum(map(len, kinds))), dtype=np.float32)
    offsets = np.concatenate([[0], np.cumsum(sizes)])
    starts = dict(zip(kinds, np.cumsum([0, *map(len, kinds)]), strict=False))
    for choice, offset in zip(space.choices, offsets, strict=False):
        options = np.arange(len(choice.options))
        counts[offset + options, starts[choice.options] + options] = 1.0
    owners = np.repeat(np.arange(len(blocks)), [block.shape[1] for block in blocks])
    return offsets, (block_diag(*blocks) / np.sqrt(2 * varying)).astype(np.float32), counts, owners


def _embedding(choice: Choice) -> NDArray[np.float64]:
    """A row for each option and one for no effect, at squared distances of 2; those of ordered options are from 1 (for
    neighbours of very many) to 2 (from the first to the last). As few columns as these distances need (classical
    scaling, Torgerson, 1952): they are computed very often."""
    options = len(choice.options)
    distances = 2 - 2 * np.eye(options + (choice.requires is not None))
    if choice.ordered and options > 2:
        places = np.arange(options)
        distances[:options, :options] = np.abs(places[:, None] - places) / (options - 1) + 1 - np.eye(options)
    rows = np.zeros((options + 1, len(distances) - 1))
    if options > 1:
        centred = np.eye(len(distances)) - 1 / len(distances)
        values, vectors = np.linalg.eigh(-0.5 * centred @ distances @ centred)
        rows[: len(distances)] = (vectors * np.sqrt(np.maximum(values, 0)))[:, 1:]
    return rows
