"""What is searched: NAS-Bench-201 with its table, and a larger space with a synthetic accuracy whose front is known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet
from numpy.typing import NDArray

import search_spaces
from latency_predictors import get
from nas.report.pareto import hypervolume
from nas.search.additive import Additive, choice_places, decompose, fitted_scores
from nas.search.additive.places import Columns
from nas.search.feasibility import all_codes
from nas.search.integer_program import IntegerProgram
from search_spaces import SearchSpace
from search_spaces.space import Codes
from search_spaces.tabular import nasbench201

Values = NDArray[np.float64]
Function = Callable[[Codes], Values]

#: Points of accuracy below the best one in which fronts are compared.
POINTS = 10.0
#: Limits at which the front of the synthetic accuracy is computed.
FRONT = 60
#: Random networks whose latency the cost of NAS-Bench-201 is fitted on; a latency takes no evaluation.
LATENCIES = 500


@dataclass(frozen=True, eq=False)
class Benchmark:
    """A space with an accuracy and a latency.

    Attributes:
        name: for people.
        space: of the networks.
        accuracy: in %, of canonical codes.
        latency_ms: in milliseconds, of canonical codes.
        cost: what the integer program takes for the latency.
        front: accuracies and latencies of the best networks that there are, shape (n, 2).
        truth: the exact best accuracy at a latency limit.
    """

    name: str
    space: SearchSpace
    accuracy: Function
    latency_ms: Function
    cost: Additive
    front: Values
    truth: Callable[[float], float]

    def volume(self, codes: Codes) -> float:
        """Share of the hypervolume of the front that networks reach, in the region of good accuracies, 0..1."""
        values = np.stack([self.accuracy(codes), self.latency_ms(codes)], axis=1)
        return self._raw(values) / self._raw(self.front)

    def _raw(self, values: Values) -> float:
        """Of accuracy and the logarithm of latency, within `POINTS` of the best, up to the latency of the best."""
        best, slowest = self.front[self.front[:, 0].argmax()]
        points = np.stack([-values[:, 0], np.log(values[:, 1])], axis=1)
        return hypervolume(points, [POINTS - best, np.log(slowest * 1.1)])


def nas_bench_201(path: Path) -> Benchmark:
    """CIFAR-100 test accuracy and measured latency on an Intel Xeon Gold 6226, of all 15,625 networks of the table."""
    table = pyarrow.parquet.read_table(path, columns=["ops", "acc_cifar100_test", "gold_6226"])
    space = search_spaces.get("nasbench201")
    codes = nasbench201.codes_of(table["ops"].to_pylist())
    order = np.argsort(_ranks(codes))
    accuracy = table["acc_cifar100_test"].to_numpy().astype(float)[order]
    latency = table["gold_6226"].to_numpy().astype(float)[order]
    assert len(codes) == space.size == len(np.unique(codes, axis=0))

    def latency_ms(some: Codes) -> Values:
        return np.asarray(latency[_ranks(some)])

    drawn = space.random_codes(LATENCIES, np.random.default_rng(0))
    cost = fitted_scores(space, drawn, latency_ms(drawn), choice_places(space))
    everything = np.stack([accuracy, latency], axis=1)
    return Benchmark(
        "NAS-Bench-201",
        space,
        lambda some: accuracy[_ranks(some)],
        latency_ms,
        cost,
        everything,
        lambda limit: float(accuracy[latency <= limit].max()),
    )


def _ranks(codes: Codes) -> NDArray[np.int64]:
    """Number of each network of NAS-Bench-201, in the order of its codes."""
    return codes @ (5 ** np.arange(codes.shape[1]))


def synthetic(interaction: float, seed: int) -> Benchmark:
    """The space of FBNet (1e21 networks) with a synthetic accuracy, and the latency of a roofline.

    Accuracy saturates in a sum: of a gain for each layer's block, which grows with the logarithm of its MACs besides a
    random part, and of random gains of pairs of neighbouring layers. Since it rises with that sum, its front is the
    front of the sum, which an integer program over single layers and pairs gives exactly.

    Args:
        interaction: share of the pairs in the variance of the sum, 0..1.
        seed: of the gains.
    """
    space = search_spaces.get("fbnet")
    predictor = get("roofline")(space)
    predictor.calibrate(space.codes([]), np.zeros(0))
    cost = decompose(space, lambda codes: predictor.predict(codes).mean_ms)
    total = _total(space, interaction, np.random.default_rng(seed))

    def accuracy(codes: Codes) -> Values:
        return _saturated(total(codes))

    program = IntegerProgram(total, {"latency_ms": cost})
    low = program.least("latency_ms") * 1.0001
    best = program.best({})
    limits = np.geomspace(low, best.costs["latency_ms"], FRONT).tolist()
    codes = np.concatenate([best.codes, *(solution.codes for solution in program.front("latency_ms", limits))])
    front = np.stack([accuracy(codes), cost(codes)], axis=1)
    return Benchmark(
        f"synthetic, {interaction:.0%} of pairs",
        space,
        accuracy,
        cost,
        cost,
        front,
        lambda limit: float(_saturated(np.array(program.best({"latency_ms": limit}).score))),
    )


def _saturated(total: Values) -> Values:
    """In %: 60 for an average network, with a slope of 5 for a deviation; it approaches 80."""
    return 80 - 20 * np.exp(-total / 4)


def _total(space: SearchSpace, interaction: float, rng: np.random.Generator) -> Additive:
    """Mean 0 and variance 1 over random networks."""
    macs = decompose(space, space.macs)
    layers = range(len(space.choices))
    single: dict[Columns, Values] = {}
    for layer in layers:
        size = np.log(1e5 + macs.tables[(layer,)] - macs.tables[(layer,)].min())
        single[(layer,)] = size / size.std() + rng.normal(size=len(size))
    pairs: dict[Columns, Values] = {
        (a, a + 1): rng.normal(size=tuple(len(space.choices[c].options) for c in (a, a + 1))) for a in layers[:-1]
    }
    parts = [(Additive(space, 0.0, tables), tables) for tables in (single, pairs)]
    codes = space.random_codes(5000, rng)
    tables: dict[Columns, Values] = {}
    shift = 0.0
    for (part, own), share in zip(parts, (1 - interaction, interaction), strict=True):
        scale = np.sqrt(share) / part(codes).std()
        shift -= scale * part(codes).mean()
        tables |= {columns: scale * table for columns, table in own.items()}
    return Additive(space, float(shift), tables)


def every_network(benchmark: Benchmark, n: int, rng: np.random.Generator) -> Codes:
    """All networks of a space that can be gone through, else `n` random ones."""
    space = benchmark.space
    return all_codes(space) if space.size <= 100_000 else space.random_codes(n, rng)
