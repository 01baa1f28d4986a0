"""Measuring a device and fitting a predictor to it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict
from time import monotonic
from typing import Any

from latency_predictors import metrics
from latency_predictors.calibration import Calibration, latencies_ms
from latency_predictors.comparison import compare, contestants, rivals
from latency_predictors.devices.blocks import BlockTimer
from latency_predictors.devices.device import Device
from latency_predictors.devices.engines import Engine, LocalEngine
from latency_predictors.devices.measuring import Progress, Protocol, TimingGraphs, complete
from latency_predictors.measurements import Measurements
from latency_predictors.other_devices import OtherDevices
from latency_predictors.reference_set import reference_set
from latency_predictors.registry import get
from search_spaces import Architecture, SearchSpace


def calibrate(
    space: SearchSpace,
    device: Device,
    predictor: str = "gaussian_process",
    samples: int = 10,
    holdout: int = 20,
    phase: str = "inference",
    seed: int = 0,
    progress: Progress | None = None,
    engine: Engine | None = None,
    blocks_file: str | os.PathLike[str] | None = None,
    bank: Measurements | None = None,
    **protocol: Any,
) -> Calibration:
    """Measure a reference set on `device`, fit a predictor to it, and test it on other architectures.

    Reference set and holdout are timed together, round after round, so that both see the same machine. The predictor
    is never fitted to the holdout. Of the bank it learns from all devices but this very one, whose earlier measurements
    may be those of the holdout.

    Args:
        space: the search space.
        device: where to measure.
        predictor: a name that `get` knows, or `auto`: the best of several, see `comparison.compare`.
        samples: size of the reference set; 0 for a predictor that needs none.
        holdout: number of random other architectures, 2 or more.
        phase: one of `space.phases`.
        seed: of the holdout, and of the order of the measurements.
        progress: as for `measure`.
        engine: from where the device is measured, by default from this process.
        blocks_file: keeps what a predictor measures of blocks alone, so that it can be resumed; see `BlockTimer`.
        bank: measurements of other devices, by default those that come with Nasmyth and those of the user.
        protocol: `rounds`, `repeats`, `max_seconds`, `target_error`, as for `measure`.

    Raises:
        ValueError: when the predictor is unknown, the space has fewer than `samples + holdout` architectures, or a
            number is out of its range, the bank is damaged (nothing was measured then), or a network cannot be
            measured.
        OSError: when the bank cannot be read; nothing was measured then.
    """
    started = monotonic()
    settings = Protocol(**protocol, seed=seed)
    name, *rest = contestants(predictor)
    blank = get(name)(space, phase)
    if samples < blank.min_samples:
        raise ValueError(f"predictor {name!r} needs {blank.min_samples} samples or more, not {samples}")
    reference = reference_set(space, phase, samples) if samples else []
    others = _others(space, reference, holdout, seed)
    known = OtherDevices.known(space, phase) if bank is None else OtherDevices.joined([bank], space, phase)
    engine = engine or LocalEngine()
    blank.measure_parts(BlockTimer(device, engine, settings, blocks_file, progress))
    graphs = TimingGraphs(space, [*reference, *others], phase)
    marks, results = engine.measure(device, graphs, progress=progress, **asdict(settings))
    measured = complete(results)
    reference_codes, holdout_codes = space.codes(reference), space.codes(others)
    holdout_ms = latencies_ms(measured[samples:])
    others_known = known.without(device, marks)
    fitted, comparison = compare(
        blank.with_bank(others_known),
        rivals(rest, space, phase, others_known),
        (reference_codes, latencies_ms(measured[:samples])),
        (holdout_codes, holdout_ms),
    )
    return Calibration(
        device=device,
        fingerprint=marks,
        predictor=fitted,
        reference_codes=reference_codes,
        reference=tuple(measured[:samples]),
        holdout_codes=holdout_codes,
        holdout=tuple(measured[samples:]),
        errors=comparison.entries[comparison.chosen].errors,
        macs_spearman=metrics.spearman(space.macs(holdout_codes, phase), holdout_ms),
        protocol=settings,
        seconds=monotonic() - started,
        comparison=comparison,
    )


def _others(space: SearchSpace, reference: Sequence[Architecture], n: int, seed: int) -> list[Architecture]:
    """`n` random architectures that are not in `reference`."""
    needed = len(reference) + n
    if n < 2:
        raise ValueError(f"holdout is 2 architectures or more, not {n}: the error is measured on them")
    if needed > space.size:
        raise ValueError(
            f"space {space.name!r} has {space.size} architectures, fewer than the {needed} of samples and holdout"
        )
    known = set(reference)
    return [architecture for architecture in space.sample(needed, seed) if architecture not in known][:n]
