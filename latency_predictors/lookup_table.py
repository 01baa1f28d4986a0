"""The block table: every slot variant is measured alone, and a network is the sum of its blocks."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from latency_predictors.least_squares import relative_error, weights
from latency_predictors.predictor import LatencyPredictor, Prediction, Timer
from search_spaces import SearchSpace
from search_spaces.space import Codes
from search_spaces.workload import Op, Workload

if TYPE_CHECKING:
    from latency_predictors.matrix_bank import LatencyBank

#: A space with more distinct blocks takes hours to measure.
MOST_BLOCKS = 2000

#: Next to nothing to compute: what a call costs.
EMPTY = Workload((Op("relu", (0,), (1,), ((1, 1), (1, 1))),), (0,), (1,), ((1, 1),))


class LookupTable(LatencyPredictor):
    """Latency as a x (sum of the blocks' latencies measured alone) + b x (number of blocks) + c, none negative.

    `measure_parts` measures the blocks (as ProxylessNAS, Cai et al., ICLR 2019, and Once-for-all do), each less what
    a nearly empty network takes. Calibrating to whole networks then finds a, b and c by least squares of relative
    errors: runtimes fuse across blocks, and a call has a fixed cost. The interval is that of `nonnegative`.
    """

    name = "lookup_table"
    min_samples = 4

    def __init__(self, space: SearchSpace, phase: str = "inference", bank: LatencyBank | None = None) -> None:
        super().__init__(space, phase, bank)
        self._slots = space.slot_workloads(phase)
        self._blocks_ms: NDArray[np.float64] | None = None

    def measure_parts(self, time: Timer) -> None:
        """Measure all distinct blocks of the space.

        Raises:
            ValueError: when there are more than `MOST_BLOCKS`, or `time` raises it.
        """
        self._slots.number_all(MOST_BLOCKS)
        measured_ms = np.asarray(time([EMPTY, *self._slots.workloads]), dtype=np.float64)
        self._blocks_ms = np.maximum(measured_ms[1:] - measured_ms[0], 0)

    def blank(self) -> LatencyPredictor:
        """Another one with the same table, that knows no whole network."""
        other = LookupTable(self.space, self.phase, self.bank)
        other._slots, other._blocks_ms = self._slots, self._blocks_ms
        return other

    def with_bank(self, bank: LatencyBank | None) -> LatencyPredictor:
        """Another one with the same table; it learns nothing from other devices."""
        other = self.blank()
        other.bank = bank
        return other

    def _fit(self, codes: Codes, measured_ms: NDArray[np.float64]) -> None:
        costs = self._sums(codes)
        self._weights, self._relative_error = weights(costs, measured_ms), relative_error(costs, measured_ms)

    def _predict(self, codes: Codes) -> Prediction:
        mean_ms, factor = self._sums(codes) @ self._weights, 1 + self._relative_error
        return Prediction(mean_ms, mean_ms / factor, mean_ms * factor)

    def _sums(self, codes: Codes) -> NDArray[np.float64]:
        """Sum of the blocks in ms, their number, and 1, shape (n, 3)."""
        blocks_ms = self._table_ms()
        costs = np.stack([blocks_ms, np.ones(len(blocks_ms))], axis=1)
        return np.concatenate([self._slots.sums(codes, lambda: costs), np.ones((len(codes), 1))], axis=1)

    def _table_ms(self) -> NDArray[np.float64]:
        """Latency of every block, shape (blocks,)."""
        if self._blocks_ms is None:
            raise RuntimeError(
                "predictor 'lookup_table' has no block table: 'nas calibrate CONFIG --device NAME "
                "--set calibration.predictor=lookup_table' measures one, in Python measure_parts"
            )
        return self._blocks_ms

    def _state(self) -> dict[str, Any]:
        return {
            "blocks_ms": self._table_ms().tolist(),
            "blocks_digest": self._digest(),
            "factor": float(self._weights[0]),
            "ms_per_block": float(self._weights[1]),
            "overhead_ms": float(self._weights[2]),
            "relative_error": self._relative_error,
        }

    def _restore(self, state: Mapping[str, Any]) -> None:
        blocks_ms = np.array(state["blocks_ms"], dtype=np.float64)
        found = [state[name] for name in ("factor", "ms_per_block", "overhead_ms", "relative_error")]
        numbers = np.array(found, dtype=np.float64)
        self._slots.number_all(MOST_BLOCKS)
        if blocks_ms.shape != (len(self._slots.workloads),) or state["blocks_digest"] != self._digest():
            raise ValueError("the saved block table is not of the blocks that the space has now: calibrate anew")
        if not all(np.isfinite(some).all() and (some >= 0).all() for some in (blocks_ms, numbers)):
            raise ValueError("a latency or weight of the saved table is not a finite number from 0: calibrate anew")
        self._blocks_ms, self._weights, self._relative_error = blocks_ms, numbers[:3], float(numbers[3])

    def _digest(self) -> str:
        """Of all blocks in the order of their numbers."""
        return hashlib.sha256(repr(self._slots.workloads).encode()).hexdigest()[:24]
