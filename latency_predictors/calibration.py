"""A predictor fitted to a device, and how well it does on networks it has not seen."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latency_predictors.comparison import Comparison
from latency_predictors.devices import quantities
from latency_predictors.devices.device import Device
from latency_predictors.devices.engines import Engine, LocalEngine
from latency_predictors.devices.measuring import Measurement, Progress, Protocol, TimingGraphs
from latency_predictors.devices.quantities import LATENCY, Reading
from latency_predictors.files import read_json, write_json
from latency_predictors.fit import Fit
from latency_predictors.predictor import LatencyPredictor
from latency_predictors.record import Record, records_of
from latency_predictors.registry import from_document
from search_spaces import Architecture, SearchSpace
from search_spaces.space import Codes

FORMAT_VERSION = 1
BATCH = 1


@dataclass(frozen=True)
class Refinement:
    """What came of measuring on until the error is small, see `active.refine`.

    Attributes:
        wanted_error: the median error asked for, in %.
        expected_error: what the predictor expects of itself on random networks, in %.
        added: networks that were measured for it.
        stopped: why no more were measured although that is not below `wanted_error`; empty when it is.
    """

    wanted_error: float
    expected_error: float
    added: int
    stopped: str = ""


@dataclass(frozen=True, eq=False)
class Calibration:
    """A predictor fitted to a device, with all that was measured.

    Attributes:
        device: the device.
        fingerprint: what it was when measured.
        predictor: fitted to the reference measurements, and to nothing else.
        reference_codes: the architectures of the reference set, shape (samples, number of choices).
        reference: their measurements.
        holdout_codes: other architectures, shape (holdout, number of choices).
        holdout: their measurements.
        errors: of the predictor on the holdout, see `metrics.errors`.
        macs_spearman: rank correlation of MACs with the same measurements: what no calibration gives.
        protocol: how it was measured.
        seconds: from the first network built to the predictor fitted; of latency alone.
        others: what was measured of the same networks beside latency, by the names of the quantities.
        comparison: of the predictors that were tried; `None` in files of earlier releases.
        refinement: what came of measuring on; `None` when that was not asked for.
    """

    device: Device
    fingerprint: Mapping[str, Any]
    predictor: LatencyPredictor
    reference_codes: Codes
    reference: tuple[Measurement, ...]
    holdout_codes: Codes
    holdout: tuple[Measurement, ...]
    errors: Mapping[str, float]
    macs_spearman: float
    protocol: Protocol
    seconds: float
    others: Mapping[str, Fit] = field(default_factory=dict)
    comparison: Comparison | None = None
    refinement: Refinement | None = None

    @property
    def fits(self) -> dict[str, Fit]:
        """All quantities by name, latency first."""
        reference, holdout = (
            tuple(Reading(found.latency_ms, found.samples_ms) for found in some)
            for some in (self.reference, self.holdout)
        )
        latency = Fit(LATENCY, self.predictor, reference, holdout, self.errors, self.macs_spearman)
        return {LATENCY.name: latency, **self.others}

    def missing(self, names: Iterable[str]) -> list[str]:
        """Which of these quantities were not measured yet."""
        return [name for name in dict.fromkeys(names) if name not in self.fits]

    def with_quantities(
        self,
        names: Iterable[str],
        max_seconds: float = 60.0,
        progress: Progress | None = None,
        engine: Engine | None = None,
    ) -> Calibration:
        """This calibration with further quantities, measured of the same networks and predicted in the same way.

        Args:
            names: see `quantities.names`; those that it has already are left alone.
            max_seconds: bounds the time as for `quantities.measure`.
            progress: as for `quantities.measure`.
            engine: from where the device is measured, by default from this process.

        Raises:
            ValueError: when a quantity is unknown or cannot be measured on the device.
        """
        missing = self.missing(names)
        if not missing:
            return self
        space, phase, split = self.predictor.space, self.predictor.phase, len(self.reference)
        architectures = space.architectures(np.concatenate([self.reference_codes, self.holdout_codes]))
        graphs = TimingGraphs(space, architectures, phase)
        rows = (engine or LocalEngine()).measure_quantities(
            self.device, graphs, missing, seed=self.protocol.seed, max_seconds=max_seconds, progress=progress
        )
        added = {}
        for name in missing:
            readings = [row[name] for row in rows]
            added[name] = Fit.of(
                quantities.get(name),
                self.predictor.blank(),
                self.reference_codes,
                readings[:split],
                self.holdout_codes,
                readings[split:],
            )
        return replace(self, others={**self.others, **added})

    @property
    def stable(self) -> bool:
        """Whether the measurements repeated as well as the protocol asked for."""
        return all(measurement.stable for measurement in (*self.reference, *self.holdout))

    def records(self) -> list[Record]:
        """All measurements, for a `Bank`."""
        space = self.predictor.space
        return records_of(
            self.device,
            space,
            self.predictor.phase,
            BATCH,
            space.architectures(np.concatenate([self.reference_codes, self.holdout_codes])),
            (*self.reference, *self.holdout),
            self.protocol,
            self.fingerprint,
        )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write one JSON file that `load` reads.

        Raises:
            OSError: when the file cannot be written.
        """
        space = self.predictor.space
        write_json(
            path,
            {
                "version": FORMAT_VERSION,
                "device": self.device.document(),
                "fingerprint": dict(self.fingerprint),
                "batch": BATCH,
                "protocol": asdict(self.protocol),
                "seconds": self.seconds,
                "errors": dict(self.errors),
                "macs_spearman": self.macs_spearman,
                "predictor": self.predictor.document(),
                "reference": _measured(space, self.reference_codes, self.reference),
                "holdout": _measured(space, self.holdout_codes, self.holdout),
                "quantities": {name: fit.document() for name, fit in self.others.items()},
                "comparison": None if self.comparison is None else self.comparison.document(),
                "refinement": None if self.refinement is None else asdict(self.refinement),
            },
        )

    @classmethod
    def load(cls, path: str | os.PathLike[str], space: SearchSpace | None = None) -> Calibration:
        """What `save` wrote to `path`; `space` is the predictor's own when it is already built.

        Raises:
            ValueError: when the file cannot be read, is of another version, or of another space.
        """
        data = read_json(path, "a calibration")
        if data.get("version") != FORMAT_VERSION:
            raise ValueError(
                f"{path} is of format version {data.get('version')!r}, this release reads {FORMAT_VERSION}: calibrate anew"
            )
        try:
            predictor = from_document(data["predictor"], space)
            reference_codes, reference = _read_measured(predictor.space, data["reference"])
            holdout_codes, holdout = _read_measured(predictor.space, data["holdout"])
            return cls(
                Device(**data["device"]),
                data["fingerprint"],
                predictor,
                reference_codes,
                reference,
                holdout_codes,
                holdout,
                data["errors"],
                data["macs_spearman"],
                Protocol(**data["protocol"]),
                data["seconds"],
                {  # files of earlier releases know of latency only
                    name: Fit.from_document(name, fit, predictor.space)
                    for name, fit in data.get("quantities", {}).items()
                },
                None if data.get("comparison") is None else Comparison.from_document(data["comparison"]),
                None if data.get("refinement") is None else Refinement(**data["refinement"]),
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{path} does not hold a calibration: {error!r}") from error


def latencies_ms(measurements: Sequence[Measurement]) -> NDArray[np.float64]:
    """The latencies alone, shape (n,)."""
    return np.array([measurement.latency_ms for measurement in measurements])


def _measured(space: SearchSpace, codes: Codes, measurements: Sequence[Measurement]) -> list[dict[str, Any]]:
    return [
        {"architecture": architecture.values, **asdict(measurement)}
        for architecture, measurement in zip(space.architectures(codes), measurements, strict=True)
    ]


def _read_measured(space: SearchSpace, rows: Sequence[Mapping[str, Any]]) -> tuple[Codes, tuple[Measurement, ...]]:
    architectures = [Architecture(space.name, tuple(row["architecture"].items())) for row in rows]
    measurements = [{name: value for name, value in row.items() if name != "architecture"} for row in rows]
    return space.codes(architectures), tuple(
        Measurement(**{**row, "samples_ms": tuple(row["samples_ms"])}) for row in measurements
    )
