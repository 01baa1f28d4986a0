"""A latency predictor that learns the cost of every operator on every device (NASFLAT's idea)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import stdtrit
from torch import Tensor

from latency_predictors.nasflat_network import DEVICE, Adapted, OperatorDeviceNetwork, Trained, adapt, train
from latency_predictors.operator_counts import DESCRIPTION, OperatorCounts, OperatorSums, describe
from latency_predictors.predictor import LatencyPredictor, Prediction
from latency_predictors.simulated_devices import SimulatedDevices
from latency_predictors.tensors import from_text, to_text
from search_spaces import SearchSpace
from search_spaces.space import Codes
from search_spaces.workload import Op

if TYPE_CHECKING:
    from latency_predictors.matrix_bank import LatencyBank

Floats = NDArray[np.float64]

#: A device needs as many networks to be learned from, ...
FEWEST = 20
#: ... and as many devices must have them.
DEVICES = 2
#: Architectures that are learned from.
ARCHITECTURES = 1500
SEED = 0

#: To find the interval, devices are left out of training in so many parts, and calibrated with so many networks each.
PARTS, REHEARSAL = 3, 10


class Nasflat(LatencyPredictor):
    """Sum over operators of what a network says an operator costs on a device, given as a learned vector.

    After NASFLAT (Akhauri and Abdelfattah, "On Latency Predictors for Neural Architecture Search", MLSys 2024): the
    device's embedding is joined to that of every operator, not to the network's head, and a new device starts from
    the closest known one, by correlation on its measurements, and is fine-tuned. Unlike there, operators are described
    by their costs and shapes, so that every space and phase is served; architectures are sums over operators in place of
    graphs, so that prediction is a look-up; and devices of the simulated population are learned beside the real ones.

    The 90 % interval is Student's. Its width is the error on devices that were left out of training and then calibrated
    as new ones, or that of the fit to the measurements where it is larger.

    Args:
        space: whose architectures are predicted.
        phase: one of `space.phases`.
        bank: measurements of two other devices or more, of 20 networks each or more.

    Raises:
        ValueError: when the space has no such phase.
    """

    name = "nasflat"
    min_samples = 3

    def __init__(self, space: SearchSpace, phase: str = "inference", bank: LatencyBank | None = None) -> None:
        super().__init__(space, phase, bank)
        self._counts = OperatorCounts(space, phase)

    def blank(self) -> Nasflat:
        other = Nasflat(self.space, self.phase, self.bank)
        other._learned = self._learned
        return other

    @cached_property
    def _learned(self) -> _Learned:
        """What the devices of the bank teach, when it is first needed.

        Raises:
            ValueError: when there are too few of them.
        """
        codes, logs, real = self._lessons()
        ops, counts = self._counts.counts(codes)
        description = np.array([describe(op) for op in ops])
        centre, spread = description.mean(axis=0), np.maximum(description.std(axis=0), 1e-3)
        scaler = _Scaler(tuple(sorted({op.kind for op in ops})), centre, spread)
        trained = train(_tensor(counts), scaler(ops), _tensor(logs), real, SEED)
        return _Learned(trained, scaler, _rehearse(_tensor(counts), scaler(ops), _tensor(logs), real))

    def _lessons(self) -> tuple[Codes, Floats, int]:
        """Architectures, their log latencies on real and then on simulated devices, and how many are real."""
        known = self.bank.latencies(self.space, phase=self.phase) if self.bank is not None else None
        columns = [] if known is None else np.flatnonzero(np.isfinite(known.latency_ms).sum(axis=0) >= FEWEST).tolist()
        if known is None or len(columns) < DEVICES:
            raise ValueError(
                f"predictor 'nasflat' learns from other devices: it needs a bank in which {DEVICES} devices or more have "
                f"{FEWEST} networks or more of space {self.space.name!r}, this one has {len(columns)}: measure more, or "
                "use 'gaussian_process', which needs none"
            )
        rows = np.random.default_rng(SEED).permutation(len(known.codes))[:ARCHITECTURES]
        codes = known.codes[rows]
        simulated = SimulatedDevices(self.space, self.phase).log_ms(codes).astype(np.float64)
        return (
            codes,
            np.column_stack([np.log(known.latency_ms[np.ix_(rows, np.array(columns))]), simulated]),
            len(columns),
        )

    def _fit(self, codes: Codes, measured_ms: Floats) -> None:
        learned = self._learned
        ops, counts = self._counts.counts(codes)
        self._adapted = adapt(learned.trained, _tensor(counts), learned.scaler(ops), _tensor(np.log(measured_ms)))
        self._network, self._scaler = learned.trained.network, learned.scaler
        self._deviation = max(learned.deviation, self._adapted.deviation)
        self._freedom = float(len(codes) - 1)
        self._sums = self._operator_sums()

    def _operator_sums(self) -> OperatorSums:
        """Costs of operators on the starts of the device, looked up from now on."""
        network, scaler, devices = self._network, self._scaler, self._adapted.devices

        def cost(op: Op) -> Floats:
            with torch.inference_mode():
                return network.costs(scaler([op]), devices)[0].exp().double().numpy()

        return OperatorSums(self.space, self.phase, cost, len(devices))

    def _predict(self, codes: Codes) -> Prediction:
        with torch.inference_mode():
            call = self._network.call(self._adapted.devices)[:, 0].exp().double().numpy()
        logs = np.log(self._sums(codes) + call) + self._adapted.level.double().numpy()
        mean_ms = np.exp(logs @ self._adapted.weight.double().numpy())
        factor = np.exp(stdtrit(self._freedom, 0.95) * self._deviation)
        return Prediction(mean_ms, mean_ms / factor, mean_ms * factor)

    def _state(self) -> dict[str, Any]:
        adapted = self._adapted
        tensors = {f"network.{name}": value for name, value in self._network.state_dict().items()}
        tensors |= {"devices": adapted.devices, "level": adapted.level, "weight": adapted.weight}
        return {
            "kinds": list(self._scaler.kinds),
            "centre": self._scaler.centre.tolist(),
            "spread": self._scaler.spread.tolist(),
            "log_deviation": self._deviation,
            "freedom": self._freedom,
            "safetensors_base64": to_text(tensors),
        }

    def _restore(self, state: Mapping[str, Any]) -> None:
        kinds = tuple(map(str, state["kinds"]))
        centre, spread = (np.array(state[name], dtype=np.float64) for name in ("centre", "spread"))
        tensors = from_text(state["safetensors_base64"])
        numbers = np.array([*centre, *spread, state["log_deviation"], state["freedom"]], dtype=np.float64)
        if centre.shape != (len(DESCRIPTION),) or spread.shape != centre.shape or not np.isfinite(numbers).all():
            raise ValueError("the saved descriptions of operators are not those of this release: calibrate anew")
        self._scaler = _Scaler(kinds, centre, spread)
        self._network = OperatorDeviceNetwork(len(DESCRIPTION) + len(kinds)).requires_grad_(False)
        network = {
            name.removeprefix("network."): value for name, value in tensors.items() if name.startswith("network.")
        }
        try:
            self._network.load_state_dict(network)
        except RuntimeError as error:
            raise ValueError(f"the saved network is not one of predictor 'nasflat': {error}") from error
        if tensors["devices"].shape[1:] != (DEVICE,):
            raise ValueError("the saved device is not one of predictor 'nasflat': calibrate anew")
        self._deviation, self._freedom = float(state["log_deviation"]), float(state["freedom"])
        self._adapted = Adapted(tensors["devices"], tensors["level"], tensors["weight"], self._deviation)
        self._sums = self._operator_sums()


@dataclass(frozen=True, eq=False)
class _Scaler:
    """Descriptions of operators as the network takes them.

    Attributes:
        kinds: that were seen in training.
        centre: mean of each number of a description.
        spread: its deviation.
    """

    kinds: tuple[str, ...]
    centre: Floats
    spread: Floats

    def __call__(self, ops: list[Op]) -> Tensor:
        """Shape (operators, numbers of a description + kinds)."""
        numbers = (np.array([describe(op) for op in ops]) - self.centre) / self.spread
        kinds = np.array([[float(op.kind == kind) for kind in self.kinds] for op in ops])
        return _tensor(np.hstack([numbers, kinds]))


@dataclass(frozen=True, eq=False)
class _Learned:
    """What is the same for all new devices: the network, its inputs, the usual error of a log latency."""

    trained: Trained
    scaler: _Scaler
    deviation: float


def _rehearse(counts: Tensor, x: Tensor, logs: Tensor, real: int) -> float:
    """Root mean square over the real devices of the error when each is met as a new one is.

    The network is trained once more for each part of them, without that part.
    """
    found = []
    generator = torch.Generator().manual_seed(SEED)
    for part in torch.arange(real).chunk(PARTS):
        others = torch.tensor([column for column in range(logs.shape[1]) if column not in part.tolist()])
        trained = train(counts, x, logs[:, others], real - len(part), SEED)
        for device in part.tolist():
            rows = torch.nonzero(~logs[:, device].isnan())[:, 0]
            rows = rows[torch.randperm(len(rows), generator=generator)]
            few, rest = rows.tensor_split([min(REHEARSAL, len(rows) // 2)])
            adapted = adapt(trained, counts[few], x, logs[few, device])
            with torch.inference_mode():
                guess = (trained.network(counts[rest], x, adapted.devices) + adapted.level) @ adapted.weight
            found.append(float((guess - logs[rest, device]).square().mean()))
    return float(np.sqrt(np.mean(found)))


def _tensor(values: Floats) -> Tensor:
    return torch.from_numpy(np.asarray(values, dtype=np.float32))
