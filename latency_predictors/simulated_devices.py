"""The prior of latency prediction: a population of devices that nobody had to own."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import prod

import numpy as np
from numpy.typing import NDArray

from latency_predictors.operator_rows import OperatorRows
from search_spaces import SearchSpace
from search_spaces.space import Codes
from search_spaces.workload import BYTES_PER_VALUE, COSTS, Op

Floats = NDArray[np.float64]

#: Which operators a runtime treats alike; those with MACs come first.
CLASSES = {
    "compute": ("conv", "conv_transpose", "linear", "matmul"),
    "activation": (
        "relu",
        "hardswish",
        "hardsigmoid",
        "clip",
        "sigmoid",
        "silu",
        "gelu",
        "exp",
        "softplus",
        "sqrt",
        "pow",
    ),
    "elementwise": (
        "add",
        "sub",
        "rsub",
        "mul",
        "div",
        "zero",
        "batch_norm",
        "layer_norm",
        "rms_norm",
        "group_norm",
        "softmax",
    ),
    "pooling": ("mean", "sum", "cumsum", "average_pool", "max_pool"),
    "copy": ("transpose", "concat", "gather", "select", "slice", "pad", "upsample", "expand", "tril"),
}
_CLASS_OF = {kind: name for name, kinds in CLASSES.items() for kind in kinds}

_MACS = tuple(name for name in COSTS if name.startswith("macs_"))
_BYTES = ("read", "written", "weights", *(f"moved_{name}" for name in CLASSES if name != "compute"))
_LAUNCHES = tuple(f"launch_{name}" for name in CLASSES)

#: What each device has a price for, by the resource that it belongs to.
PRICES = (*_MACS, *_BYTES, *_LAUNCHES)
_RESOURCE = np.array([0] * len(_MACS) + [1] * len(_BYTES) + [2] * len(_LAUNCHES))

#: Architectures from which the typical use of each resource is known. More may need many operators traced.
TYPICAL = 64
SEED = 0


@dataclass(frozen=True)
class Population:
    """What devices are like. Deviations are of natural logarithms, shares are probabilities from 0 to 1.

    The numbers were chosen on NAS-Bench-201 and FBNet, see experiments/few_shot_latency; they lie on a plateau.

    Attributes:
        devices: how many there are.
        resource_deviation: of the prices of arithmetic, memory traffic and launches, for a typical network equally
            expensive on the median device: so devices are mostly bound by one of them.
        price_deviation: of each single price around that of its resource.
        window_deviation: of the price of a MAC in windows beyond 3x3 relative to smaller ones.
        roofline: share of devices on which memory traffic hides behind arithmetic, or the other way round (Williams et al.,
            CACM 2009); on others they add up.
        parallel: share of devices that need a number of outputs at once, 8 to 200,000, to be well used.
        cached: share of devices on which tensors above a size, 10 kB to 10 MB, cost up to eight times as much a byte.
        pooling_as_convolution: share of devices that compute a pooling as a dense convolution with its window.
        call: share of devices on which every network costs something more, whatever it is.
        seed: of the draw.
    """

    devices: int = 256
    resource_deviation: float = 1.5
    price_deviation: float = 0.85
    window_deviation: float = 0.4
    roofline: float = 0.3
    parallel: float = 0.5
    cached: float = 0.3
    pooling_as_convolution: float = 0.2
    call: float = 0.3
    seed: int = 0


class SimulatedDevices:
    """Latencies of the architectures of a space on a population of simulated devices.

    Each device charges random positive prices per MAC of each kind, per byte that an operator reads, writes or moves, and
    per kernel that is launched. A latency is the sum over operators.

    Args:
        space: the search space.
        phase: one of `space.phases`.
        population: what the devices are like.
    """

    def __init__(self, space: SearchSpace, phase: str, population: Population | None = None) -> None:
        self.population = population or Population()
        self._space = space
        self._slots = space.slot_workloads(phase)
        self._draw = _Draw(self.population)
        self._ops = OperatorRows(self._slots, _columns, len(_COLUMNS))
        self._table = np.zeros((0, self.population.devices), dtype=np.float32)

    def log_ms(self, codes: Codes) -> NDArray[np.float32]:
        """Logarithms of latencies whose mean over typical architectures is 0 on each device.

        Args:
            codes: canonical, shape (n, number of choices).

        Returns:
            Shape (n, devices).
        """
        prices, level = self._prices_and_level
        found: NDArray[np.float32] = np.log(self._slots.sums(codes, lambda: self._workloads(prices)) + self._draw.call)
        found -= level
        return found

    @cached_property
    def _prices_and_level(self) -> tuple[Floats, NDArray[np.float32]]:
        """Prices, shape (len(PRICES), devices), and mean log latencies, shape (devices,), by typical architectures."""
        typical = self._space.codes(self._space.sample(min(self._space.size, TYPICAL), SEED))
        self._slots.number(typical)
        per_workload = self._ops.summed(self._ops.since(0)[:, : len(PRICES)])
        used = self._slots.sums(typical, lambda: per_workload).mean(axis=0)
        of_resource = np.array([used[resource == _RESOURCE].sum() for resource in range(3)])
        prices = self._draw.relative_prices / np.where(of_resource > 0, of_resource, 1)[_RESOURCE, None]
        logs = np.log(self._slots.sums(typical, lambda: self._workloads(prices)) + self._draw.call)
        return prices, logs.mean(axis=0, dtype=np.float64).astype(np.float32)

    def _workloads(self, prices: Floats) -> NDArray[np.float32]:
        """Time of every known workload on every device, shape (workloads, devices); each is computed once."""
        known = len(self._table)
        if known < len(self._slots.workloads):
            times = self._draw.times(self._ops.since(known), prices)
            fresh = self._ops.summed(times, known).astype(np.float32)
            self._table = np.concatenate([self._table, fresh])
        return self._table


#: Columns of the operators: units of each price, then what other effects depend on.
_COLUMNS = (*PRICES, "outputs", "moved", "large_window", "pooled_macs")


def _columns(op: Op) -> list[float]:
    """A row of `_COLUMNS`.

    Raises:
        ValueError: when no class has the kind of the operator.
    """
    costs = op.costs()
    row = dict.fromkeys(_COLUMNS, 0.0)
    if not costs["kernels"]:
        return [*row.values()]
    if op.kind not in _CLASS_OF:
        raise ValueError(f"operator kind {op.kind!r} is in no class of latency_predictors/simulated_devices.py: add it")
    kind = _CLASS_OF[op.kind]
    read, written = op.shapes[: len(op.inputs)], op.shapes[len(op.inputs) :]
    bytes_read, bytes_written = (BYTES_PER_VALUE * sum(map(prod, shapes)) for shapes in (read, written))
    row.update({name: costs[name] for name in _MACS})
    row["weights"] = costs["weight_bytes"]
    if kind == "compute":
        row["read"], row["written"] = bytes_read, bytes_written
    else:
        row[f"moved_{kind}"] = bytes_read + bytes_written
    row[f"launch_{kind}"] = 1
    row["outputs"], row["moved"] = sum(map(prod, written)), bytes_read + bytes_written
    row["large_window"] = float(op.kind == "conv" and prod(op.weights[0][2:]) > 9)
    if op.kind == "average_pool":
        window = prod(dict(op.attributes)["kernel"])  # type: ignore[arg-type]
        row["pooled_macs"] = prod(op.output_shape) * window * op.output_shape[1]
    return [*row.values()]


class _Draw:
    """The devices of a population."""

    def __init__(self, population: Population) -> None:
        rng, n = np.random.default_rng(population.seed), population.devices
        resources = np.exp(population.resource_deviation * rng.standard_normal((3, n)))
        single = np.exp(population.price_deviation * rng.standard_normal((len(PRICES), n)))
        self.relative_prices: Floats = resources[_RESOURCE] * single
        self.large_window = np.exp(population.window_deviation * rng.standard_normal(n))
        self.roofline = rng.random(n) < population.roofline
        width, is_parallel = np.exp(rng.uniform(np.log(8), np.log(2e5), n)), rng.random(n) < population.parallel
        self.width = np.where(is_parallel, width, 0)
        self.cache_bytes, is_cached = (
            np.exp(rng.uniform(np.log(1e4), np.log(1e7), n)),
            rng.random(n) < population.cached,
        )
        self.beyond_cache = np.where(is_cached, np.exp(rng.uniform(0, np.log(8), n)) - 1, 0)
        self.pools_by_convolution = rng.random(n) < population.pooling_as_convolution
        is_called = rng.random(n) < population.call
        call = np.exp(population.resource_deviation * rng.standard_normal(n))
        self.call = np.where(is_called, call, 0).astype(np.float32)

    def times(self, ops: Floats, prices: Floats) -> Floats:
        """Times of operators, shape (ops, devices); `ops` are rows of `_COLUMNS`, `prices` as in `relative_prices`."""
        macs, traffic, launches = (
            ops[:, : len(PRICES)][:, resource == _RESOURCE] @ prices[resource == _RESOURCE] for resource in range(3)
        )
        outputs, moved, large_window, pooled_macs = ops[:, len(PRICES) :].T[:, :, None]
        macs = np.where(large_window > 0, macs * self.large_window, macs)
        macs += pooled_macs * self.pools_by_convolution * prices[PRICES.index("macs_dense")]
        macs *= 1 + self.width / np.maximum(outputs, 1)
        traffic *= 1 + self.beyond_cache * moved / (moved + self.cache_bytes)
        return np.asarray(np.where(self.roofline, np.maximum(macs, traffic), macs + traffic) + launches)
