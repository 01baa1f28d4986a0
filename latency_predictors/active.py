"""Measuring on, one network at a time, until a predictor expects to be good enough."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from time import monotonic

import numpy as np
from numpy.typing import NDArray

from latency_predictors.calibration import Calibration, Refinement, latencies_ms
from latency_predictors.comparison import Comparison, compare, rivals
from latency_predictors.devices import samples
from latency_predictors.devices.engines import Engine, LocalEngine
from latency_predictors.devices.measuring import Measurement, Progress, TimingGraphs
from latency_predictors.devices.results import MeasuringError, complete
from latency_predictors.predictor import LatencyPredictor, Prediction
from latency_predictors.record import stable
from search_spaces import Architecture, SearchSpace
from search_spaces.space import Codes

#: Random networks from which the next one is taken, and for which the error is expected.
CANDIDATES = 300
#: Networks of the first session that are timed again beside every new one: machines drift.
ANCHORS = 3


def expected_errors(prediction: Prediction) -> NDArray[np.float64]:
    """The median error, in %, that a predictor expects for each network, shape (n,): what one in four exceeds upwards."""
    return np.asarray(100 * (prediction.upper_ms(0.75) / prediction.mean_ms - 1))


def check(until_error: float, samples: int) -> None:
    """Make sure that `refine` can follow a calibration with so many samples.

    Raises:
        ValueError: when a number is out of its range.
    """
    if not until_error > 0:
        raise ValueError(f"until_error is above 0 %, not {until_error}")
    if samples < ANCHORS:
        raise ValueError(
            f"measuring on until the error is small needs {ANCHORS} samples or more to begin with, not {samples}"
        )


def refine(
    calibration: Calibration,
    until_error: float,
    max_samples: int = 50,
    progress: Progress | None = None,
    engine: Engine | None = None,
) -> Calibration:
    """Measure further networks until the predictor expects a median error below `until_error`.

    Each time, of random candidates, the one whose prediction interval is the widest (uncertainty sampling, Lewis and
    Gale, SIGIR 1994) is measured, together with some networks of the first session, by which its latency is scaled
    where the machine has become faster or slower. The error is expected for the candidates that are left. Where several
    predictors were compared, they are compared again before the end.

    What was measured last is kept when a network cannot be measured.

    Args:
        calibration: fitted to 3 networks or more, so that the drift of the machine is seen. The holdout stays as it
            is; quantities beside latency are left out, as the new networks lack them.
        until_error: in %.
        max_samples: no more networks than these are fitted to.
        progress: called after every network with the number of those fitted to and `max_samples`.
        engine: from where the device is measured, by default from this process.

    Returns:
        A calibration with a `refinement`.

    Raises:
        ValueError: when a number is out of its range, the calibration has too few networks, or the device cannot be
            used or has changed.
    """
    check(until_error, len(calibration.reference))
    started, session = monotonic(), _Session(calibration, max_samples, engine or LocalEngine())
    stopped = session.run(until_error, progress)
    if progress is not None:
        progress(len(session.codes), len(session.codes))
    fitted, comparison = session.compared()
    expected = float(np.median(expected_errors(fitted.predict(session.candidates))))
    return replace(
        calibration,
        predictor=fitted,
        reference_codes=session.codes,
        reference=tuple(session.measured),
        errors=comparison.entries[comparison.chosen].errors,
        seconds=calibration.seconds + monotonic() - started,
        others={},
        comparison=comparison,
        refinement=Refinement(until_error, expected, len(session.codes) - len(calibration.reference), stopped),
    )


class _Session:
    """The networks that a predictor is fitted to, while they become more.

    Args:
        calibration: where it starts.
        max_samples: where it ends at the latest.
        engine: from where the device is measured.
    """

    def __init__(self, calibration: Calibration, max_samples: int, engine: Engine) -> None:
        self._calibration, self._max_samples, self._engine = calibration, max_samples, engine
        self.codes, self.measured = calibration.reference_codes, list(calibration.reference)
        self._leader = calibration.predictor.blank()
        self._contest = _contest(calibration)
        further = _candidates(self._leader.space, calibration)
        self.candidates = further if len(further) else calibration.holdout_codes
        self._left = np.full(len(self.candidates), len(further) > 0)

    def run(self, until_error: float, progress: Progress | None) -> str:
        """Measure until there is a reason to stop, and say which."""
        while True:
            self._leader.calibrate(self.codes, latencies_ms(self.measured))
            errors = expected_errors(self._leader.predict(self.candidates))
            if float(np.median(errors)) < until_error:
                chosen, _ = self.compared()
                if chosen.name == self._leader.name:
                    return ""
                self._leader = chosen.blank()
                continue
            if len(self.codes) >= self._max_samples:
                return f"{self._max_samples} networks, as many as are allowed, were not enough"
            if not self._left.any():
                return "there is no further network to choose from"
            widest = int(np.argmax(np.where(self._left, errors, -1)))
            self._left[widest] = False
            try:
                found = self._measure(self.candidates[widest : widest + 1])
            except MeasuringError as error:
                return f"a network could not be measured: {error}"
            self.codes = np.concatenate([self.codes, self.candidates[widest : widest + 1]])
            self.measured.append(found)
            if progress is not None:
                progress(len(self.codes), self._max_samples)

    def compared(self) -> tuple[LatencyPredictor, Comparison]:
        """The predictors of the first comparison, fitted to all that was measured, and the best of them."""
        default, *names = self._contest
        first = self._contest[default]
        if isinstance(first, Exception):
            raise first
        return compare(
            first,
            {name: self._contest[name] for name in names},
            (self.codes, latencies_ms(self.measured)),
            (self._calibration.holdout_codes, latencies_ms(self._calibration.holdout)),
        )

    def _measure(self, codes: Codes) -> Measurement:
        """Time one network, and scale it to the speed of the first session.

        Raises:
            MeasuringError: when it, or one that was measured before, cannot be measured.
            ValueError: when the device has changed.
        """
        start, space = self._calibration, self._leader.space
        architectures = space.architectures(np.concatenate([start.reference_codes[:ANCHORS], codes]))
        more = max(1, self._max_samples - len(start.reference))
        settings = replace(start.protocol, max_seconds=start.protocol.max_seconds / more)
        graphs = TimingGraphs(space, architectures, self._leader.phase)
        marks, results = self._engine.measure(start.device, graphs, **asdict(settings))
        device = start.device
        if stable(device.backend, device.options, marks) != stable(device.backend, device.options, start.fingerprint):
            raise ValueError(f"device {device.name!r} has changed while it was measured: calibrate anew")
        *again, found = complete(results)
        first = start.reference[:ANCHORS]
        drift = samples.drift(_samples(first, settings.repeats), _samples(again, settings.repeats))
        return replace(found, latency_ms=found.latency_ms * drift)


def _contest(calibration: Calibration) -> dict[str, LatencyPredictor | Exception]:
    """The predictors that were compared, none of them calibrated, the default first. They learn of other devices once."""
    used = calibration.predictor
    names = [used.name] if calibration.comparison is None else [*calibration.comparison.entries]
    made = rivals([name for name in names if name != used.name], used.space, used.phase, used.bank)
    return {name: used.blank() if name == used.name else made[name] for name in names}


def _candidates(space: SearchSpace, calibration: Calibration) -> Codes:
    """Random networks that were not measured, shape (n, number of choices)."""
    measured = np.concatenate([calibration.reference_codes, calibration.holdout_codes])
    known = set(space.architectures(measured))
    drawn = space.sample(min(space.size, CANDIDATES + len(known)), calibration.protocol.seed + 1)
    found: list[Architecture] = [architecture for architecture in drawn if architecture not in known]
    return space.codes(found[:CANDIDATES])


def _samples(measured: Sequence[Measurement], repeats: int) -> samples.Samples:
    """Shape (networks, rounds, repeats)."""
    return np.array([np.reshape(one.samples_ms, (-1, repeats)) for one in measured])
