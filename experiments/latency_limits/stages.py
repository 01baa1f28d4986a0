"""One device: calibrate, pick a network at every limit, measure the picks. Every finished stage is on disk."""

from __future__ import annotations

import os
import time
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from experiments.latency_limits.methods import CONSTRAINTS, METHODS, PHASE, draw_limits, without
from experiments.latency_limits.picking import Pool, search
from latency_predictors import Bank, Device, LatencyPredictor, Prediction, measure_architectures, reference_set
from latency_predictors.devices.fingerprint import fingerprint
from latency_predictors.devices.measuring import Protocol
from latency_predictors.files import read_json, write_json
from latency_predictors.record import records_of
from nas.progress import Reporter
from search_spaces import Architecture, SearchSpace
from search_spaces.space import Codes

BATCH = 1
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Settings:
    """What decides the result, beside the machine.

    Attributes:
        limits: how many, for every device.
        samples: networks that the predictors are calibrated with.
        random: networks that nothing selected, measured with the picks.
        seed: of limits, stand-ins, searches, and the order of measurements.
    """

    limits: int = 50
    samples: int = 10
    random: int = 50
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Trial:
    """The stages of one device.

    Attributes:
        device: of the pool.
        pool: the stand-ins for accuracy at every limit, and where searches start.
        settings: of the run.
        folder: of the run; holds the bank and a file for every device.
        max_seconds: of a measurement, before it is called unstable.
    """

    device: Device
    pool: Pool
    settings: Settings
    folder: Path
    max_seconds: float = 240.0

    @property
    def space(self) -> SearchSpace:
        """Of the networks."""
        return self.pool.stand_ins.space

    @property
    def path(self) -> Path:
        """Of the file of the finished stages."""
        return self.folder / f"{self.device.name}.json"

    def run(self) -> None:
        """Do the stages that are not on disk.

        Raises:
            ValueError: when what is on disk comes from other settings.
        """
        state = self.state()
        for name, stage in (("calibration", self._calibrate), ("picks", self._pick), ("check", self._check)):
            if name not in state:
                state[name] = stage()
                write_json(self.path, state)

    def state(self) -> dict[str, Any]:
        """The finished stages by name.

        Raises:
            ValueError: when the file cannot be read or comes from other settings.
        """
        settings = asdict(self.settings)
        if not self.path.exists():
            return {"settings": settings}
        state = read_json(self.path, "a part of this experiment")
        if state.get("settings") != settings:
            raise ValueError(f"{self.path} comes from a run with other settings: choose another folder with --out")
        return state

    @property
    def reference(self) -> Codes:
        """The networks that calibrated."""
        return np.array(self.state()["calibration"]["codes"], dtype=np.int64)

    @property
    def random(self) -> Codes:
        """The networks that nothing selected."""
        return np.array(self.state()["picks"]["random"]["codes"], dtype=np.int64)

    def predictors(self) -> dict[str, LatencyPredictor]:
        """Of every method, fitted to the calibration and to nothing else of this device."""
        codes = self.reference
        measured_ms, others = (
            self.latency_ms("calibration", codes),
            without(Bank.shipped(), self.device.name, self.space),
        )
        return {method.name: method.fitted(self.space, others, codes, measured_ms) for method in METHODS}

    def latency_ms(self, stage: str, codes: Codes) -> Floats:
        """What a finished stage measured of networks, shape (n,); NaN where measuring failed."""
        started = self.state()[stage]["time"]
        records = [one for one in self._bank.records() if one.fingerprint["time"] == started]
        names = [Architecture(self.space.name, tuple(one.architecture.items())) for one in records]
        found = dict(zip(map(bytes, self.space.codes(names)), (one.latency_ms for one in records), strict=True))
        return np.array([found[bytes(row)] for row in self.space.canonical(codes)], dtype=np.float64)

    @property
    def _bank(self) -> Bank:
        return Bank(self.folder / "bank.jsonl")

    def _rng(self, *purpose: int) -> np.random.Generator:
        return np.random.default_rng([self.settings.seed, zlib.crc32(self.device.name.encode()), *purpose])

    def _calibrate(self) -> dict[str, Any]:
        reference = reference_set(self.space, PHASE, self.settings.samples)
        codes = self.space.codes(reference).tolist()
        return {**self._measure(reference, "calibration"), "codes": codes}

    def _pick(self) -> dict[str, Any]:
        """Limits, and the network that every method picks at each; no network where none is predicted to keep it.

        What is predicted of the random networks is kept too: figures are of the predictors that picked.
        """
        predictors = self.predictors()
        limits_ms = draw_limits(
            predictors[METHODS[0].name].predict(self.pool.codes).mean_ms, self.settings.limits, self._rng(0)
        )
        picks: dict[str, dict[str, list[list[int] | None]]] = {}
        todo = [(method, constraint) for method in predictors for constraint in CONSTRAINTS]
        with Reporter().progress(f"{self.device.name}, searching") as advance:
            for number, (method, constraint) in enumerate(todo):
                bound = partial(_bound, predictors[method], constraint)
                codes, found = search(self.pool, limits_ms, bound, self._rng(1, number))
                picks.setdefault(method, {})[constraint] = [
                    row if there else None for row, there in zip(codes.tolist(), found.tolist(), strict=True)
                ]
                advance(number + 1, len(todo))
        random = self._unselected()
        predicted = {name: predictor.predict(random) for name, predictor in predictors.items()}
        return {
            "limits_ms": limits_ms.tolist(),
            "codes": picks,
            "random": {"codes": random.tolist()} | {name: _lists(one) for name, one in predicted.items()},
        }

    def _unselected(self) -> Codes:
        """Random networks that are not in the reference set."""
        known = {bytes(row) for row in self.reference}
        drawn = self.space.codes(self.space.sample(self.settings.random + len(known), self.settings.seed + 1))
        return drawn[[bytes(row) not in known for row in drawn]][: self.settings.random]

    def _check(self) -> dict[str, Any]:
        """Measure all picks in one session, in random order, with the reference set and the random networks."""
        picks: Mapping[str, Mapping[str, Sequence[list[int] | None]]] = self.state()["picks"]["codes"]
        rows = [row for method in picks.values() for codes in method.values() for row in codes if row is not None]
        others = self.space.architectures(np.array([*rows, *self.random.tolist()], dtype=np.int64))
        reference = self.space.architectures(self.reference)
        distinct = [one for one in dict.fromkeys(others) if one not in set(reference)]
        order = self._rng(2).permutation(len(distinct))
        return self._measure([*reference, *(distinct[number] for number in order)], "checking")

    def _measure(self, architectures: Sequence[Architecture], label: str) -> dict[str, Any]:
        """Measure and put on record; when, for how long, and under which load."""
        protocol = Protocol(max_seconds=self.max_seconds, seed=self.settings.seed)
        load, started, marks = os.getloadavg()[0], time.monotonic(), fingerprint(self.device)
        with Reporter().progress(f"{self.device.name}, {label}") as advance:
            results = measure_architectures(
                self.device,
                self.space,
                architectures,
                PHASE,
                progress=advance,
                max_seconds=protocol.max_seconds,
                seed=protocol.seed,
            )
        records = records_of(self.device, self.space, PHASE, BATCH, architectures, results, protocol, marks)
        self._bank.append(records)
        return {
            "time": marks["time"],
            "seconds": time.monotonic() - started,
            "load": load,
            "runtime_version": marks.get("runtime_version"),
            "repeat_error": float(np.median([r.repeat_error for r in records if r.repeat_error is not None])),
            "failed": sum(record.failure is not None for record in records),
        }


def _bound(predictor: LatencyPredictor, constraint: str, codes: Codes) -> Floats:
    """What limits are compared with, shape (n,)."""
    return CONSTRAINTS[constraint](predictor.predict(codes))


def _lists(prediction: Prediction) -> dict[str, list[float]]:
    return {name: getattr(prediction, name).tolist() for name in ("mean_ms", "low_ms", "high_ms")}
