"""What the real devices of a bank take for any architecture, learned from the ones that were measured."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from latency_predictors.simulated_devices import SimulatedDevices
from search_spaces import SearchSpace
from search_spaces.space import Codes

if TYPE_CHECKING:
    from latency_predictors.matrix_bank import LatencyBank

Floats = NDArray[np.float64]

#: A device needs as many networks to be learned from, and no more are looked at.
FEWEST, MOST = 20, 2000

#: Deviations of log latency: of the population's part, of a choice's own effect, of the noise.
SCALE, CHOICE, NOISE = 1.0, 0.03, 0.03


@dataclass(frozen=True, eq=False)
class RealDevices:
    """Log latencies of devices as sums of those of simulated devices and of an effect of every option.

    Attributes:
        names: of the devices.
        radices: number of options of every choice.
        simulated: weights of the simulated devices around their average, shape (devices, simulated devices).
        options: effect of every option of every choice, one choice after the other, shape (devices, options).
        errors: root mean square error of the log latency of a network that was left out, shape (devices,).
    """

    names: tuple[str, ...]
    radices: tuple[int, ...]
    simulated: Floats
    options: Floats
    errors: Floats

    @classmethod
    def learn(
        cls, space: SearchSpace, phase: str, simulated: SimulatedDevices, bank: LatencyBank | None
    ) -> RealDevices:
        """By ridge regression, which is Gaussian process regression with the prior of the simulated devices.

        Devices with few networks are left out.

        Raises:
            ValueError: when the bank is damaged.
        """
        radices = tuple(len(choice.options) for choice in space.choices)
        simulators = simulated.population.devices
        blank = cls((), radices, np.zeros((0, simulators)), np.zeros((0, sum(radices))), np.zeros(0))
        if bank is None:
            return blank
        known = bank.latencies(space, phase=phase)
        usable = [column for column in range(len(known.devices)) if _count(known.latency_ms[:, column]) >= FEWEST]
        if not usable:
            return blank
        rows = np.random.default_rng(0).permutation(len(known.codes))[:MOST]
        codes = known.codes[rows]
        inputs, average = blank._inputs(codes, simulated.log_ms(codes))
        found = [_ridge(inputs, np.log(known.latency_ms[rows, column]) - average) for column in usable]
        names = tuple(known.devices[column] for column in usable)
        weights, errors = np.array([one for one, _ in found]), np.array([error for _, error in found])
        return cls(names, radices, weights[:, :simulators], weights[:, simulators:], errors)

    def only(self, names: Iterable[str]) -> RealDevices:
        """Those of the devices that are in `names`."""
        wanted = set(names)
        rows = [row for row, name in enumerate(self.names) if name in wanted]
        names = tuple(self.names[row] for row in rows)
        return RealDevices(names, self.radices, self.simulated[rows], self.options[rows], self.errors[rows])

    def log_ms(self, codes: Codes, logs: NDArray[np.float32]) -> Floats:
        """Log latencies up to a constant of each device.

        Args:
            codes: canonical, shape (n, number of choices).
            logs: `SimulatedDevices.log_ms` of them, shape (n, simulated devices).

        Returns:
            Shape (n, devices).
        """
        if not self.names:
            return np.zeros((len(codes), 0))
        inputs, average = self._inputs(codes, logs)
        return np.asarray(average[:, None] + inputs @ np.hstack([self.simulated, self.options]).T)

    def _inputs(self, codes: Codes, logs: NDArray[np.float32]) -> tuple[Floats, Floats]:
        """What the weights apply to, shape (n, simulated devices + options), and the average device, shape (n,)."""
        average = logs.mean(axis=1, dtype=np.float64)
        parts = [SCALE * (logs - average[:, None]) / np.sqrt(logs.shape[1])]
        parts += [CHOICE * np.eye(radix)[column] for radix, column in zip(self.radices, codes.T, strict=True)]
        return np.hstack(parts), average

    def document(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            name: {"simulated": simulated.tolist(), "options": options.tolist(), "log_error": float(error)}
            for name, simulated, options, error in zip(
                self.names, self.simulated, self.options, self.errors, strict=True
            )
        }

    @classmethod
    def from_document(cls, data: Mapping[str, Any], space: SearchSpace, simulated_devices: int) -> RealDevices:
        """Inverse of `document`.

        Raises:
            ValueError: when the numbers are not of the space.
            KeyError: when something is missing.
        """
        radices = tuple(len(choice.options) for choice in space.choices)
        weights = np.zeros((len(data), simulated_devices + sum(radices)))
        for row, device in zip(weights, data.values(), strict=True):
            if (len(device["simulated"]), len(device["options"])) != (simulated_devices, sum(radices)):
                raise ValueError("the saved real devices are not of this space: calibrate anew")
            row[:] = [*device["simulated"], *device["options"]]
        errors = np.array([device["log_error"] for device in data.values()], dtype=np.float64)
        if not (np.isfinite(weights).all() and np.isfinite(errors).all()):
            raise ValueError("a saved weight of a real device is not a finite number: calibrate anew")
        return cls(tuple(data), radices, weights[:, :simulated_devices], weights[:, simulated_devices:], errors)


def _count(column: Floats) -> int:
    return int(np.isfinite(column).sum())


def _ridge(inputs: Floats, target: Floats) -> tuple[Floats, float]:
    """Weights with a standard normal prior, and the root mean square error of leaving out one row after the other.

    A constant is free, and unmeasured rows (NaN) are left out.
    """
    known = np.isfinite(target)
    centre = inputs[known].mean(axis=0)
    a, y = inputs[known] - centre, target[known] - target[known].mean()
    solved = np.linalg.solve(a.T @ a + NOISE**2 * np.eye(a.shape[1]), a.T)
    weights = solved @ y
    leverage = np.einsum("ij,ji->i", a, solved) + 1 / len(y)
    return weights, float(np.sqrt(np.mean(np.square((y - a @ weights) / (1 - leverage)))))
