"""A latency predictor that is meta-learned on other devices and adapts to a new one in two steps (HELP)."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from latency_predictors.help_network import DeviceNetwork, Initialisation
from latency_predictors.help_training import Lessons, Training, meta_train
from latency_predictors.measurements import Latencies
from latency_predictors.predictor import LatencyPredictor, Prediction
from latency_predictors.tensors import from_text, to_text
from search_spaces import SearchSpace
from search_spaces.space import Codes, nearest

if TYPE_CHECKING:
    from latency_predictors.matrix_bank import LatencyBank

Floats = NDArray[np.float64]

#: The first so many measured networks are the reference that the device's embedding is made of.
REFERENCE = 10
#: How many of the further ones a device is fine-tuned on in meta-training.
SAMPLES = 10
#: A device needs as many networks beside the reference, and as many devices must have them.
FEWEST, DEVICES = 40, 4
#: Share of the devices, and of the networks (or so many), that choose among the episodes and show the usual error; nothing
#: else is learned from them.
VALIDATION, HELD_OUT, FEWEST_HELD_OUT = 0.25, 0.1, 20
SEED = 0
#: No network is taken to be faster than this share of the fastest one of the reference.
FLOOR = 0.05
#: The reference spans this share of its slowest network or more, whatever a coarse timer says.
SMALLEST_SPAN = 1e-3
#: Errors of log latency on the samples are this large at least.
SMALLEST_ERROR = 0.01
#: Networks that are predicted at once.
CHUNK = 2048


class Help(LatencyPredictor):
    """A network whose initialisation, and learning rates of every weight, are meta-learned on other devices.

    After HELP (Lee et al., "HELP: Hardware-Adaptive Efficient Latency Prediction for NAS via Meta-Learning", NeurIPS
    2021): the latencies of ten reference architectures, normalised to [0, 1], are the embedding of a device; the network
    takes it beside the architecture, a modulator scales the network's start by it, and two steps of Meta-SGD on the
    samples follow. The first ten networks that `calibrate` is given are the reference; the further ones are fine-tuned
    on, or without any the reference itself.

    Unlike in the authors' code, latencies are normalised by the reference, not by the slowest and the fastest of
    hundreds of architectures on the new device, which nobody has measured; the modulator's mean stands for its samples,
    so that predictions repeat; and the devices for validation are a quarter of the bank's, if they are not named.

    Meta-training takes minutes, and is done anew for every other reference. The width of the 90 % interval is the error
    on the samples, which two steps hardly fit, times what it takes on the devices for validation, met as new ones, for
    networks that were held out of training.

    Args:
        space: whose architectures are predicted.
        phase: one of `space.phases`.
        bank: measurements of four other devices or more, of the reference and 40 further networks or more each.
        training: how it learns.

    Raises:
        ValueError: when the space has no such phase.
    """

    name = "help"
    min_samples = 3

    def __init__(
        self,
        space: SearchSpace,
        phase: str = "inference",
        bank: LatencyBank | None = None,
        training: Training | None = None,
    ) -> None:
        super().__init__(space, phase, bank)
        self._training = training or Training()
        self._school = _School(space, phase, bank, self._training)

    def blank(self) -> Help:
        other = Help(self.space, self.phase, self.bank, self._training)
        other._school = self._school
        return other

    def with_bank(self, bank: LatencyBank | None) -> Help:
        return Help(self.space, self.phase, bank, self._training)

    def _fit(self, codes: Codes, measured_ms: Floats) -> None:
        learned = self._school.learned(codes[:REFERENCE], len(codes) > REFERENCE)
        self._scale = _Scale.of(measured_ms[:REFERENCE])
        few = slice(REFERENCE, None) if len(codes) > REFERENCE else slice(None)
        start = learned.initialisation
        self._embedding = torch.from_numpy(self._scale.normalised(measured_ms[:REFERENCE]))
        y = torch.from_numpy(self._scale.normalised(measured_ms[few]))
        x = start.network.encoder.encode(codes[few])
        adapted = start.adapt(x, self._embedding.float(), y.float())
        self._network = deepcopy(start.network)
        self._network.load_state_dict(adapted)
        self._network.double()
        self._log_width = learned.stretch * _error(self._mean_ms(codes), measured_ms)

    def _predict(self, codes: Codes) -> Prediction:
        if self.space.size < len(codes):
            distinct, back = np.unique(codes, axis=0, return_inverse=True)
            mean_ms = self._mean_ms(distinct)[back.reshape(-1)]
        else:
            mean_ms = self._mean_ms(codes)
        factor = np.exp(self._log_width)
        return Prediction(mean_ms, mean_ms / factor, mean_ms * factor)

    def _mean_ms(self, codes: Codes) -> Floats:
        y = np.empty(len(codes))
        with torch.inference_mode():
            for start in range(0, len(codes), CHUNK):
                part = slice(start, start + CHUNK)
                y[part] = self._network(self._network.encoder.encode(codes[part]), self._embedding).numpy()
        return self._scale.ms(y)

    def _state(self) -> dict[str, Any]:
        return {
            "fastest_ms": self._scale.fastest_ms,
            "span_ms": self._scale.span_ms,
            "log_width": self._log_width,
            "safetensors_base64": to_text({**self._network.state_dict(), "embedding": self._embedding}),
        }

    def _restore(self, state: Mapping[str, Any]) -> None:
        numbers = [float(state[name]) for name in ("fastest_ms", "span_ms", "log_width")]
        if not (np.isfinite(numbers).all() and min(numbers) > 0):
            raise ValueError("the saved latencies are not positive and finite: calibrate anew")
        tensors = from_text(state["safetensors_base64"])
        self._embedding = tensors.pop("embedding")
        if self._embedding.ndim != 1:
            raise ValueError("the saved embedding is not one of predictor 'help': calibrate anew")
        self._network = _network(self.space, len(self._embedding)).double().requires_grad_(False)
        try:
            self._network.load_state_dict(tensors)
        except RuntimeError as error:
            raise ValueError(f"the saved network is not one of predictor 'help': {error}") from error
        self._scale, self._log_width = _Scale(*numbers[:2]), numbers[2]


@dataclass(frozen=True)
class _Scale:
    """Latencies as the network knows them: 0 is the fastest of the reference, 1 the slowest."""

    fastest_ms: float
    span_ms: float

    @classmethod
    def of(cls, reference_ms: Floats) -> _Scale:
        fastest, slowest = float(reference_ms.min()), float(reference_ms.max())
        return cls(fastest, max(slowest - fastest, SMALLEST_SPAN * slowest))

    def normalised(self, ms: Floats) -> Floats:
        return (ms - self.fastest_ms) / self.span_ms

    def ms(self, normalised: Floats) -> Floats:
        return np.maximum(self.fastest_ms + normalised * self.span_ms, FLOOR * self.fastest_ms)


@dataclass(frozen=True, eq=False)
class _Learned:
    """What is the same for all new devices: where they start, and by how much wider their intervals are than the error on
    the samples."""

    initialisation: Initialisation
    stretch: float


def _error(predicted_ms: Floats, measured_ms: Floats) -> float:
    """Root mean square of the logarithm of the ratio."""
    return max(float(np.sqrt(np.mean(np.log(predicted_ms / measured_ms) ** 2))), SMALLEST_ERROR)


class _School:
    """Meta-trains from a bank; what was learned with the last reference is kept."""

    def __init__(self, space: SearchSpace, phase: str, bank: LatencyBank | None, training: Training) -> None:
        self._space, self._phase, self._bank, self._training = space, phase, bank, training
        self._last: tuple[tuple[bytes, bool], _Learned] | None = None

    def learned(self, reference: Codes, more: bool) -> _Learned:
        """What the devices of the bank teach.

        Args:
            reference: the reference architectures, shape (r, number of choices).
            more: whether a device is fine-tuned on further ones.

        Raises:
            ValueError: when too few devices have the reference.
        """
        key = reference.tobytes(), more
        if self._last is None or self._last[0] != key:
            self._last = key, self._learn(reference, more)
        return self._last[1]

    def _learn(self, reference: Codes, more: bool) -> _Learned:
        known, rows = self._known(reference)
        scales = [_Scale.of(column[rows]) for column in known.latency_ms.T]
        y = np.stack([scale.normalised(column) for scale, column in zip(scales, known.latency_ms.T, strict=True)])
        x = _network(self._space, len(rows)).encoder.encode(known.codes)
        tensor = torch.from_numpy(y.astype(np.float32))
        lessons = Lessons(
            x, tensor, tensor[:, rows], torch.from_numpy(rows), SAMPLES if more else 0, _held_out(len(x), rows)
        )
        left_out = self._validation(known)
        others = [column for column in range(len(y)) if column not in left_out]
        if not others:
            raise ValueError("all devices of the bank are for validation: name fewer, so that some are learned from")
        start = meta_train(self._space, lessons.of(others), lessons.of(left_out), self._training)
        return _Learned(start, _rehearse(start, lessons, [(device, scales[device]) for device in left_out]))

    def _known(self, reference: Codes) -> tuple[Latencies, NDArray[np.int64]]:
        """Latencies of the devices that have the reference and tell it apart, and its rows."""
        found = self._bank.latencies(self._space, phase=self._phase) if self._bank is not None else None
        columns: list[int] = []
        if found is not None and len(found.codes):
            place = {code.tobytes(): row for row, code in enumerate(found.codes.astype(np.int64))}
            rows = np.array([place.get(code.tobytes(), -1) for code in reference.astype(np.int64)])
            there = np.isfinite(found.latency_ms)
            enough = there.sum(axis=0) >= len(rows) + FEWEST
            differ = np.ptp(found.latency_ms[rows], axis=0) > 0  # also False where one is not known
            columns = np.flatnonzero(enough & differ & (rows >= 0).all()).tolist()
        if found is None or len(columns) < DEVICES:
            raise ValueError(
                f"predictor 'help' learns from other devices: it needs a bank in which {DEVICES} devices or more have the "
                f"first {len(reference)} networks that are measured now and {FEWEST} others of space "
                f"{self._space.name!r}, this one has {len(columns)}: measure those, or use 'gaussian_process', which "
                "needs none"
            )
        return Latencies(found.codes, found.latency_ms[:, columns], tuple(found.devices[c] for c in columns)), rows

    def _validation(self, known: Latencies) -> list[int]:
        """Columns of the devices to choose among the episodes by."""
        for name in self._training.validation:
            if name not in known.devices:
                raise ValueError(f"the bank has no device {name!r} with the reference{nearest(name, known.devices)}")
        drawn = np.random.default_rng(SEED).permutation(len(known.devices))
        named = [known.devices.index(name) for name in self._training.validation]
        return named or drawn[: max(1, int(VALIDATION * len(drawn)))].tolist()


def _network(space: SearchSpace, embedding: int) -> DeviceNetwork:
    """One that knows nothing; the user's random numbers stay what they were."""
    return Initialisation.draw(space, embedding, SEED).network


def _held_out(networks: int, reference: NDArray[np.int64]) -> torch.Tensor:
    """Which networks nothing is learned from, shape (networks,); never the reference."""
    others = np.setdiff1d(np.arange(networks), reference)
    drawn = np.random.default_rng(SEED).permutation(others)[: max(FEWEST_HELD_OUT, int(HELD_OUT * networks))]
    return torch.from_numpy(np.isin(np.arange(networks), drawn))


def _rehearse(start: Initialisation, lessons: Lessons, devices: list[tuple[int, _Scale]]) -> float:
    """What 90 % of |log predicted - log measured|, relative to the error on the samples, are below on devices that are
    met as a new one is."""
    generator = torch.Generator().manual_seed(SEED)
    relative = []
    for device, scale in devices:
        few, _ = lessons.draw(lessons.rows(device), generator)
        embedding, y = lessons.embeddings[device], lessons.y[device]
        measured, rest = torch.cat([lessons.reference, few]).unique(), lessons.held_out & ~y.isnan()
        adapted = start.adapt(lessons.x[few], embedding, y[few])
        predicted_ms = scale.ms(start.predict(adapted, lessons.x, embedding).double().numpy())
        true_ms = scale.fastest_ms + scale.span_ms * y.double().numpy()
        errors = np.abs(np.log(predicted_ms[rest] / true_ms[rest]))
        relative.append(errors / _error(predicted_ms[measured], true_ms[measured]))
    return float(np.quantile(np.concatenate(relative), 0.9))
